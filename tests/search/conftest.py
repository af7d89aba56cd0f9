import pytest

from tests.search.studies import Search, search_of


@pytest.fixture
def search() -> Search:
    """A search over a rate and two integers."""
    space, default = search_of("cosine_warm_restarts")
    return space, {**default, "optimizer.lr": 0.5, "scheduler.knobs.cycles": 2, "scheduler.args.T_mult": 2}

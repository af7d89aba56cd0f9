import io
import os
import sys

import pytest

from lrbench.executors import worker


class _Exit(BaseException):
    pass


def test_half_a_line_of_a_killed_coordinator_still_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def exit_now(code: int) -> None:
        raise _Exit(code)

    monkeypatch.setattr(sys, "stdin", io.StringIO('{"train": 1}\n{"train": '))
    monkeypatch.setattr(os, "_exit", exit_now)
    requests = worker.Requests()
    with pytest.raises(_Exit, match="0"):
        worker._read(requests)
    assert requests.get() == {"train": 1}
    assert requests.empty()

"""The result of a sweep in a few sentences."""

from collections.abc import Sequence

from lrbench.analysis.ranking import Ranking
from lrbench.analysis.row import Relation, Row
from lrbench.text import counted, listed, percent

MAX_NAMES = 8  # in a sentence
RELATIONS: Sequence[Relation] = ("worse", "better", "equal", "undecided")


def answer(ranking: Ranking) -> str:
    """Return which scheduler is the best, and what is known of the others."""
    best, others = ranking.rows[0], ranking.rows[1:]
    accuracy = f"{percent(best.mean.mean)} %"
    if not others:
        only = "Only one scheduler is ranked" if ranking.unranked else "There is only one scheduler"
        return f"{only}, {best.scheduler}. Its mean test accuracy is {accuracy}."
    highest = f"{best.scheduler} has the highest mean test accuracy, {accuracy}"
    if higher := [row for row in others if row.mean.mean > best.mean.mean]:
        pairs = "searches" if ranking.is_by_search else "seeds"
        means = f"{names(higher)} {'have higher means' if len(higher) > 1 else 'has a higher mean'}, of other {pairs}"
        highest = f"{best.scheduler} comes first, with {accuracy} mean test accuracy ({means})"
    if not ranking.has_enough_pairs:
        pairs = counted_pairs(ranking.pairs, ranking)
        needs = f"at least {ranking.needed_pairs} are needed"
        undecided = f"All comparisons with {best.scheduler} are undecided"
        return f"{highest}, but {pairs} cannot show a difference: {needs}. {undecided}."
    return " ".join([f"{highest}.", *comparisons(ranking), *_question(ranking)])


def comparisons(ranking: Ranking) -> list[str]:
    """Return what is known of the other schedulers, a sentence for each relation."""
    best = ranking.rows[0].scheduler
    worse, better, equal, undecided = (
        [row for row in ranking.rows if row.relation == relation] for relation in RELATIONS
    )
    sentences = []
    if worse:
        every = "every other scheduler" if len(worse) == len(ranking.rows) - 1 > 1 else names(worse)
        sentences.append(f"{best} is significantly better than {every}.")
    if better:
        pairs = "searches" if ranking.is_by_search else "seeds"
        sentences.append(
            f"{names(better)} {_are(better)} significantly better than {best} in the {pairs} that both have."
        )
    if equal:
        sentences.append(f"{names(equal)} {_are(equal)} equal to {best} within {percent(ranking.delta)} points.")
    if undecided:
        sentences.append(f"Undecided, with the mean gap to {best} in points: {names(undecided, with_gaps=True)}.")
    return sentences


def names(rows: Sequence[Row], *, with_gaps: bool = False) -> str:
    """Return the names of schedulers, at most MAX_NAMES, on demand with their gaps to the best."""
    texts = [_name(row, with_gap=with_gaps) for row in rows]
    if len(texts) > MAX_NAMES + 1:
        texts = [*texts[:MAX_NAMES], f"{len(texts) - MAX_NAMES} others"]
    return listed(texts)


def verdict_text(verdict: str, delta: float) -> str:
    """Return a verdict as a cell of a table."""
    return f"equal within {percent(delta)}" if verdict == "equal" else verdict


def counted_pairs(count: int, ranking: Ranking) -> str:
    """Return a number of searches or of final seeds in words."""
    return counted(count, "search" if ranking.is_by_search else "final seed")


def _name(row: Row, *, with_gap: bool) -> str:
    gap = percent(row.gap_to_best.difference.mean)
    notes = [gap] if with_gap and gap else []
    notes += [f"{row.diverged} diverged"] if row.diverged else []
    return f"{row.scheduler} ({', '.join(notes)})" if notes else row.scheduler


def _are(rows: Sequence[Row]) -> str:
    return "are" if len(rows) > 1 else "is"


def _question(ranking: Ranking) -> list[str]:
    if ranking.is_by_search:
        return []
    return ["There was one search for each scheduler, so this compares the chosen configurations, not the schedulers."]

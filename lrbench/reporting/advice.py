"""The first section of a report: the recommended configuration, and how to use it."""

from collections.abc import Sequence

from lrbench.analysis.ranking import Ranking
from lrbench.analysis.row import Row
from lrbench.reporting.answer import comparisons, counted_pairs
from lrbench.reporting.document import Block, Bullets, Code, Text, interval_text
from lrbench.reporting.overrides import overrides
from lrbench.text import counted, counted_range, listed, percent


def advice(ranking: Ranking) -> list[Block]:
    """Return the recommended configuration: its accuracy, its rivals, its sensitivity, its code."""
    best = ranking.rows[0]
    configuration = " ".join(f"`{override}`" for override in overrides(best.arguments))
    choice = f"**Use `{best.scheduler}`**, with {configuration}." if configuration else f"**Use `{best.scheduler}`**."
    items = [*_accuracies(ranking), _relations(ranking), _sensitivity(best), _unknown(ranking)]
    return [Text(choice), Bullets([item for item in items if item]), *_code(best)]


def _accuracies(ranking: Ranking) -> list[str]:
    """Return the accuracy of the configuration, and of the scheduler after several searches."""
    best = ranking.rows[0]
    runs = counted(len(best.recommended.finals), "final run")
    ends = interval_text(best.configuration)
    interval = f", 95 % interval {ends} over seeds" if ends else ", too few for an interval"
    lines = [f"This configuration: {percent(best.configuration.mean)} % test accuracy ({runs}{interval})."]
    if ranking.is_by_search:
        ends = interval_text(best.mean)
        interval = f", 95 % interval {ends} over searches and seeds" if ends else ""
        tuned = f"This scheduler, tuned by {_search_size(best)}"
        lines.append(f"{tuned}: {percent(best.mean.mean)} % ({counted(len(best.values), 'search')}{interval}).")
    return lines


def _search_size(row: Row) -> str:
    """Return the size of one search in words, with the smallest and the largest if they differ."""
    trials = counted_range([len({run.spec.trial for run in outcome.search}) for outcome in row.outcomes], "trial")
    again = [len(outcome.confirmation) for outcome in row.outcomes]
    confirmed = f" and {counted_range(again, 'confirmation run')}" if any(again) else ""
    return f"a search of {trials}{confirmed}"


def _relations(ranking: Ranking) -> str:
    if len(ranking.rows) == 1:
        return ""
    if not ranking.has_enough_pairs:
        pairs = counted_pairs(ranking.pairs, ranking)
        return f"Nothing is known of the differences to other schedulers: {pairs} cannot show one."
    return " ".join(comparisons(ranking))


def _sensitivity(row: Row) -> str:
    """Return how much the peak rate matters."""
    rates = sorted(float(outcome.finals[0].spec.optimizer.lr) for outcome in row.outcomes)
    chosen = ""
    if len(rates) > 1:
        low, high = f"{rates[0]:.3g}", f"{rates[-1]:.3g}"
        chosen = f"The searches chose peak rates from {low} to {high}."
        if low == high:
            chosen = f"All searches chose the peak rate {low}."
    changes = {"half": row.robustness.half, "twice": row.robustness.double}
    known = [
        f"at {rate} the peak rate by {100 * change:+.2f}" for rate, change in changes.items() if change is not None
    ]
    if not known:
        return f"{chosen} The sensitivity to the peak rate is not measured; `final_neighbours=true` adds it.".strip()
    return f"The accuracy changes {listed(known)} points. {chosen}".strip()


def _unknown(ranking: Ranking) -> str:
    spec = ranking.rows[0].runs[0].spec
    setting = f"{spec.model.name} on {spec.data.name} with {spec.optimizer.name} for {spec.train.total_steps} steps"
    undecided = any(row.relation == "undecided" for row in ranking.rows)
    rivals = " The section Differences says what would decide the undecided comparisons." if undecided else ""
    if not ranking.has_enough_pairs:
        rivals = ""
    return f"Not known: whether it holds elsewhere. All runs trained {setting}.{rivals}"


def _code(row: Row) -> list[Block]:
    from lrbench.schedules.torch_code import standalone_code  # imports torch, which the rest of a report does not need

    spec = row.recommended.finals[0].spec
    code = standalone_code(spec)
    if not code:
        words = f"There is no plain PyTorch code for `{row.scheduler}`."
        return [Text(f"{words} `python -m lrbench.train` trains with it.")]
    return [
        Text(f"The same schedule in your own program, for {counted(spec.train.total_steps, 'step')}:"),
        Code(code.splitlines()),
    ]


def plain_lines(blocks: Sequence[Block]) -> list[str]:
    """Return the sentences of the section for a terminal, without marks and code."""
    lines: list[str] = []
    for block in blocks:
        if isinstance(block, Text) and not block.text.endswith(":"):
            lines.append(block.text)
        elif isinstance(block, Bullets):
            lines += [f"- {item}" for item in block.items]
    return [line.replace("**", "").replace("`", "") for line in lines]

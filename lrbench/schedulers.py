"""List the schedulers: `python -m lrbench.schedulers`, or those with a word: `… warm-up`."""

import argparse
import importlib.resources

from lrbench import __version__, cli
from lrbench.catalogue.scheduler_card import Card, parse_card
from lrbench.spec import ConfigError
from lrbench.text import plain_console


def main() -> None:
    """List the schedulers with their group, whether they are recommended, and what they are."""
    parser = argparse.ArgumentParser(prog="python -m lrbench.schedulers", description=main.__doc__)
    parser.add_argument("--version", action="version", version=f"lrbench {__version__}")
    parser.add_argument("word", nargs="*", help="only schedulers with these words, such as: warm-up CosineAnnealingLR")
    with cli.exit_codes():
        words = [word.lower() for word in parser.parse_args().word]
        rows = [row for row in _rows(_cards()) if all(word in " ".join(row).lower() for word in words)]
        if not rows:
            raise ConfigError(f"{' '.join(words)}: no scheduler has these words; without a word, all are listed")
        console, widths = plain_console(), [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            console.print("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
        console.print("Use one: python -m lrbench.curves scheduler=NAME. The third column: is it recommended?")


def _cards() -> dict[str, Card]:
    """Return the documentation of each scheduler by its name, in the order of the names."""
    files = (importlib.resources.files("lrbench.conf") / "scheduler").iterdir()
    names = {file.name.removesuffix(".yaml"): file for file in files if file.name.endswith(".yaml")}
    return {name: parse_card(name, names[name].read_text(encoding="utf-8")) for name in sorted(names)}


def _rows(cards: dict[str, Card]) -> list[list[str]]:
    """Return the name, the group, whether it is recommended, and the summary of each scheduler.

    A scheduler that is like another one is recommended as that one is.
    """
    rows = []
    for name, card in cards.items():
        described = cards[card.first("Like")] if card.first("Like") else card
        recommended = described.first("Recommended").partition(";")[0].partition(".")[0]
        rows.append([name, card.first("Group"), recommended, card.summary])
    return rows


if __name__ == "__main__":
    main()

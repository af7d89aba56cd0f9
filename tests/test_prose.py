"""The prose rules of CONTRIBUTING.md, as far as a program can see them."""

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Phrases that make a reader read twice. A test cannot judge a sentence, but these are never needed.
REFUSED = (
    "anew", "none that", "that of", "those of", "those which", "is none", "as it stands", "of its own", "of their own",
    "for want of", "the least to tell", "are the least", "at work", "let in", "lets in", "cannot be had", "so it is",
    "goes on", "go on", "will do", "see to", "come to", "comes to", "beside which", "is expected", "whichever",
    "has none", "cannot tell", "nobody knows", "said so",
)  # fmt: skip
PATTERN = re.compile(rf"\b(?!is (?-i:None))({'|'.join(map(re.escape, REFUSED))})\b", re.IGNORECASE)
LONGEST = 100

FILES = [
    path
    for pattern in (
        "lrbench/**/*.py",
        "lrbench/**/*.jinja",
        "conf/**/*.yaml",
        "sweeps/*.yaml",
        "scripts/**/*.py",
        "tests/**/*.py",
    )
    for path in sorted(ROOT.glob(pattern))
    if path != Path(__file__)
]
SCRIPTS = [path for path in sorted((ROOT / "scripts").iterdir()) if path.is_file()]
PAGES = [path for pattern in ("*.md", "conf/**/*.md", "sweeps/**/*.md") for path in sorted(ROOT.glob(pattern))]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [*FILES, *SCRIPTS, *PAGES], ids=_name)
def test_refused_phrases(path: Path) -> None:
    lines = path.read_text().splitlines()
    found = [f"{number}: {line.strip()}" for number, line in enumerate(lines, 1) if PATTERN.search(line)]
    assert not found


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_lines_of_documents_are_short(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    assert [line for line in lines if len(line) > LONGEST] == []


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".yaml"], ids=_name)
def test_comments_of_yaml_files_are_short(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert [line for line in lines if len(line) > (LONGEST if line.startswith("#") else 120)] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 250

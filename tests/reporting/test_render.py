"""Reports as Markdown and HTML."""

import base64
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import pytest

from lrbench.reporting.document import Section, Table, Text
from lrbench.reporting.render import load_template, render


class _Page(HTMLParser):
    """Reads a page. Every tag must be closed, in the order of nesting."""

    EMPTY = ("meta", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for key, value in attributes if key in ("src", "href")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_is_one_well_formed_file_without_references_to_others(report_folder: Path) -> None:
    text = (report_folder / "report.html").read_text()
    page = _Page(text)
    assert page.open == []
    pictures = [link for link in page.links if link.startswith("data:image/png;base64,")]
    assert {link for link in page.links if link not in pictures} == {f"#{number}" for number in range(1, 10)}
    assert base64.b64decode(pictures[0].partition(",")[2]) == (report_folder / "pictures" / "final.png").read_bytes()
    assert len(pictures) == 10
    assert "url(" not in text
    assert "://" not in text.replace("data:image", "")


def test_html_and_markdown_have_the_same_text(report_folder: Path) -> None:
    page = _Page((report_folder / "report.html").read_text()).text
    for line in (report_folder / "report.md").read_text().splitlines():
        if line.startswith("- "):
            assert line.removeprefix("- ").replace("`", "").replace("**", "") in page
        elif line.startswith("| ") and "`" not in line:
            assert all(cell.strip() in page for cell in line.split("|"))


def test_special_characters(tmp_path: Path) -> None:
    section = Section("One", [Text("**1** < 2"), Table(["a|b"], [["<i>"]])])
    values = {"name": "a&b", "answer": "", "sections": [section]}
    html = render("report.html", values, tmp_path)
    assert "<h1>a&amp;b " in html
    assert "<p><strong>1</strong> &lt; 2</p>" in html
    assert "&lt;i&gt;" in html
    assert "| a\\|b |" in render("report.md", values, tmp_path)


def test_a_variable_without_a_value_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'answer' is undefined"):
        load_template("report.md").render(name="tiny", sections=[])

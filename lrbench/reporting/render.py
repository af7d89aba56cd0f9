"""Reports as Markdown and HTML, from the templates in templates/."""

import base64
import importlib.resources
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from lrbench.reporting import plots


def load_template(name: str, package: str = "lrbench.reporting") -> jinja2.Template:
    """Return the template `name`.jinja of a package. A variable without a value is an error."""
    folder = importlib.resources.files(package).joinpath("templates")
    environment = jinja2.Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=name.endswith(".html"),
    )
    environment.filters["markup"] = _markup
    return environment.from_string(folder.joinpath(f"{name}.jinja").read_text(encoding="utf-8"))


def render(name: str, values: Mapping[str, Any], pictures: Path) -> str:
    """Return a report from a template. HTML embeds its pictures from the folder `pictures`."""

    def embedded(file: str) -> str:
        return f"data:image/png;base64,{base64.b64encode((pictures / file).read_bytes()).decode()}"

    def width(file: str) -> int:
        return plots.display_width(pictures / file)

    return load_template(name).render({**values, "embedded": embedded, "width": width})


def _markup(text: str) -> Markup:
    """Return a text with its Markdown marks as HTML.

    >>> _markup("**1** < `a<b`")
    Markup('<strong>1</strong> &lt; <code>a&lt;b</code>')
    """
    strong = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(text)))
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", strong))  # escaped above

"""Pages and model cards from the templates beside this file."""

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=select_autoescape(("html",)),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=StrictUndefined,
)


def render(template: str, **values: Any) -> str:
    """Return a template (a page, "report.html", or a card, "card.md") with values filled in."""
    return _TEMPLATES.get_template(template).render(values)


def picture(file: Path, title: str | None = None) -> tuple[str, str]:
    """Return the title of a PNG or JPEG file (by default its name), and its data URL."""
    kind = "png" if file.suffix.lower() == ".png" else "jpeg"
    data = base64.b64encode(file.read_bytes()).decode()
    return title or file.stem, f"data:image/{kind};base64,{data}"

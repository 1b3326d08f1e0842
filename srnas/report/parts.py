"""Pieces of a page: its frame, cards, tables, heat maps, embedded pictures."""

import base64
import html
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

STYLE = (files("srnas.report") / "style.css").read_text(encoding="utf-8")


def page(title: str, body: Iterable[str], refresh: int | None = None) -> str:
    """Return a whole page without references to anything outside.

    Args:
        title: Title, as plain text.
        body: Its parts, as HTML.
        refresh: After how many seconds a browser loads it again, if it does.
    """
    again = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{again}<title>{escape(title)}</title><style>{STYLE}</style>{''.join(body)}</html>\n"
    )


def section(title: str, *content: str) -> str:
    """Return a section, "" if it has no content."""
    inside = "".join(content)
    return f"<h2>{escape(title)}</h2>{inside}" if inside else ""


def cards(values: Mapping[str, str]) -> str:
    """Return large figures with their names below."""
    inside = "".join(
        f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>"
        for name, value in values.items()
    )
    return f'<div class="cards">{inside}</div>' if inside else ""


def charts(*figures: str) -> str:
    """Return figures side by side as far as there is room."""
    inside = "".join(figures)
    return f'<div class="charts">{inside}</div>' if inside else ""


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[Any]],
    numbers: bool = False,
    best: Collection[tuple[int, int]] = (),
) -> str:
    """Return a table.

    Args:
        head: Titles of the columns.
        rows: The cells.
        numbers: Whether all columns but the first are numbers, which are set to the right.
        best: Row and column of the cells that are marked.
    """

    def cell(kind: str, index: int, value: Any, marked: bool = False) -> str:
        names = [*(["number"] if numbers and index else []), *(["best"] if marked else [])]
        kinds = f' class="{" ".join(names)}"' if names else ""
        return f"<{kind}{kinds}>{escape(value)}</{kind}>"

    lines = ["".join(cell("th", i, value) for i, value in enumerate(head))]
    lines += [
        "".join(cell("td", i, value, (number, i) in best) for i, value in enumerate(row))
        for number, row in enumerate(rows)
    ]
    inside = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table>{inside}</table></div>'


def heat_map(rows: Mapping[str, Mapping[str, float]], chosen: Mapping[str, Collection[str]]) -> str:
    """Return probabilities as a table whose colours follow them.

    Args:
        rows: Probability of each column by row.
        chosen: The columns that are marked in each row.
    """
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in columns)
    lines = [f"<tr><th></th>{head}</tr>"]
    for label, row in rows.items():
        top = max(row.values())
        cells = []
        for name in columns:
            value = row.get(name)
            if value is None:
                cells.append("<td></td>")
                continue
            share = round(100 * value / top) if top > 0 else 0
            mark = ' class="best"' if name in chosen.get(label, ()) else ""
            color = f"color-mix(in srgb, var(--found-soft) {share}%, var(--paper))"
            cells.append(f'<td{mark} style="background:{color}">{value:.2f}</td>')
        lines.append(f"<tr><th>{escape(label)}</th>{''.join(cells)}</tr>")
    return f'<div class="scroll"><table class="heat">{"".join(lines)}</table></div>'


def picture(file: Path, title: str) -> str:
    """Return a PNG or JPEG file, embedded."""
    kind = "png" if file.suffix.lower() == ".png" else "jpeg"
    data = base64.b64encode(file.read_bytes()).decode()
    text = escape(title)
    return (
        f'<figure><figcaption>{text}</figcaption><img alt="{text}" '
        f'src="data:image/{kind};base64,{data}"></figure>'
    )


def escape(text: Any) -> str:
    """Return text for HTML."""
    return html.escape(str(text))

"""Tables of the book: a pandas table as a reader sees it, in a page, on a phone and as plain text.

`typeset` gives an object that Jupyter shows: a caption, units in the headers, numbers with fixed
decimals on the right, an estimate and its interval in one column, verdicts with a mark and a word.
The HTML is the same after every run (no random names), so the book's regression test compares it;
``book/_style/book.css`` dresses it and ``book/_style/tables.js`` offers it as CSV.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from flat_or_weak.table_cells import (
    MARKS,
    MISSING,
    VERDICTS,
    Cell,
    Format,
    _cells,
    _joined,
    written_interval,
)

PHONE = 42  # characters of a row that fit a phone; a wider table stands there as one card a row

SNUG = 68  # in smaller type, if the row is a name and five or more short numbers


@dataclass(frozen=True)
class Table:
    """A table made by `typeset`; Jupyter shows its HTML, a terminal its text."""

    caption: str
    headers: tuple[str, ...]
    units: tuple[str, ...]
    row_headers: int
    columns: tuple[tuple[Cell, ...], ...]

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)


def typeset(
    frame: pd.DataFrame,
    caption: str,
    *,
    units: Mapping[str, str] | None = None,
    digits: Format | Mapping[str, Format] = 2,
    intervals: Mapping[str, tuple[str, str]] | None = None,
    verdicts: Mapping[str, str] | None = None,
    index: bool = True,
) -> Table:
    """The table ``frame`` under a caption.

    Parameters
    ----------
    frame : cells may hold numbers, an `Estimate`, truth values (shown as yes and no), words, None.
    caption : one sentence or two: what the rows are, and what to see.
    units : column -> its unit, written into the header.
    digits : decimals of what is no integer, for all columns or by column, or a format
        such as `.3g`.
    intervals : column -> the columns of the two ends of its interval, which it absorbs.
    verdicts : further words that are verdicts -> "holds", "partly", "open" or "fails".
    index : whether the index, with its name, heads the rows.

    Raises ValueError for a column that the frame does not have, an empty caption, and a class of
    verdict that there is not.

    >>> frame = pd.DataFrame({"rho": [0.374], "low": [0.2], "high": [0.52]}, index=["trace"])
    >>> typeset(frame, "Rank correlations.", intervals={"rho": ("low", "high")})
    Rank correlations.
                        rho
    trace  +.37 [.20, .52]
    """
    if not caption.strip():
        raise ValueError("caption: expected a sentence, got an empty one")
    ends = intervals or {}
    asked: dict[str, list[str]] = {
        "units": [*(units or {})],
        "digits": [*digits] if isinstance(digits, Mapping) else [],
        "intervals": [column for name, pair in ends.items() for column in (name, *pair)],
    }
    for argument, columns in asked.items():
        if missing := [c for c in columns if c not in frame.columns and c not in frame.index.names]:
            raise ValueError(f"{argument}: no column {missing[0]!r} in {list(frame.columns)}")
    words = {**VERDICTS, **(verdicts or {})}
    if wrong := set(words.values()) - set(MARKS):
        raise ValueError(f"verdicts: expected a class among {list(MARKS)}, got {wrong.pop()!r}")

    absorbed = {column for pair in ends.values() for column in pair}
    table: list[tuple[Any, list[Any]]] = []
    if index:
        for level in range(frame.index.nlevels):
            name = frame.index.names[level]
            table.append(("" if name is None else name, [*frame.index.get_level_values(level)]))
    for place, name in enumerate(frame.columns):
        if name not in absorbed:
            values = [*frame.iloc[:, place]]
            if name in ends:
                low, high = (frame[end] for end in ends[name])
                values = [_joined(*three) for three in zip(values, low, high)]
            table.append((name, values))
    formats = {n: digits.get(n, 2) if isinstance(digits, Mapping) else digits for n, _ in table}
    return Table(
        caption.strip(),
        tuple(", ".join(map(str, n)) if isinstance(n, tuple) else str(n) for n, _ in table),
        tuple((units or {}).get(name, "") for name, _ in table),
        frame.index.nlevels if index else 0,
        tuple(tuple(_cells(values, formats[name], words)) for name, values in table),
    )


def _padded(column: Sequence[Cell]) -> list[tuple[str, ...]]:
    """The parts of the estimates of a column, each as wide as the widest of its kind."""
    threes = [cell.parts for cell in column if len(cell.parts) == 3]
    wide = [max((len(three[k]) for three in threes), default=0) for k in range(3)]
    return [
        tuple(p.rjust(w) for p, w in zip(c.parts, wide)) if len(c.parts) == 3 else c.parts
        for c in column
    ]


def _texts(column: Sequence[Cell]) -> list[str]:
    return [
        written_interval(parts) if len(parts) == 3 else cell.text()
        for parts, cell in zip(_padded(column), column)
    ]


def as_text(table: Table) -> str:
    """Caption, headers and rows, in columns."""
    lines: list[list[str]] = []
    for place, column in enumerate(table.columns):
        header, unit = table.headers[place], table.units[place]
        texts = [f"{header} ({unit})" if unit else header, *_texts(column)]
        wide = max(map(len, texts))
        left = all(cell.kind not in ("number", "estimate") for cell in column)
        lines.append([text.ljust(wide) if left else text.rjust(wide) for text in texts])
    rows = ("  ".join(row).rstrip() for row in zip(*lines))
    return "\n".join([table.caption, *rows])


def as_html(table: Table) -> str:
    """The table as HTML without names or numbers of its own."""
    wide = [
        max([len(h) + len(u) + 1, *map(len, _texts(c))])
        for h, u, c in zip(table.headers, table.units, table.columns)
    ]
    stacks = sum(wide) + 2 * len(wide) > PHONE
    heads = [
        _head(header, unit, any(cell.kind == "estimate" for cell in column), _aligned(column))
        for header, unit, column in zip(table.headers, table.units, table.columns)
    ]
    rows = []
    for row in range(len(table.columns[0]) if table.columns else 0):
        cells = [
            _place(table, place, row, again=_again(table, place, row))
            for place in range(len(table.columns))
        ]
        rows.append(f'<tr role="row">{"".join(cells)}</tr>')
    fits = sum(wide) + 2 * len(wide) <= SNUG and _short_numbers(table, wide)
    kind = "typeset" if not stacks else "typeset snug" if fits else "typeset stacks"
    return (
        f'<table class="{kind}" role="table"><caption>{html.escape(table.caption)}</caption>\n'
        f'<thead role="rowgroup"><tr role="row">{"".join(heads)}</tr></thead>\n'
        '<tbody role="rowgroup">\n' + "\n".join(rows) + "\n</tbody></table>"
    )


def _again(table: Table, place: int, row: int) -> bool:
    """Whether a row header, and every one outside it, is that of the row above; the innermost is
    always shown.
    """
    if not row or place >= table.row_headers - 1:
        return False
    return all(column[row] == column[row - 1] for column in table.columns[: place + 1])


def _short_numbers(table: Table, wide: Sequence[int]) -> bool:
    """Whether the rows are one name and at least five numbers of at most eight characters."""
    numbers = table.columns[table.row_headers :]
    return (
        table.row_headers == 1
        and len(numbers) >= 5
        and all(cell.kind == "number" for column in numbers for cell in column)
        and max(wide[1:]) <= 8
    )


def _aligned(column: Sequence[Cell]) -> str:
    return "number" if any(c.kind in ("number", "estimate") for c in column) else "text"


def _head(header: str, unit: str, estimate: bool, kind: str) -> str:
    shown = html.escape(header) + (
        f' <span class="unit">{html.escape(unit)}</span>' if unit else ""
    )
    parts = ' data-parts="3"' if estimate else ""
    return f'<th role="columnheader" scope="col" class="{kind}"{parts}>{shown}</th>'


def _place(table: Table, place: int, row: int, again: bool) -> str:
    """One cell; its ``data-csv`` is what the download says, ``data-label`` what heads it on a
    phone.
    """
    column, cell = table.columns[place], table.columns[place][row]
    shown = [html.escape(part).replace("-", "−") for part in cell.parts]
    if cell.kind == "text":
        shown = [html.escape(cell.parts[0])]
    if cell.kind == "estimate":
        threes = [one.parts for one in column if len(one.parts) == 3]
        wide = [max(len(three[k]) for three in threes) for k in range(3)]
        v, low, high = (
            f'<span class="part" style="min-width:{w}ch">{s}</span>' for s, w in zip(shown, wide)
        )
        inside = f'{v} <span class="interval">[{low}, {high}]</span>'
    elif cell.kind in MARKS:
        inside = f'<span class="mark" aria-hidden="true">{MARKS[cell.kind]}</span> {shown[0]}'
    else:
        inside = f'<span class="again">{shown[0]}</span>' if again else shown[0]
    header, unit = table.headers[place], table.units[place]
    label = html.escape(f"{header} ({unit})" if unit else header)
    csv = html.escape("|".join(_plain(part) for part in cell.parts))
    verdict = f" verdict {cell.kind}" if cell.kind in MARKS else ""
    tag = "th" if place < table.row_headers else "td"
    role = 'role="rowheader" scope="row"' if tag == "th" else 'role="cell"'
    attributes = f'{role} class="{_aligned(column)}{verdict}" data-label="{label}"'
    return f'<{tag} {attributes} data-csv="{csv}">{inside}</{tag}>'


def _plain(part: str) -> str:
    """A part for other programs: no thousands, no plus, a zero before the point."""
    bare = part.replace(",", "").removeprefix("+")
    try:
        float(bare.removesuffix("%"))
    except ValueError:
        return "" if part == MISSING else part.replace("|", "/")
    head, point, tail = bare.partition(".")
    return (f"{head}0" if head in ("", "-") else head) + point + tail

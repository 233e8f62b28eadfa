"""Which records a chapter of the book leans on.

An executed chapter says itself which records it read: its notebook holds their names. So this is
known where the book is, in a checkout, and an installed package has no chapters.
"""

from __future__ import annotations

import json
from pathlib import Path

from flat_or_weak import records

BOOK = records.CHECKOUT / "book" if records.CHECKOUT else None


def chapters() -> dict[str, Path]:
    """Name of a chapter -> its executed notebook, in alphabetical order; empty without a book."""
    return {path.stem: path for path in sorted(BOOK.glob("*.ipynb"))} if BOOK else {}


def is_called(chapter: str, name: str) -> bool:
    """Whether ``name`` is the chapter's name (``b6_pair_proxy``), or all of it that stands before
    the first underscore (``b6``).
    """
    return name in (chapter, chapter.partition("_")[0])


def read_by(name: str) -> list[str]:
    """Names of the records that the chapter read that `is_called` so. Raises ValueError if there is
    none, and for a chapter that read no record.
    """
    known = chapters()
    full = [one for one in known if is_called(one, name)]
    if len(full) != 1:
        raise ValueError(f"chapter: expected one of {', '.join(known) or 'none'}, got {name!r}")
    metadata = json.loads(known[full[0]].read_text(encoding="utf-8"))["metadata"]
    if not metadata.get("records"):
        raise ValueError(f"chapter: {full[0]} leans on no record")
    return list(metadata["records"])

"""Statements and exercises are numbered by chapter: Theorem B2.3 is the third theorem of b2.

Sphinx numbers them through the book. Its numbers are kept aside, since it compares them with those
of the build before to find the pages that it must write again.
"""

from __future__ import annotations

import re

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx_proof.proof_type import PROOF_TYPES

KINDS = {*PROOF_TYPES, "exercise"}
Numbers = dict[str, dict[str, dict[str, tuple]]]  # page -> kind -> label -> parts of the number


def by_chapter(numbers: Numbers) -> Numbers:
    """The numbers of every page counted anew, after the letter and number of its chapter if it has
    them.

    >>> by_chapter({"book/b2_continuous": {"theorem": {"x": (29,), "y": (30,)}}})
    {'book/b2_continuous': {'theorem': {'x': ('B2', 1), 'y': ('B2', 2)}}}
    >>> by_chapter({"book/own_network": {"theorem": {"x": (50,)}, "table": {"t": (7,)}}})
    {'book/own_network': {'theorem': {'x': (1,)}, 'table': {'t': (7,)}}}
    """
    return {
        page: {
            kind: {
                label: (*_chapter(page), place) if kind in KINDS else number
                for place, (label, number) in enumerate(found.items(), 1)
            }
            for kind, found in kinds.items()
        }
        for page, kinds in numbers.items()
    }


def _chapter(page: str) -> tuple[str, ...]:
    found = re.match(r"[a-z]\d(?=_)", page.rpartition("/")[2])
    return (found.group().upper(),) if found else ()


def through_the_book(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Before Sphinx numbers: its own numbers of the build before."""
    env.toc_fignumbers = getattr(env, "fignumbers_through_the_book", env.toc_fignumbers)
    return []  # no further page to write


def from_each_chapter(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """After Sphinx has numbered."""
    env.fignumbers_through_the_book = env.toc_fignumbers
    env.toc_fignumbers = by_chapter(env.toc_fignumbers)
    return []


def setup(app: Sphinx) -> dict:
    app.connect("env-get-updated", through_the_book, priority=100)
    app.connect("env-get-updated", from_each_chapter, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""What every benchmark hands back, and how two ways of computing the same thing are timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One comparison: ``ratio`` is the median over ``repetitions`` of peer / ours, timed in the
    same run.

    ``goal`` is the least ratio wanted (NaN: none). With ``at_most`` the ratio is ours / peer and
    the goal its largest value. ``agreement`` says in words how the answers were compared, ``agree``
    whether they are the same. Seconds are medians.
    """

    comparison: str
    ours: str
    peer: str
    ours_seconds: float
    peer_seconds: float
    ratio: float
    repetitions: int
    agreement: str
    agree: bool
    goal: float = float("nan")
    at_most: bool = False

    @property
    def wanted(self) -> str:
        """The goal in words."""
        return (
            ""
            if self.goal != self.goal
            else f"at {'most' if self.at_most else 'least'} {self.goal:g}"
        )

    def __str__(self) -> str:
        goal = f" (goal: {self.wanted})" if self.wanted else ""
        return (
            f"{self.comparison}\n"
            f"  {self.ours}: {self.ours_seconds:.3g} s; {self.peer}: {self.peer_seconds:.3g} s\n"
            f"  ratio {self.ratio:.3g}{goal}; {self.agreement}: {'yes' if self.agree else 'NO'}"
        )


@dataclass(frozen=True)
class Report:
    """The rows of one script, and what does not fit in a row."""

    rows: list[Row] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


def alternate(
    ours: Callable[[], Any], peer: Callable[[], Any], repetitions: int, at_most: bool = False
) -> tuple[dict[str, Any], Any, Any]:
    """Time both in turn, the order swapped each time, after one call of each.

    Returns the timing entries of a Row and the two answers. The ratio is the median of the ratios
    of neighbours, so that whatever else the machine does falls on both.
    """
    answers, seconds = (ours(), peer()), ([], [])
    for repetition in range(repetitions):
        for side in ((0, 1), (1, 0))[repetition % 2]:
            start = time.perf_counter()
            (ours, peer)[side]()
            seconds[side].append(time.perf_counter() - start)
    ratios = [(a / b if at_most else b / a) for a, b in zip(*seconds, strict=True)]
    timing = {
        "ours_seconds": statistics.median(seconds[0]),
        "peer_seconds": statistics.median(seconds[1]),
        "ratio": statistics.median(ratios),
        "repetitions": repetitions,
        "at_most": at_most,
    }
    return timing, *answers


def show(rows: Sequence[Row]) -> None:
    """Print the rows, and stop if two answers differ."""
    for row in rows:
        print(row, flush=True)
    different = [row.comparison for row in rows if not row.agree]
    if different:
        raise SystemExit(f"the answers differ: {'; '.join(different)}")

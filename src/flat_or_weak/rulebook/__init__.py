"""The rule book: every claim of the two papers and of this book, and what decides it.

* `rules`: from an estimate to an outcome, one rule for each kind of claim, with its margins.
* `estimates`, `over_splits`, `elsewhere`: what the rules judge, read from the records.
* `row`: a claim, whose it is, its rule; how a row is judged.
* `paper_a`, `paper_b`, `ours`: the rows.
* `history`: what was decided when, and the amendments.
* `tables`: the ledger, its groups, and the page "What would change our mind".
"""

from flat_or_weak.rulebook.ours import OURS
from flat_or_weak.rulebook.paper_a import PAPER_A, PREMISE
from flat_or_weak.rulebook.paper_b import PAPER_B

ROWS = [*PREMISE, *PAPER_A, *PAPER_B, *OURS]

__all__ = ["OURS", "PAPER_A", "PAPER_B", "PREMISE", "ROWS"]

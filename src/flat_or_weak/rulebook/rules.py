"""The rules of evidence: from an estimate to an outcome, one rule for each kind of claim.

A rule is blind to whose claim it judges. Presence and absence mirror each other: the same two tests
(is it zero? is it inside the margin?) decide both. Every rule can end undecided.
"""

from __future__ import annotations

from flatness.statistics.comparisons import Measured, verdict

LEVEL = 0.05  # of every test
RHO_MARGIN = 0.1  # a correlation, partial or not, or a difference of two, below this is negligible
POINTS_MARGIN = 0.25  # percentage points of test accuracy: half of the least advantage in Paper B
LOSS_BOUND = 0.05  # population loss relative to that of the zero function: below it, "small"

FOUND = ", for what the search found"  # neither network is certified

POLARITIES = {
    "presence": "something is there. *Holds*: it differs from zero with the claimed sign (below "
    "the margin, if it is also shown to be smaller). *Does not hold*: it has the other sign, or is "
    "shown to lie within the margin",
    "absence": "nothing is there. *Holds*: within the margin by two one-sided tests, that is, the "
    "90 % interval lies inside (below the margin, if it also differs from zero). *Does not hold*: "
    "it differs from zero, and is not shown to lie within the margin",
    "comparison": "one is stronger than the other on the same networks: the paired difference, by "
    "the rule of presence",
    "replication": "a published number. *Reproduced*: no visible difference, given the sampling "
    "errors of both, and the same finding (a sign, or none). *Undecided*: no visible difference, "
    "another finding. *Same sign, other size* or *not reproduced*: a visible difference",
    "intervention": "training that pushes a ruler moves test accuracy in the claimed direction, "
    "beyond a sham push, with the loss the same. *Drives*: the ruler moved by a standard "
    "deviation and the 95 % interval lies beyond the margin; *moves it the other way*: beyond it "
    "on the other side; "
    "*does not drive*: the ruler moved, and the 90 % interval lies within the margin. *Not moved*, "
    "*not fitted*: nothing is said",
    "bound": "a quantity is below, or above, a bound: its 95 % interval lies on that side "
    "(*holds*), on the other (*does not hold*), or on both (*undecided*)",
    "arithmetic": "printed numbers follow from other printed numbers, up to their rounding",
    "theorem": "a proof in its chapter. **The outcome is stated by us, not computed**; the "
    "assertions that the row names stand in the chapter and were executed",
    "inference": "a step of an argument. **The outcome is stated by us**; the row names the "
    "counterexample, whose assertions were executed",
}

GROUPS = {  # outcome -> group; a row whose cases fall into several groups: see `group`
    "holds": "holds",
    "reproduced": "holds",
    "consistent": "holds",
    "true": "holds",
    "drives": "holds",
    "holds, below the margin": "conditions",
    "holds" + FOUND: "conditions",
    "true under conditions": "conditions",
    "same sign, other size": "conditions",
    "does not hold (other sign)": "fails",
    "does not hold (within the margin)": "fails",
    "does not hold (present)": "fails",
    "does not hold": "fails",
    "not reproduced": "fails",
    "does not drive": "fails",
    "moves it the other way": "fails",
    "inconsistent": "fails",
    "does not follow": "fails",
}
BROKEN = ("check missing", "check not executed", "check fails")  # of a theorem or an inference


def presence(found: Measured, sign: int, margin: float, p: float | None = None) -> str:
    """Is there something of this sign (0: of either)? ``p`` of "it is zero" replaces the estimate's
    own where several tests are corrected together.

    >>> presence(Measured(0.4, 0.1, 19), +1, 0.1), presence(Measured(0.4, 0.1, 19), -1, 0.1)
    ('holds', 'does not hold (other sign)')
    >>> presence(Measured(0.05, 0.1, 19), +1, 0.1), presence(Measured(0.0, 0.01, 19), +1, 0.1)
    ('undecided', 'does not hold (within the margin)')
    """
    there, negligible = _two_tests(found, margin, p)
    if there and sign * found.centre < 0:
        return "does not hold (other sign)"
    if there:
        return "holds, below the margin" if negligible else "holds"
    return "does not hold (within the margin)" if negligible else "undecided"


def absence(found: Measured, margin: float, p: float | None = None) -> str:
    """Is there nothing, up to the margin? Two one-sided tests (Schuirmann 1987).

    >>> absence(Measured(0.0, 0.01, 19), 0.1), absence(Measured(0.4, 0.1, 19), 0.1)
    ('holds', 'does not hold (present)')
    >>> absence(Measured(0.05, 0.1, 19), 0.1), absence(Measured(0.05, 0.01, 19), 0.1)
    ('undecided', 'holds, below the margin')
    """
    there, negligible = _two_tests(found, margin, p)
    if negligible:
        return "holds, below the margin" if there else "holds"
    return "does not hold (present)" if there else "undecided"


def _two_tests(found: Measured, margin: float, p: float | None) -> tuple[bool, bool]:
    return (found.p() if p is None else p) < LEVEL, found.p_equivalence(margin) < LEVEL


def replication(ours: Measured, theirs: Measured) -> str:
    """Does our number reproduce theirs? A test of the difference with the errors of both.

    >>> replication(Measured(0.4, 0.1, 97), Measured(0.3, 0.1, 97))
    'reproduced'
    """
    found = verdict(ours.interval(), theirs.interval(), ours.minus(theirs).interval())
    return {"undetermined": "undecided"}.get(found, found)


def bound(found: Measured, limit: float, side: int) -> str:
    """Is the quantity above (side +1) or below (-1) the limit?

    >>> bound(Measured(1.0, 0.1, 4), 2.0, -1), bound(Measured(1.0, 0.1, 4), 2.0, +1)
    ('holds', 'does not hold')
    """
    interval = found.interval()
    low, high = interval.low > limit, interval.high < limit
    if not (low or high):
        return "undecided"
    return "holds" if low == (side > 0) else "does not hold"


def consistent(computed: tuple[float, float], printed: float, rounding: float) -> str:
    """Does a printed number lie in the range that other printed numbers allow?

    >>> consistent((0.1, 0.2), 0.2, 0.05), consistent((0.1, 0.2), 0.3, 0.05)
    ('consistent', 'inconsistent')
    """
    low, high = computed
    return "consistent" if low - rounding <= printed <= high + rounding else "inconsistent"


def group(outcomes: list[str]) -> str:
    """The group of a row from the outcomes of its cases: "holds", "conditions", "fails" or
    "undecided".

    Several groups, one of them "holds" or "conditions": it holds under conditions. A row of which
    one case fails and no case holds, fails.

    >>> group(["holds", "undecided"]), group(["undecided", "does not hold"])
    ('conditions', 'fails')
    """
    found = {GROUPS.get(outcome, "undecided") for outcome in outcomes}
    if len(found) == 1:
        return found.pop()
    return "conditions" if found & {"holds", "conditions"} else "fails"

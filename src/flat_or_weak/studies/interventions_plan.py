"""The plan of the intervention study (c6_interventions), fixed before its first recorded network.

Everything above the line of amendments is frozen: `fingerprint` is its SHA-256, the configuration
of every record carries it with the date, and the study refuses to compute under another plan.

**Question.** Which ruler, moved by training while seed, data, minibatch order and final training
loss stay the same, moves test accuracy?

**Networks.** 784-64-8-10, 250 training images, minibatches of 64, rate 0.1, as in Paper B; each
stops once its mean training loss, looked at every third epoch, is at most `LOSS`. Ten splits of
MNIST and of Fashion-MNIST, none of them in an earlier record or in a pilot; networks of one seed
start alike and see the same minibatches in every arm.

**Arms.** After every epoch an arm takes one step more, `DOSE` times as long as the way that the
loss steps of the epoch went, along or against the gradient of a differentiable stand-in of its
ruler (`flat_or_weak.studies.interventions_penalties`). The sham's stand-in is the squared distance
to another random start, a random quadratic form of no ruler. Two pushes that moved their ruler by
less than one standard deviation in the pilots are three times as strong (*strongly*); a sham of
that strength never reaches the common loss, so they are compared with the sham of `DOSE` as the
others are; so is the push that lowers the rank, half as strong (*gently*) since at `DOSE` many
networks of Fashion-MNIST did not fit. SAM and adaptive SAM have a radius each; beside the paper's
rate stands plain SGD with twice that rate.

**Exclusions.** A network that does not reach `LOSS` within the epochs allowed, or diverges, is
marked *unfitted*. A comparison uses the seeds whose networks fitted in both arms; the others are
counted. If in either arm of a comparison more than `MOST_UNFITTED` of the networks are unfitted,
it is not read.

**Sample size.** In the splits recorded earlier the standard deviation of accuracy within a split
is 2.06 points on MNIST and 1.00 on Fashion-MNIST. `detectable` gives the difference of two arms
that ten splits of m seeds find with power 0.8, were the networks of a pair independent and the
effect the same in every split: 0.53 and 0.26 points for m = 30, 1.02 and 0.50 for m = 8, 1.45 and
0.70 for m = 4. Pairing can only help; effects that differ between splits make it worse. The
recording goes in groups of four seeds, each with all splits and arms, one after the other as far
as computing time allows; how many is set by the clock, never by what they show. Fewer than thirty
are expected, so "does not drive" will be hard to reach on MNIST, and "undecided" likely for
effects of less than a point.

**Outcome.** Test accuracy on the 10,000 test images in percentage points, arm minus sham, by seed;
the mean within each split; Student's interval over the splits.

**Manipulation check.** The arm's ruler, measured by the package's own routine, arm minus base, in
standard deviations of the base arm within splits. Traces and the divergence are taken as
logarithms. The pair proxy and the divergence are measured on some seeds of each split only.

**Reading.** `reading` has the rule for a data set and `combined` the one for both, `SENTENCES`
what will be said. The arm that pushes towards better, by the ruler's claim (`BETTER`), is primary;
the other direction is read by the same rule, mirrored, and reported beside it. The readings are
not corrected for number: each needs an interval beyond a margin, on two data sets.

**SAM.** SAM and adaptive SAM are no push and the sham is not their control: they are compared with
the base arm, and with twice the rate beside it. The claim, that SAM raises accuracy, is read by
the rule book's rule of presence with `MARGIN`; the shifts of all rulers stand beside it.

**Looked at before.** Pilots on splits 5000 and 5001, six to twenty networks an arm, nearly all on
MNIST: to choose doses that move a ruler by one to three standard deviations, the stand-in for the
pair proxy (a soft count of witnessed pairs correlated 0.5 with the pair proxy over twenty
networks, the mean log leverage 0.9), a sham that does not blow the weights up (random signs did),
radii (an adaptive radius of 0.5 did not fit, nor 0.1 without adaptation on Fashion-MNIST within
200 epochs) and rates (0.2 gained on MNIST, lost on Fashion-MNIST). Their accuracies were seen, on ten MNIST networks of one
split, against base: rank up +0.5 and down -3.0 points (gently -1.1), pair proxy up -0.1 (thrice as
strong -1.1) and down -3.7, trace down +0.6, sham +0.3, norm up -0.4 and down +0.4, noise
divergence 0.0, SAM (0.1) +0.9, rate +0.8; on ten of Fashion-MNIST pair proxy strongly up -0.2,
trace down 0.0, rate -2.1, rank up +0.1 and down -1.6 (two fitted); lowering the pair proxy by its stand-in
lowered the rank too, lowering the rank did not lower the pair proxy. Known as well: all
correlations of c3_confounds, and the matched pairs of c6.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from scipy import stats

from flatness.statistics.comparisons import Estimate, Measured

FROZEN = "2026-11-28"
LOSS = 0.05  # nats
DOSE = 0.1
MARGIN = 0.25  # points of test accuracy: that of the rule book
LEAST_SHIFT = 1.0  # standard deviations of the base arm within splits
MOST_UNFITTED = 0.1
BETTER = {  # ruler -> the direction that its claim calls better
    "pair_proxy": +1,
    "effective_rank": +1,
    "trace": -1,
    "orbit_trace": -1,
    "noise_divergence": -1,
    "weight_norm": -1,
}
ONE = ("drives", "moves it the other way", "does not drive", "undecided", "not moved", "not fitted")
SENTENCES = {
    "drives": "moving the ruler moves accuracy beyond the margin, as claimed, on both data sets",
    "drives on one data set": "it does so on one data set; on the other this is not shown",
    "moves it the other way": "accuracy moves beyond the margin against the claim on both",
    "against the claim on one data set": "accuracy moves beyond the margin against "
    "the claim on one",
    "does not drive": "with the ruler moved, accuracy stays within the margin on both data sets",
    "undecided": "the intervals allow more than one of these",
    "not moved": "the push did not move its ruler by one standard deviation on both data sets, so "
    "it says nothing on the ruler",
    "not fitted": "too many networks did not reach the common loss",
    "contradictory": "as claimed on one data set, against the claim on the other",
}


def detectable(deviation: float, seeds: int, splits: int = 10, power: float = 0.8) -> float:
    """The difference of the means of two arms found with this power at level 0.05, in the unit of
    ``deviation``, the standard deviation within a split, for unpaired seeds.

    >>> round(detectable(2.06, 30), 2), round(detectable(1.00, 30), 2)
    (0.53, 0.26)
    """
    freedom = splits - 1
    error = deviation * (2 / (seeds * splits)) ** 0.5
    return float((stats.t.ppf(0.975, freedom) + stats.t.ppf(power, freedom)) * error)


def reading(shift: Estimate, effect: Measured, unfitted: float) -> str:
    """One arm on one data set.

    ``shift``: of the ruler, in standard deviations, signed so that the push goes up; ``effect``: on
    accuracy in points, signed so that the claim's direction is positive; ``unfitted``: the larger
    share of the two arms.

    >>> reading(Estimate(2, 1.5, 2.5), Measured(1.0, 0.1, 9), 0.0)
    'drives'
    """
    if unfitted > MOST_UNFITTED:
        return "not fitted"
    if shift.value < LEAST_SHIFT or shift.low <= 0:
        return "not moved"
    interval = effect.interval()
    if interval.low > MARGIN:
        return "drives"
    if interval.high < -MARGIN:
        return "moves it the other way"
    return "does not drive" if effect.p_equivalence(MARGIN) < 0.05 else "undecided"


def combined(one: str, two: str) -> str:
    """Both data sets: a key of `SENTENCES`.

    >>> combined("drives", "drives"), combined("drives", "undecided")
    ('drives', 'drives on one data set')
    """
    found = {one, two}
    if len(found) == 1:
        return one
    for bar in ("not fitted", "not moved"):
        if bar in found and not found & {"drives", "moves it the other way"}:
            return bar
    if found == {"drives", "moves it the other way"}:
        return "contradictory"
    if "drives" in found:
        return "drives on one data set"
    if "moves it the other way" in found:
        return "against the claim on one data set"
    return "undecided"


def fingerprint() -> str:
    """SHA-256 of this module above the line of amendments."""
    text = Path(__file__).read_text(encoding="utf-8")
    return hashlib.sha256(text.split("# ---- amendments")[0].encode()).hexdigest()


# ---- amendments: (date and time in UTC, what, why, and what was known then)

AMENDMENTS: tuple[tuple[str, str], ...] = (
    (
        "2026-11-28 07:50",
        "Groups of two seeds instead of four, for time: the first group has twenty pairs of networks "
        "an arm and data set. Before any recorded network was looked at.",
    ),
    (
        "2026-11-28 08:05",
        "MNIST is recorded with two seeds in all arms, then "
        "Fashion-MNIST with two seeds in eight of the sixteen arms (base, sham, both pushes on the "
        "rank, the pair proxy strongly up and down, the trace down, SAM). Before any recorded "
        "network was looked at; the other arms and seeds are left to be run.",
    ),
    (
        "2026-11-28 08:20",
        "After the records: none of Fashion-MNIST's shams fitted, so by the rule of exclusions nothing "
        "there is read. The chapter shows comparisons with the base arm beside, for both data sets, "
        "and says that they are not the plan's.",
    ),
    (
        "2026-11-28 17:25",
        "Fashion-MNIST's other arms are recorded, and with them the sham at a half and at a quarter "
        "of its dose, to see what a sham that fits does there: the largest of them of which at most "
        "a tenth is unfitted. A weaker sham may gain less, so that more can seem to lie beyond it: "
        "what is read against it is no reading of the plan, stands beside it in the chapter and in "
        "no row of the ledger. Before any of these networks was trained; the comparisons with the "
        "base arm had been seen.",
    ),
)

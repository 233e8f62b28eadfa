"""What the recorded interventions say: effects on accuracy, shifts of every ruler, and the plan's
readings.

A comparison pairs networks by split and seed, takes the mean within each split, and Student's
interval over the splits. Source: our chapter c6_interventions; the rule is
`flat_or_weak.studies.interventions_plan`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from flat_or_weak.records import RecordError, find, load_record
from flat_or_weak.studies import interventions_plan as plan
from flat_or_weak.studies.interventions import ARMS, SMALLER_SHAMS
from flat_or_weak.studies.interventions_training import Arm
from flatness.statistics.comparisons import Estimate, Measured, measured_mean

RECORDS = (
    "interventions",
    "interventions_fashion",
    "interventions_fashion_rest",
    "interventions_more",
)
LOGGED = ("trace", "orbit_trace", "noise_divergence")
RULERS = tuple(plan.BETTER)
BY_NAME = {arm.name: arm for arm in (*ARMS, *SMALLER_SHAMS)}


def recorded() -> pd.DataFrame:
    """All recorded blocks of seeds, one after the other. Raises RecordError if there is none, or if
    one was made under another plan than the one here.
    """
    names = [name for name in RECORDS if find(name)]
    records = [load_record(name) for name in names or RECORDS[:1]]
    for record in records:
        if record.config["plan"] != plan.fingerprint():
            raise RecordError(f"{record.name}: recorded under another plan than the one here")
    return pd.concat([record.table for record in records], ignore_index=True)


def arms_of(table: pd.DataFrame) -> list[str]:
    """The arms of a table, in the order of the study."""
    there = set(table["arm"])
    return [name for name in BY_NAME if name in there]


def control_of(arm: Arm) -> str:
    """The arm that an arm's accuracy is compared with: the sham, or "base" without a push."""
    return "base" if not arm.penalty or arm.penalty == "sham" else "sham"


def fitted_sham(table: pd.DataFrame) -> str | None:
    """The largest sham of one data set of which at most a tenth is unfitted; that of the plan where
    it fitted, and None where none did.
    """
    shams = [name for name in arms_of(table) if BY_NAME[name].penalty == "sham"]
    usable = (name for name in shams if unfitted(table, name) <= plan.MOST_UNFITTED)
    return next(usable, None)


def values(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """A column of one data set by (split, seed) and arm, NaN where the network is unfitted;
    accuracy in points, what varies by factors as a logarithm.
    """
    found = table[column].where(table["fitted"].astype(bool))
    found = np.log(found) if column in LOGGED else found
    found = 100 * found if column == "test_accuracy" else found
    return table.assign(value=found).pivot(index=["split", "seed"], columns="arm", values="value")


def difference(table: pd.DataFrame, column: str, arm: str, control: str) -> pd.Series:
    """Arm minus control by (split, seed), where both are there."""
    wide = values(table, column)
    return (wide[arm] - wide[control]).dropna()


def over_splits(differences: pd.Series) -> Measured:
    """The mean over splits of their means, with Student's error over splits; with fewer than two
    splits nothing is known, and the error is infinite.
    """
    means = differences.groupby("split").mean()
    return measured_mean(means.tolist()) if len(means) > 1 else Measured(0.0, np.inf, 1)


def spread(table: pd.DataFrame, column: str) -> float:
    """Standard deviation of the base arm within splits."""
    return float(np.sqrt(values(table, column)["base"].groupby("split").var().mean()))


def shift(table: pd.DataFrame, arm: str, ruler: str, control: str = "base") -> Estimate:
    """Arm minus base of a ruler, in standard deviations of the base arm."""
    moved = difference(table, ruler, arm, control) / spread(table, ruler)
    return over_splits(moved).interval()


def shifts(table: pd.DataFrame) -> pd.DataFrame:
    """The estimate of `shift` for every ruler, and for "test_accuracy", and every arm but base."""
    arms = [name for name in arms_of(table) if name != "base"]
    columns = [*RULERS, "test_accuracy"]
    rows = [[_shift_or_nan(table, arm, ruler) for ruler in columns] for arm in arms]
    return pd.DataFrame(rows, index=arms, columns=columns)


def _shift_or_nan(table: pd.DataFrame, arm: str, ruler: str) -> float:
    moved = difference(table, ruler, arm, "base")
    return float(moved.groupby("split").mean().mean() / spread(table, ruler))


def effect(table: pd.DataFrame, arm: str, control: str | None = None) -> Measured:
    """Accuracy of an arm minus its control in points (default: `control_of`)."""
    against = control_of(BY_NAME[arm]) if control is None else control
    return over_splits(difference(table, "test_accuracy", arm, against))


def unfitted(table: pd.DataFrame, arm: str) -> float:
    """Share of an arm's networks that did not reach the common loss."""
    return float(1 - table.loc[table["arm"] == arm, "fitted"].mean())


def pushed(arm: Arm) -> int:
    """Up (+1) or down (-1)."""
    return -1 if arm.dose > 0 else 1


def judged(table: pd.DataFrame, arm: str) -> tuple[Measured, Estimate, float]:
    """What the plan's rule reads for an arm that pushes a ruler, on one data set: the effect on
    accuracy, positive as the claim for the ruler has it; the shift of the ruler, positive the way
    it is pushed; and the larger share of unfitted networks, the arm's or its control's.
    """
    one = BY_NAME[arm]
    up = pushed(one)
    moved, found = shift(table, arm, one.penalty), effect(table, arm)
    low, high = sorted((up * moved.low, up * moved.high))
    sign = up * plan.BETTER[one.penalty]
    lost = max(unfitted(table, arm), unfitted(table, control_of(one)))
    signed = Measured(sign * found.centre, found.error, found.freedom)
    return signed, Estimate(up * moved.value, low, high), lost


def read(table: pd.DataFrame, arm: str) -> str:
    """The plan's reading of an arm that pushes a ruler, on one data set."""
    found, moved, lost = judged(table, arm)
    return plan.reading(moved, found, lost)


def size(table: pd.DataFrame, arm: str, control: str) -> str:
    """What a comparison rests on, in words."""
    pairs = difference(table, "test_accuracy", arm, control)
    splits = pairs.index.get_level_values("split").nunique()
    return f"{len(pairs)} pairs of networks, {splits} splits"


def readings(table: pd.DataFrame) -> pd.DataFrame:
    """Every arm that pushes a ruler: the ruler, whether it is primary, the reading on each data set
    and on both.
    """
    rows = []
    for arm in ARMS:
        if not arm.penalty or arm.penalty == "sham":
            continue
        found = {
            data: read(part, arm.name) if arm.name in set(part["arm"]) else "not recorded"
            for data, part in table.groupby("data")
        }
        primary = pushed(arm) == plan.BETTER[arm.penalty]
        whole = len(found) == 2 and "not recorded" not in found.values()
        both = plan.combined(*found.values()) if whole else "one data set only"
        rows.append(
            {"arm": arm.name, "ruler": arm.penalty, "primary": primary, **found, "both": both}
        )
    return pd.DataFrame(rows)

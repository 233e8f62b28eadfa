"""Estimates on other networks and other data than those of c3, under the plan of c7."""

from __future__ import annotations

from typing import cast

from flat_or_weak.records import find
from flat_or_weak.rulebook.estimates import Case, Statistic, words
from flat_or_weak.studies import generality_reading as reading
from flatness.statistics.comparisons import Measured


def elsewhere(measure: str) -> Statistic:
    """Rank correlation with test accuracy in every setting where the measure can be read, pooled
    over splits; Holm's correction over the settings.
    """

    def cases() -> dict[str, Case]:
        if not any(find(name) for name in reading.RECORDS):
            return {}
        rows = reading.of_rulers()
        rows = rows[rows["measure"] == measure]
        return {
            str(setting): Case(cast(Measured, row["found"]), str(row["n"]), float(row["p"]))
            for setting, row in rows.set_index("setting").iterrows()
        }

    return Statistic(f"{words(measure)}: correlation with test accuracy, in other settings", cases)


def of_the_bound(row: str) -> Statistic:
    """Rank correlation with test accuracy of the bound with a prior from half of the data, or of a
    part of it, pooled over splits; Holm's correction over the five that were planned, none for
    another.
    """
    measure, _, given = row.partition(" | ")
    one: tuple[str, tuple[str, ...]] = (measure, (given,) if given else ())

    def cases() -> dict[str, Case]:
        if not find("data_dependent_prior"):
            return {}
        found = reading.of_bound() if one in reading.BOUND else reading.of_bound(one)
        return {
            "MNIST, n = 10,000": Case(
                cast(Measured, found["found"][row]), str(found["n"][row]), float(found["p"][row])
            )
        }

    return Statistic(f"{words(*one)}: correlation with test accuracy", cases)

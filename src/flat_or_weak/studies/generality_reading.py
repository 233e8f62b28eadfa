"""What the records on other networks and other data say, by the rule that their plan fixed.

Source: our chapter c7_generality; the rule is `flat_or_weak.studies.generality_plan`.
"""

from __future__ import annotations

from functools import cache
from typing import cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from flat_or_weak.figures import BLUE, GREY, ORANGE
from flat_or_weak.records import find, load_record
from flat_or_weak.rulebook import rules
from flat_or_weak.studies import confounds
from flat_or_weak.studies import generality_plan as plan
from flat_or_weak.studies.confound_figures import WORDS as confound_words
from flat_or_weak.studies.generality import IMAGES, TABLES, GeneralityConfig
from flatness.statistics.comparisons import Measured, measured_mean, measured_pooled
from flatness.statistics.ranks import holm

RECORDS = ("generality_images", "generality_tables")
WIDTHS = {setting.name: setting.hidden[-1] for setting in (*IMAGES, *TABLES)}  # of the features
SETTINGS = tuple(WIDTHS)
PAIRS = 10 * GeneralityConfig().probes  # probes times classes
SECONDARY: confounds.Family = (
    ("pair_proxy", ("effective_rank",)),
    ("effective_rank", ("pair_proxy",)),
    ("read_proxy", ("effective_rank",)),
    ("effective_rank", ("read_proxy",)),
)
BOUND: confounds.Family = (
    ("bound", ()),
    ("empirical", ()),
    ("kl", ()),
    ("bound", ("empirical",)),
    ("kl", ("empirical",)),
)


@cache
def recorded() -> pd.DataFrame:
    """The networks that are recorded, those with a satisfiable training policy. Where the last
    layer reads all directions of the features, the read proxy is the pair proxy
    (`flatness.networks.features.read_features`).
    """
    parts = [load_record(name).table for name in RECORDS if find(name)]
    table = confounds.kept(pd.concat(parts, ignore_index=True))
    return table.assign(read_proxy=table["read_proxy"].fillna(table["pair_proxy"]))


def saturation(table: pd.DataFrame) -> pd.DataFrame:
    """By setting: the share of pairs that is feasible, the fewest different values of the pair
    proxy in a split, and the share of networks at the largest value that a network can have.
    """
    rows = {}
    for name, part in table.groupby("setting"):
        values = part.groupby("split")["pair_proxy"]
        rows[str(name)] = {
            "feasible": float(part["pair_proxy"].mean() / PAIRS),
            "fewest values": int(values.nunique().min()),
            "all feasible": float((part["pair_proxy"] == PAIRS).mean()),
            "read, feasible": float(part["read_proxy"].mean() / PAIRS),
        }
    return pd.DataFrame.from_dict(rows, orient="index").reindex(
        [name for name in SETTINGS if name in rows]
    )


def readable(table: pd.DataFrame, measure: str) -> list[str]:
    """The settings where a ruler can be read: it is defined there, and in every split the networks
    differ in it.
    """
    wanted = []
    for name in SETTINGS:
        part = table[table["setting"] == name]
        if len(part) and part[measure].notna().all():
            if (part.groupby("split")[measure].nunique() > 1).all():
                wanted.append(name)
    return wanted


def correlations(table: pd.DataFrame, family: confounds.Family) -> pd.DataFrame:
    """One row per (measure, given) and setting where all of them can be read: the `Measured`
    correlation with test accuracy, pooled over splits, and p corrected by Holm over the settings.
    """
    rows = []
    for measure, given in family:
        names = set(readable(table, measure))
        for name in given:
            names &= set(readable(table, name))
        found = {}
        for setting in (name for name in SETTINGS if name in names):
            part = table[table["setting"] == setting]
            pooled = confounds.pooled(part, measure, given)
            found[setting] = measured_pooled(
                pooled.rho, *pooled.interval, replications=pooled.replications
            )
        corrected = dict(holm({name: one.p() for name, one in found.items()})) if found else {}
        rows += [
            {
                "measure": measure,
                "given": ", ".join(given),
                "setting": setting,
                "found": one,
                "p": corrected[setting],
                "n": _size(table[table["setting"] == setting]),
            }
            for setting, one in found.items()
        ]
    return pd.DataFrame(rows)


def _size(part: pd.DataFrame) -> str:
    return f"{part['split'].nunique()} splits, {len(part):,} networks"


@cache
def of_rulers() -> pd.DataFrame:
    """`correlations` of the plan's rulers, on what is recorded."""
    return correlations(recorded(), tuple((ruler, ()) for ruler in plan.CLAIMED))


def what_is_left(table: pd.DataFrame, first: str, second: str) -> dict[str, Measured]:
    """By setting where both can be read: the partial correlation of ``first`` given ``second``
    minus that of ``second`` given ``first``, on Fisher's scale, paired by split.
    """
    found = {}
    for name in readable(table, second):
        part = table[table["setting"] == name]
        one = confounds.rho_by_split(part, first, (second,))
        other = confounds.rho_by_split(part, second, (first,))
        found[name] = measured_mean((np.arctanh(one) - np.arctanh(other)).tolist())
    return found


@cache
def of_bound(*family: tuple[str, tuple[str, ...]], without: int | None = None) -> pd.DataFrame:
    """The correlations with test accuracy of the bound of
    :mod:`flat_or_weak.studies.data_dependent_prior` and of its parts, pooled over splits; p
    corrected by Holm over the ``family``, by default the five planned. Networks that did not reach
    the common loss are left out, and the split ``without``.
    """
    record = load_record("data_dependent_prior")
    table = record.table[record.table["train_loss"] <= record.config["loss"]]
    table = table[table["split"] != without] if without is not None else table
    table = table.assign(pair_proxy=0.0)  # none is left out for its policy
    rows = {}
    for measure, given in family or BOUND:
        pooled = confounds.pooled(table, measure, given)
        name = measure + (" | " + ", ".join(given) if given else "")
        rows[name] = measured_pooled(pooled.rho, *pooled.interval, replications=pooled.replications)
    corrected = dict(holm({name: one.p() for name, one in rows.items()}))
    return pd.DataFrame(
        {
            "found": rows,
            "p": corrected,
            "n": {name: _size(table) for name in rows},
        }
    )


def verdicts(found: pd.DataFrame, signs: dict[str, int]) -> list[str]:
    """What the rule of presence says of each row of `correlations`, for the signs claimed."""
    return [
        rules.presence(row["found"], signs[row["measure"]], rules.RHO_MARGIN, row["p"])
        for _, row in found.iterrows()
    ]


def written(found: pd.DataFrame, outcomes: list[str]) -> pd.DataFrame:
    """`correlations` as a table for readers: one row per ruler and setting."""
    names = [
        WORDS[row["measure"]] + (f" given {WORDS[row['given']]}" if row["given"] else "")
        for _, row in found.iterrows()
    ]
    shown = pd.DataFrame(
        {
            "rho": [one.interval() for one in found["found"]],
            "p": found["p"].to_numpy(),
            "by rule": outcomes,
        },
        index=pd.MultiIndex.from_arrays([names, found["setting"]], names=["ruler", "setting"]),
    )
    return shown


CLASSES = {  # what the rule says -> the class of a verdict in a table
    "undecided": "open",
    "holds, below the margin": "partly",
    "does not hold (other sign)": "fails",
    "does not hold (within the margin)": "fails",
}


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """By ruler: its least and its largest correlation, in how many of the settings where it can be
    read its claim holds, the others, and the plan's word for it.
    """
    rows = {}
    for ruler, sign in plan.CLAIMED.items():
        part = found[found["measure"] == ruler]
        if not len(part):
            continue
        outcomes = pd.Series(verdicts(part, plan.CLAIMED), part["setting"])
        rhos = sorted((one.interval() for one in part["found"]), key=lambda e: e.value)
        holds = outcomes.isin(["holds", "holds, below the margin"])
        rows[f"{WORDS[ruler]} ({sign:+d})"] = {
            "least": rhos[0],
            "largest": rhos[-1],
            "holds in": f"{holds.sum()} of {len(part)}",
            "elsewhere": "; ".join(
                f"{name}: {outcomes[name]}" for name in part["setting"][~holds.to_numpy()]
            )
            or "–",
            "so it": "generalises" if holds.all() else "partly" if holds.any() else "not shown",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("ruler (sign claimed)")


WORDS = confound_words | {"read_proxy": "read proxy"}


def figure(found: pd.DataFrame, title: str) -> Figure:
    """One panel for each ruler: its correlation with accuracy in each setting, with 95 % interval;
    grey where that holds zero, orange where it has the sign that is not claimed.
    """
    rulers = [ruler for ruler in plan.CLAIMED if ruler in set(found["measure"])]
    figure, axes = plt.subplots(
        2, 4, figsize=(9, 5), sharex=True, sharey=True, layout="constrained"
    )
    for panel, ruler in zip(axes.flat, rulers, strict=False):
        rows = found[found["measure"] == ruler].set_index("setting")
        for at, setting in enumerate(reversed(SETTINGS)):
            if setting not in rows.index:
                panel.text(0, at, "not read", ha="center", va="center", color=GREY, size=7)
                continue
            one = cast(Measured, rows.loc[setting, "found"]).interval()
            colour = GREY if one.low <= 0 <= one.high else BLUE
            colour = ORANGE if plan.CLAIMED[ruler] * one.value < 0 and colour == BLUE else colour
            panel.plot([one.low, one.high], [at, at], color=colour, lw=2)
            panel.plot(one.value, at, "o", ms=4, color=colour)
        panel.axvline(0, color=GREY, lw=0.6)
        panel.set_title(f"{WORDS[ruler]} ({plan.CLAIMED[ruler]:+d})", size=9)
        panel.set_yticks(np.arange(len(SETTINGS)), SETTINGS[::-1], size=8)
    for panel in list(axes.flat)[len(rulers) :]:
        panel.set_axis_off()
    figure.supxlabel("correlation with test accuracy within splits", size=9)
    figure.suptitle(title)
    return figure

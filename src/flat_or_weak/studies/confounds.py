"""What the replicated experiments say: pooled and partial correlations, reliability, factorial
effects (c3_confounds).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast

import numpy as np
import pandas as pd

from flatness.statistics.pooling import Pooled, disattenuated, pooled_rho, reliability
from flatness.statistics.ranks import holm, partial_spearman, spearman, spearman_rho
from flatness.statistics.scaling import t_interval

MEASURES = (
    "trace",
    "orbit_trace",
    "weight_norm",
    "train_loss",
    "epochs",
    "noise_divergence",
    "pair_proxy",
    "effective_rank",
    "active_units",
)
Family = tuple[tuple[str, tuple[str, ...]], ...]  # (measure, what it is given)
ALONE: Family = tuple((measure, ()) for measure in MEASURES)
PARTIALS: Family = (
    ("pair_proxy", ("effective_rank",)),
    ("pair_proxy", ("active_units",)),
    ("pair_proxy", ("train_loss",)),
    ("pair_proxy", ("effective_rank", "active_units", "train_loss")),
    ("pair_proxy", ("noise_divergence",)),
    ("effective_rank", ("pair_proxy",)),
    ("trace", ("train_loss",)),
    ("orbit_trace", ("train_loss",)),
    ("train_loss", ("trace",)),
    ("trace", ("pair_proxy",)),
    ("noise_divergence", ("train_loss",)),
    ("noise_divergence", ("pair_proxy", "effective_rank")),
)
CLOCK: Family = tuple((measure, ("epochs",)) for measure in MEASURES if measure != "epochs")


def kept(table: pd.DataFrame) -> pd.DataFrame:
    """The networks with a satisfiable training policy: without one there are no completions to
    count, and the pair proxy is NaN. Such networks stopped at the last epoch without fitting their
    training set; they are left out of every analysis and counted.
    """
    return table[np.isfinite(table["pair_proxy"])]


def rho_by_split(
    table: pd.DataFrame,
    measure: str,
    given: tuple[str, ...] = (),
    outcome: str = "test_accuracy",
    by: tuple[str, ...] = ("split",),
) -> pd.Series:
    """The rank correlation of a measure with the outcome within every split, partial if ``given``
    names other measures.
    """

    def one(part: pd.DataFrame) -> float:
        if given:
            return partial_spearman(part[measure], part[outcome], [part[name] for name in given])
        return spearman_rho(part[measure], part[outcome])

    return pd.Series({key: one(part) for key, part in table.groupby(list(by))})


def pooled(
    table: pd.DataFrame, measure: str, given: tuple[str, ...] = (), outcome: str = "test_accuracy"
) -> Pooled:
    """``rho_by_split`` of the networks kept, pooled over the splits (with the size of the
    smallest).
    """
    part = kept(table)
    return pooled_rho(
        rho_by_split(part, measure, given, outcome),
        int(part.groupby("split").size().min()),
        given=len(given),
    )


def pooled_table(table: pd.DataFrame, wanted: Family = ALONE) -> pd.DataFrame:
    """One row per (measure, given): pooled rho, 95 % interval, p and p corrected by Holm over the
    rows, the spread between splits, and two intervals for a new split: ``new`` for its true
    correlation, ``seen`` for the one its networks will show.
    """
    rows = {}
    for measure, given in wanted:
        found = pooled(table, measure, given)
        rows[measure + (" | " + ", ".join(given) if given else "")] = {
            "rho": found.rho,
            "low": found.interval[0],
            "high": found.interval[1],
            "p": found.p,
            "between": found.between,
            "new low": found.prediction[0],
            "new high": found.prediction[1],
            "seen low": found.observed[0],
            "seen high": found.observed[1],
        }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.insert(
        4, "p Holm", pd.Series(dict(holm({str(name): p for name, p in frame["p"].items()})))
    )
    return frame


def summarise_splits(table: pd.DataFrame) -> dict[str, Any]:
    """For every data set and size with at least three splits: each measure's pooled rho with
    accuracy, the partial ones, and those given the number of epochs.
    """
    summary = {}
    for (data, n), part in table.groupby(["data", "n"]):
        if part["split"].nunique() >= 3:
            summary[f"{data} n={n}"] = {
                "networks": len(kept(part)),
                "left_out": len(part) - len(kept(part)),
                "undecided": int(part["undecided"].sum()),
                "measures": pooled_table(part).to_dict("index"),
                "partial": pooled_table(part, PARTIALS).to_dict("index"),
                "given epochs": pooled_table(part, CLOCK).to_dict("index"),
            }
    return summary


def summarise_probe_sets(table: pd.DataFrame) -> dict[str, Any]:
    """Reliability of the pair proxy over probe sets, and its rho with accuracy on each set, on
    their sum, and disattenuated.
    """
    columns = [name for name in map(str, table) if name.startswith("pair_proxy_")]
    icc = reliability(table[columns].to_numpy())
    rhos = {
        name.removeprefix("pair_proxy_"): spearman_rho(table[name], table["test_accuracy"])
        for name in columns
    }
    whole = spearman(table[columns].sum(axis=1), table["test_accuracy"], seed=0)
    one = float(np.mean(list(rhos.values())))
    return {
        "reliability": list(icc),
        "rho": rhos,
        "mean rho": one,
        "disattenuated": disattenuated(one, icc[0]) if icc[0] > 0 else float("nan"),
        "sum of sets": asdict(whole),
        "undecided": int(table["undecided"].sum()),
    }


def factorial_effects(table: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Effects of batch size and learning rate, by n and stopping rule: mean over seeds and 95 %
    Student interval.

    ``batch``: large minus small, averaged over the learning rates; ``rate``: likewise;
    ``interaction``: the batch effect at the high rate minus that at the low. Seeds are paired; a
    seed with a missing value in a cell is left out, and ``seeds`` counts the rest.
    """
    rows = []
    for (n, rule), part in table.groupby(["n", "rule"]):
        wide = part.pivot(index="seed", columns=["batch", "lr"], values=outcome).dropna()
        (small, large), (slow, fast) = (sorted(part[name].unique()) for name in ("batch", "lr"))
        at_fast, at_slow = (wide[large, lr] - wide[small, lr] for lr in (fast, slow))
        rate = (
            (wide[small, fast] - wide[small, slow]) + (wide[large, fast] - wide[large, slow])
        ) / 2
        for effect, values in (
            ("batch", (at_fast + at_slow) / 2),
            ("rate", rate),
            ("interaction", at_fast - at_slow),
        ):
            mean, low, high = t_interval(values)
            rows.append(
                {
                    "n": n,
                    "rule": rule,
                    "effect": effect,
                    "mean": mean,
                    "low": low,
                    "high": high,
                    "seeds": len(wide),
                }
            )
    return pd.DataFrame(rows)


def usable(table: pd.DataFrame, matched_loss: float) -> pd.DataFrame:
    """The factorial's rows with missing outcomes where a network diverged or did not reach its
    stopping rule.
    """
    reached = np.where(
        table["rule"] == "fit",
        table["train_accuracy"] >= 0.9999,
        table["train_loss"] <= matched_loss,
    )
    bad = table["diverged"].to_numpy(bool) | ~reached
    result = table.assign(log_trace=np.log(table["trace"]))
    return result.assign(
        **{name: result[name].mask(bad) for name in ("test_accuracy", "log_trace")}
    )


def summarise_factorial(table: pd.DataFrame, matched_loss: float = 0.01) -> dict[str, Any]:
    """Effects on accuracy (in percentage points) and on log trace, and how many networks of each
    cell were usable.
    """
    part = usable(table, matched_loss)
    part["accuracy_pp"] = 100 * part["test_accuracy"]
    counts = part.groupby(["n", "batch", "lr", "rule"])["accuracy_pp"].count()
    return {
        "accuracy_pp": factorial_effects(part, "accuracy_pp").to_dict("records"),
        "log_trace": factorial_effects(part, "log_trace").to_dict("records"),
        "usable": {
            "n={} batch={} lr={} {}".format(*cast(tuple[Any, ...], cell)): int(count)
            for cell, count in counts.items()
        },
    }

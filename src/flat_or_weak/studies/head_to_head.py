"""Every measure of `flatness.measures` on the hundred networks of Paper B, for MNIST and
Fashion-MNIST.

The networks are those of `flat_or_weak.studies.pair_proxy`, trained again. What is recorded
elsewhere (pair proxy, joint extension, noise divergence) is joined by data set and seed when the
table is read: `with_records`. Source: our chapter c2_head_to_head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from flat_or_weak.records import RESULTS, load_record
from flat_or_weak.studies import pair_proxy
from flatness.datasets.images import load
from flatness.measures import MEASURES, Subject, measure_all
from flatness.networks.training import accuracy
from flatness.statistics import ranks

RECORDED = {
    "mnist": "mnist",
    "fashion-mnist": "fashion",
}  # data set -> how the other records are called


@dataclass(frozen=True)
class HeadToHeadConfig:
    """Everything that decides the table; training is that of `pair_proxy.PairProxyConfig`."""

    data: tuple[str, ...] = ("mnist", "fashion-mnist")
    n: int = 250
    networks: int = 100


def units(config: HeadToHeadConfig) -> list[dict[str, Any]]:
    """Twenty networks of one data set at a time."""
    seeds = list(range(config.networks))
    starts = range(0, config.networks, 20)
    return [
        {"data": data, "seeds": seeds[start : start + 20]}
        for data in config.data
        for start in starts
    ]


def compute(
    config: HeadToHeadConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    data: str,
    seeds: list[int],
) -> pd.DataFrame:
    """The rows of some seeds, one per network: data, seed, test_accuracy, and a column for each
    measure.
    """
    split = load(data, config.n, num_probes=0, device=device, dtype=dtype)
    networks_config = pair_proxy.PairProxyConfig(data=data, n=config.n, networks=config.networks)
    trained = pair_proxy.train_networks(networks_config, split, seeds)
    values = measure_all(Subject.of(trained.networks, split, trained.epochs))
    columns = {"test_accuracy": accuracy(trained.networks, split.test.x, split.test.y), **values}
    return pd.DataFrame(
        {"data": data, "seed": seeds, **{k: v.cpu().numpy() for k, v in columns.items()}}
    )


def with_records(table: pd.DataFrame, folder: Path = RESULTS) -> pd.DataFrame:
    """The table with the measures that other records hold, joined by data set and seed; NaN where
    there is none.

    Raises ValueError if a joined record's test accuracies are not those of the table: other
    networks.
    """
    parts = []
    for key, part in table.groupby("data", sort=False):
        data = str(key)
        for name, measure in MEASURES.items():
            if measure.source:
                part = part.merge(
                    _recorded(name, data, part, folder), on="seed", how="left", validate="1:1"
                )
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _recorded(name: str, data: str, part: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Columns seed and ``name`` for one data set; empty if nothing is recorded."""
    source = MEASURES[name].source
    assert source is not None
    record, column = source[0].format(data=RECORDED[data]), source[1]
    if not (Path(folder) / f"{record}.json").is_file():
        return pd.DataFrame({"seed": pd.Series(dtype=int), name: pd.Series(dtype=float)})
    other = load_record(record, folder=folder).table
    if "data" in other:
        other = other[(other["data"] == data) & (other["n"] == 250)]
    joined = part[["seed", "test_accuracy"]].merge(other, on="seed", suffixes=("", "_there"))
    if not np.allclose(joined["test_accuracy"], joined["test_accuracy_there"], rtol=0, atol=1e-9):
        raise ValueError(f"{record}: recorded for other networks (the test accuracies differ)")
    return joined[["seed", column]].rename(columns={column: name})


def correlations(
    part: pd.DataFrame, measures: Sequence[str] | None = None, *, resamples: int = 9999
) -> pd.DataFrame:
    """Each measure with test accuracy over the networks of one data set, by falling |rho|.

    Columns rho, low, high (95 % BCa), p (from `flatness.statistics.ranks.max_rho_test`, corrected
    for all measures listed) and n. Measures with missing values are left out.
    """
    chosen = [m for m in (measures or MEASURES) if m in part and part[m].notna().all()]
    adjusted = ranks.max_rho_test({m: part[m] for m in chosen}, part["test_accuracy"], seed=0)
    rows = {}
    for m in chosen:
        found = ranks.spearman(part[m], part["test_accuracy"], seed=0, resamples=resamples)
        rows[m] = {
            "rho": found.rho,
            "low": found.bootstrap[0],
            "high": found.bootstrap[1],
            "p": adjusted[m],
            "n": found.n,
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.sort_values("rho", key=lambda rho: -rho.abs(), kind="stable")


def summarise(config: HeadToHeadConfig, table: pd.DataFrame) -> dict[str, Any]:
    """For each data set, `correlations` of the measures computed here, corrected for these."""
    computed = [m for m in MEASURES if not MEASURES[m].source]
    parts = {data: table[table["data"] == data] for data in config.data}
    return {data: correlations(part, computed).to_dict("index") for data, part in parts.items()}


def data_hashes(config: HeadToHeadConfig) -> dict[str, str]:
    """SHA-256 of the images and labels used, for each data set."""
    hashes = {}
    for data in config.data:
        used = pair_proxy.data_hashes(pair_proxy.PairProxyConfig(data=data, n=config.n))
        hashes.update({f"{data} {part}": used[part] for part in ("train", "test")})
    return hashes

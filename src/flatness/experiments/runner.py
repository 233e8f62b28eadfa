"""The recorded experiments by name, and the commands that list, show and run them."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from flatness import records
from flatness.device import default_device, default_dtype
from flatness.experiments import full_extension, noise_divergence, pair_proxy, part1


@dataclass(frozen=True)
class Experiment:
    """What it is, its configurations by scale, (config, device, dtype) -> table, table -> summary, config -> data hashes."""

    about: str
    scales: dict[str, Any]
    run: Callable[..., pd.DataFrame]
    summarise: Callable[[pd.DataFrame], dict[str, Any]]
    data_hashes: Callable[[Any], dict[str, str]]


def summarise_pair_proxy(table: pd.DataFrame) -> dict[str, Any]:
    """Accuracy, ranges and every measure's rank correlation with test accuracy, with its intervals."""
    correlations = {m: dataclasses.asdict(r) for m, r in pair_proxy.correlations(table, resamples=9999).items()}
    return {"accuracy_mean": table["test_accuracy"].mean(), "accuracy_sd": table["test_accuracy"].std(),
            "pair_proxy_range": [table["pair_proxy"].min(), table["pair_proxy"].max()],
            "undecided": int(table["undecided"].sum()), "correlations": correlations}


def _pair_proxy(data: str) -> Experiment:
    config = pair_proxy.PairProxyConfig(data=data)
    return Experiment(f"100 networks on 250 {data} images: trace, weight norm, certified pair proxy (Paper B, 5.7-5.8)",
                      {"quick": dataclasses.replace(config, networks=10), "paper": config},
                      pair_proxy.run, summarise_pair_proxy, pair_proxy.data_hashes)


def _part1(name: str, about: str) -> Experiment:
    config, _, summarise = part1.EXPERIMENTS[name][0](), *part1.EXPERIMENTS[name][1:]
    return Experiment(about, {"quick": dataclasses.replace(config, seeds=(0,)), "paper": config},
                      lambda config, device, dtype, progress: part1.run(config, progress=progress), summarise, lambda config: {})


EXPERIMENTS: dict[str, Experiment] = {
    "pair_proxy_mnist": _pair_proxy("mnist"),
    "pair_proxy_fashion": _pair_proxy("fashion-mnist"),
    "part1_interpolators": _part1("interpolators", "flatness and population loss of every interpolator, by target and n/d (a6, a7)"),
    "part1_adversary": _part1("adversary", "the flattest badly generalising interpolator found, against n/d (a6)"),
    "part1_flattest": _part1("flattest", "population loss of the flattest interpolator found: samples, noise, input laws (a7, a8)"),
    "noise_divergence": Experiment(
        "PAC-Bayes: the noise that trained weights bear, and its divergence from the start (b3)",
        {"quick": noise_divergence.NoiseDivergenceConfig(settings=(("mnist", 250, 0),), networks=10),
         "paper": noise_divergence.NoiseDivergenceConfig()},
        noise_divergence.run, noise_divergence.summarise, noise_divergence.data_hashes),
    "full_extension_mnist": Experiment(
        "joint labellings of ten probe points, estimated for the hundred MNIST networks",
        {"quick": full_extension.FullExtensionConfig(networks=6, probes=6, runs=6), "paper": full_extension.FullExtensionConfig()},
        full_extension.run, full_extension.summarise, full_extension.data_hashes),
}


def run_and_record(name: str, scale: str = "paper", *, device: str | None = None, folder: Path = records.RESULTS,
                   progress: bool = True) -> Path:
    """Run an experiment and record it as ``<folder>/<name>.json`` (``<name>_quick.json`` at quick scale).

    Raises ValueError naming the valid experiments or scales, before any work.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"experiment: expected one of {', '.join(EXPERIMENTS)}, got {name!r}")
    experiment = EXPERIMENTS[name]
    if scale not in experiment.scales:
        raise ValueError(f"scale: expected one of {', '.join(experiment.scales)}, got {scale!r}")
    _check_writable(folder)
    chosen = default_device(device)
    config, start = experiment.scales[scale], time.perf_counter()
    table = experiment.run(config, device=chosen, dtype=default_dtype(chosen), progress=progress)
    origin = records.provenance(device=chosen, seconds=time.perf_counter() - start, data=experiment.data_hashes(config))
    return records.save_record(name if scale == "paper" else f"{name}_{scale}", config, table, experiment.summarise(table),
                               origin, folder)


def _check_writable(folder: Path) -> None:
    """Fail before the work, not after it, if the result could not be written."""
    try:
        records.write_atomically(Path(folder) / ".writable", "")
        (Path(folder) / ".writable").unlink()
    except OSError as error:
        raise ValueError(f"folder: cannot write to {folder} ({error.strerror or error})") from error


def main_list(arguments: list[str] | None = None) -> int:
    """``python -m flatness list``: the experiments, their scales, and which are recorded."""
    argparse.ArgumentParser(prog="python -m flatness list", description=main_list.__doc__).parse_args(arguments)
    for name, experiment in EXPERIMENTS.items():
        recorded = "recorded" if (records.RESULTS / f"{name}.json").exists() else "not recorded"
        print(f"{name}  [{', '.join(experiment.scales)}]  {recorded}\n    {experiment.about}")
    return 0


def main_show(arguments: list[str] | None = None) -> int:
    """``python -m flatness show NAME``: configuration, provenance and summary of a recorded result."""
    parser = argparse.ArgumentParser(prog="python -m flatness show", description=main_show.__doc__)
    parser.add_argument("name")
    parser.add_argument("--folder", type=Path, default=records.RESULTS)
    options = parser.parse_args(arguments)
    try:
        record = records.load_record(options.name, folder=options.folder)
    except records.RecordError as error:
        parser.error(str(error))
    for part in ("config", "provenance", "summary"):
        print(f"{part}:")
        for key, value in getattr(record, part).items():
            print(f"  {key}: {value}")
    print(record.table.describe().T.to_string())
    return 0


def main_run(arguments: list[str] | None = None) -> int:
    """``python -m flatness run NAME``: run an experiment and write its record."""
    parser = argparse.ArgumentParser(prog="python -m flatness run", description=main_run.__doc__)
    parser.add_argument("experiment", help=", ".join(EXPERIMENTS))
    parser.add_argument("--scale", default="paper", help="quick or paper (default: paper)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: FLATNESS_DEVICE, else the best at hand)")
    parser.add_argument("--folder", type=Path, default=records.RESULTS, help="where the record goes")
    options = parser.parse_args(arguments)
    try:
        path = run_and_record(options.experiment, options.scale, device=options.device, folder=options.folder)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    print(f"recorded in {path}")
    return 0

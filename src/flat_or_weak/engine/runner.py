"""The recorded experiments by name, and the commands that list, show and run them.

An experiment is a module (or an object) with

    units(config) -> list[dict]                        its independent pieces, cheap ones first: keyword arguments of compute
    compute(config, device, dtype, **unit) -> table    the rows of one unit, the same wherever it runs
    finish(config, table) -> table                     optional: what needs the rows of all units
    summarise(config, table) -> dict                   the derived numbers, with their intervals
    data_hashes(config) -> dict                        SHA-256 of the data

and a configuration, a frozen dataclass, for each scale.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from flat_or_weak import records
from flat_or_weak.engine.checkpoints import Checkpoints
from flat_or_weak.engine.registry import EXPERIMENTS
from flat_or_weak.engine.scheduling import completed, compute_unit
from flatness.networks.device import default_device, default_dtype


def default_workers(device) -> int:
    """One process per usable core on the CPU, one on a GPU."""
    if device.type != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_and_record(
    name: str,
    scale: str = "paper",
    *,
    device: str | None = None,
    folder: Path = records.RESULTS,
    resume: bool = False,
    restart: bool = False,
    workers: int | None = None,
    dask: str | None = None,
    progress: bool = True,
) -> Path:
    """Run an experiment and record it as ``<folder>/<name>.json`` (``<name>_quick.json`` at quick
    scale).

    Every finished unit is kept under ``<folder>/.unfinished`` until the record is written, so that
    an interrupted run loses at most the units under way; ``resume`` continues it, ``restart``
    discards it. The record is the same, apart from date and seconds, however often the run was
    interrupted and whatever the number of workers. Raises ValueError before any work: for an
    unknown name or scale (naming the valid ones), a folder that cannot be written, or units there
    of another run.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"experiment: expected one of {', '.join(EXPERIMENTS)}, got {name!r}")
    experiment = EXPERIMENTS[name]
    if scale not in experiment.scales:
        raise ValueError(f"scale: expected one of {', '.join(experiment.scales)}, got {scale!r}")
    chosen = default_device(device)
    dtype, config, record_name = (
        default_dtype(chosen),
        experiment.scales[scale],
        name if scale == "paper" else f"{name}_{scale}",
    )
    units = experiment.units(config)
    origin = records.provenance(device=chosen, seconds=0, data=experiment.data_hashes(config))
    identity = {
        "name": name,
        "config": records.plain_config(config),
        "units": units,
        "device": str(chosen),
        "dtype": str(dtype),
        "packages": origin["packages"],
        "data": origin["data"],
    }
    _check_writable(folder)
    kept = Checkpoints.open(
        Path(folder) / ".unfinished" / record_name, identity, resume=resume, restart=restart
    )
    left = sorted(set(range(len(units))) - set(kept.finished()))
    module = experiment.module.__name__
    jobs = {
        number: (compute_unit, (module, config, chosen, dtype, units[number])) for number in left
    }
    try:
        with tqdm(
            total=len(units),
            initial=len(units) - len(left),
            desc=record_name,
            unit="unit",
            disable=not progress,
        ) as bar:
            for number, table, seconds in completed(
                jobs, workers=workers or default_workers(chosen), dask=dask
            ):
                kept.save(number, table, seconds)
                bar.update()
    except KeyboardInterrupt:
        raise SystemExit(
            f"\ninterrupted: {len(kept.finished())} of {len(units)} units are kept; continue with --resume"
        ) from None
    except OSError as error:
        raise ValueError(
            f"folder: cannot write to {error.filename or folder} ({error.strerror or error}); "
            f"{len(kept.finished())} of {len(units)} units are kept, continue with --resume"
        ) from error
    return _record(record_name, experiment, config, kept, origin, folder)


def _record(
    name: str, experiment: Any, config: Any, kept: Checkpoints, origin: dict[str, Any], folder: Path
) -> Path:
    parts, seconds = zip(*(kept.load(number) for number in kept.finished()), strict=True)
    table = experiment.finish(config, pd.concat(parts, ignore_index=True))
    origin = origin | {"seconds": round(sum(seconds), 1)}
    path = records.save_record(
        name, config, table, experiment.summarise(config, table), origin, folder
    )
    kept.remove()
    return path


def _check_writable(folder: Path) -> None:
    """Fail before the work, not after it, if the result could not be written."""
    try:
        records.write_atomically(Path(folder) / ".writable", "x" * 4096)
        (Path(folder) / ".writable").unlink()
    except OSError as error:
        raise ValueError(f"folder: cannot write to {folder} ({error.strerror or error})") from error


def main_list(arguments: list[str] | None = None) -> int:
    """``python -m flat_or_weak list``: the experiments, their scales, and which are recorded."""
    argparse.ArgumentParser(
        prog="python -m flat_or_weak list", description=main_list.__doc__
    ).parse_args(arguments)
    for name, experiment in EXPERIMENTS.items():
        recorded = "recorded" if (records.RESULTS / f"{name}.json").exists() else "not recorded"
        print(f"{name}  [{', '.join(experiment.scales)}]  {recorded}\n    {experiment.about}")
    return 0


def main_show(arguments: list[str] | None = None) -> int:
    """``python -m flat_or_weak show NAME``: configuration, provenance and summary of a recorded result."""
    parser = argparse.ArgumentParser(
        prog="python -m flat_or_weak show", description=main_show.__doc__
    )
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
    """``python -m flat_or_weak run NAME``: run an experiment and write its record."""
    parser = argparse.ArgumentParser(
        prog="python -m flat_or_weak run", description=main_run.__doc__
    )
    parser.add_argument("experiment", help=", ".join(EXPERIMENTS))
    parser.add_argument(
        "--scale",
        default=os.environ.get("FLATNESS_SCALE", "paper"),
        help="quick or paper (default: FLATNESS_SCALE, else paper)",
    )
    parser.add_argument(
        "--device", help="cpu, cuda, cuda:1, mps (default: FLATNESS_DEVICE, else the best at hand)"
    )
    parser.add_argument(
        "--folder", type=Path, default=records.RESULTS, help="where the record goes"
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run")
    parser.add_argument(
        "--restart", action="store_true", help="discard an interrupted run and start again"
    )
    parser.add_argument(
        "--workers", type=int, help="local processes (default: one per core; on a GPU one)"
    )
    parser.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="scheduler of a running Dask cluster, which then does the work",
    )
    options = vars(parser.parse_args(arguments))
    try:
        path = run_and_record(options.pop("experiment"), options.pop("scale"), **options)
    except (ValueError, FileNotFoundError, ImportError) as error:
        parser.error(str(error))
    print(f"recorded in {path}", file=sys.stdout)
    return 0

"""The recorded experiments by name, and the commands that list, show and run them.

An experiment is a module (or an object) with

    units(config) -> list[dict]                        its independent pieces, cheap ones first:
                                                       keyword arguments of compute
    compute(config, device, dtype, **unit) -> table    the rows of one unit, wherever it runs
    finish(config, table) -> table                     optional: what needs the rows of all units
    summarise(config, table) -> dict                   the derived numbers, with their intervals
    data_hashes(config) -> dict                        SHA-256 of the data

and a configuration, a frozen dataclass, for each scale.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from flat_or_weak import records
from flat_or_weak.engine.checkpoints import Checkpoints
from flat_or_weak.engine.registry import EXPERIMENTS
from flat_or_weak.engine.scheduling import completed, compute_unit
from flatness._internal.processes import WorkerDied, signals_interrupt, usable_cores
from flatness.networks.device import default_device, default_dtype


def default_workers(device: Any) -> int:
    """One process per usable core on the CPU, one on a GPU."""
    return usable_cores() if device.type == "cpu" else 1


def run_and_record(
    name: str,
    scale: str = "paper",
    *,
    device: str | None = None,
    folder: Path | None = None,
    resume: bool = False,
    restart: bool = False,
    workers: int | None = None,
    dask: str | None = None,
    progress: bool = True,
) -> Path:
    """Run an experiment and record it as ``<folder>/<name>.json`` (``<name>_quick.json`` at quick
    scale); ``folder`` by default is `flat_or_weak.records.own_folder`.

    Every finished unit is kept under ``<folder>/.unfinished`` until the record is written, so that
    an interrupted run loses at most the units under way; ``resume`` continues it, ``restart``
    discards it. The record is the same, apart from date and seconds, however often the run was
    interrupted and whatever the number of workers (by default one per usable core, on a GPU one).
    SIGTERM and SIGHUP interrupt as Ctrl-C does; every exception raised during the work has a note
    that says what is kept. Raises ValueError before any work: for an unknown name or scale (naming
    the valid ones), a device without values, a folder that cannot be written or that another
    process is running this experiment in, or units there of another run.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"experiment: expected one of {', '.join(EXPERIMENTS)}, got {name!r}")
    experiment = EXPERIMENTS[name]
    if scale not in experiment.scales:
        raise ValueError(f"scale: expected one of {', '.join(experiment.scales)}, got {scale!r}")
    chosen = default_device(device)
    if chosen.type == "meta":
        raise ValueError("device: 'meta' holds no values; nothing can be computed there")
    config, folder = experiment.scales[scale], Path(folder or records.own_folder())
    record_name = name if scale == "paper" else f"{name}_{scale}"
    units = experiment.units(config)
    origin = records.provenance(device=chosen, seconds=0, data=experiment.data_hashes(config))
    identity = {
        "name": name,
        "config": records.plain_config(config),
        "units": units,
        "device": str(chosen),
        "dtype": str(default_dtype(chosen)),
        "packages": origin["packages"],
        "data": origin["data"],
    }
    unfinished = folder / ".unfinished" / record_name
    with (
        signals_interrupt(),
        Checkpoints.open(unfinished, identity, resume=resume, restart=restart) as kept,
    ):
        try:
            where = {"workers": default_workers(chosen) if workers is None else workers}
            _work(experiment, config, chosen, units, kept, where | {"dask": dask}, progress)
            return _record(record_name, experiment, config, kept, origin, folder)
        except BaseException as error:
            done = len(list(unfinished.glob("[0-9]*.json")))
            error.add_note(
                f"{done} of {len(units)} units are kept in {unfinished}; continue with --resume"
            )
            raise


def _work(
    experiment: Any,
    config: Any,
    device: Any,
    units: list[dict[str, Any]],
    kept: Checkpoints,
    where: dict[str, Any],
    progress: bool,
) -> None:
    """Compute the units that are not kept yet, and keep each."""
    name, dtype, done = experiment.module.__name__, default_dtype(device), kept.finished()
    jobs = {
        number: (compute_unit, (name, config, device, dtype, unit))
        for number, unit in enumerate(units)
        if number not in done
    }
    bar: dict[str, Any] = {"desc": kept.folder.name, "unit": "unit", "disable": not progress}
    with tqdm(total=len(units), initial=len(done), **bar) as shown:
        for number, table, seconds in completed(jobs, **where):
            kept.save(number, table, seconds)
            shown.update()


def _record(
    name: str, experiment: Any, config: Any, kept: Checkpoints, origin: dict[str, Any], folder: Path
) -> Path:
    """Write the record, from every unit of the plan, and forget the units."""
    parts, seconds = zip(*map(kept.load, range(len(kept.identity["units"]))), strict=True)
    table = experiment.finish(config, pd.concat(parts, ignore_index=True))
    origin = origin | {"seconds": round(sum(seconds), 1)}
    path = records.save_record(
        name, config, table, experiment.summarise(config, table), origin, folder
    )
    kept.remove()
    return path


def main_list(arguments: list[str] | None = None) -> int:
    """``python -m flat_or_weak list``: the experiments, their scales, and which are recorded."""
    argparse.ArgumentParser(
        prog="python -m flat_or_weak list", description=main_list.__doc__
    ).parse_args(arguments)
    for name, experiment in EXPERIMENTS.items():
        recorded = "recorded" if records.find(name) else "not recorded"
        print(f"{name}  [{', '.join(experiment.scales)}]  {recorded}\n    {experiment.about}")
    return 0


def main_show(arguments: list[str] | None = None) -> int:
    """``python -m flat_or_weak show NAME``: configuration, provenance and summary of a record."""
    parser = argparse.ArgumentParser(
        prog="python -m flat_or_weak show", description=main_show.__doc__
    )
    parser.add_argument("name")
    parser.add_argument("--folder", type=Path, help="where it is (default: as for run, then here)")
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
        "--folder",
        type=Path,
        help="where the record goes (default: FLATNESS_RESULTS, else results/ of a checkout, else "
        "the platform's folder for data)",
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
    except (ValueError, FileNotFoundError, ImportError, WorkerDied) as error:
        parser.error("\n".join([str(error), *getattr(error, "__notes__", [])]))
    except KeyboardInterrupt as error:
        number = error.args[0] if error.args else signal.SIGINT
        notes = getattr(error, "__notes__", ["nothing had begun"])
        print("", f"ended by {signal.Signals(number).name}", *notes, sep="\n", file=sys.stderr)
        return 128 + number
    print(f"recorded in {path}")
    return 0

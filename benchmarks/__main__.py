"""Run the benchmarks, and with --record write what they found to results/performance.json.

    python -m benchmarks                      all of them, about a quarter of an hour
    python -m benchmarks trace training       these two
    python -m benchmarks --record             and record; scripts that were not run keep their rows
    python -m benchmarks --device cuda        instead the book's work on one device, in 8 minutes

trace_peers needs three packages that nothing else does:  pip install -e ".[benchmarks]"
"""

import argparse
import dataclasses
import importlib
import os
import platform
import re
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import torch

from benchmarks import device
from benchmarks.comparison import Report
from flat_or_weak import records

SCRIPTS: dict[str, list[str]] = {
    "doors": [],
    "training": [],
    "trace": [],
    "trace_peers": [],
    "flattest": [],
    "certified": ["--five"],
    "feasibility": ["--scaling"],
}
PEERS = ("backpack-for-pytorch", "curvlinops-for-pytorch", "pyhessian", "pandas")


def provenance(seconds: float) -> dict:
    """Date, machine with its processor and threads, and versions, the peers' among them."""
    origin = records.provenance(device="cpu", seconds=seconds)
    origin |= {"processor": processor(), "threads": torch.get_num_threads()}
    for package in PEERS:
        try:
            origin["packages"][package] = version(package)
        except PackageNotFoundError:
            pass
    return origin


def processor() -> str:
    """The processor's own name where the system tells it."""
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()


def record(reports: dict[str, Report], origins: dict[str, dict], folder: Path) -> Path:
    """Write ``<folder>/performance.json``; scripts without a report keep what was recorded for
    them.
    """
    tables, summary = [], {}
    try:
        former = records.load_record("performance", folder=folder)
        tables.append(former.table[~former.table.script.isin(list(reports))])
        summary = {
            script: entry for script, entry in former.summary.items() if script not in reports
        }
    except records.RecordError:
        pass
    for script, report in reports.items():
        tables.append(
            pd.DataFrame([{"script": script, **dataclasses.asdict(row)} for row in report.rows])
        )
        summary[script] = {"provenance": origins[script], "details": report.details}
    table = pd.concat([table for table in tables if len(table)], ignore_index=True)
    order = {script: number for number, script in enumerate(SCRIPTS)}
    table = table.sort_values(
        "script", key=lambda column: column.map(order), kind="stable", ignore_index=True
    )
    return records.save_record(
        "performance",
        {"scripts": list(SCRIPTS)},
        table,
        summary,
        list(origins.values())[-1],
        folder,
    )


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "scripts", nargs="*", metavar="SCRIPT", help=f"among {', '.join(SCRIPTS)} (default: all)"
    )
    parser.add_argument("--record", action="store_true", help="write results/performance.json")
    parser.add_argument(
        "--folder", type=Path, default=records.RESULTS, help="where the record goes"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps: only benchmarks.device, on this")
    parser.add_argument("--scale", type=float, default=1.0, help="of --device: part of the sizes")
    parser.add_argument("--seconds", type=float, default=480.0, help="of --device: the budget")
    options = parser.parse_args()
    if options.device:
        if options.scripts or options.record:
            parser.error(
                "--device: runs alone, without SCRIPT or --record; it writes its own record"
            )
        if not 0 < options.scale <= 1:
            parser.error(f"--scale: expected a number in (0, 1], got {options.scale}")
        folder = options.folder if options.folder != records.RESULTS else Path("_build/benchmarks")
        device.main(options.device, options.scale, options.seconds, folder)
        return
    unknown = [script for script in options.scripts if script not in SCRIPTS]
    if unknown:
        parser.error(f"SCRIPT: expected some of {', '.join(SCRIPTS)}, got {', '.join(unknown)}")
    print(
        f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread(s), torch "
        f"{torch.__version__}",
        flush=True,
    )
    for script in options.scripts or SCRIPTS:
        print(f"== benchmarks.{script}", flush=True)
        start = time.perf_counter()
        report = importlib.import_module(f"benchmarks.{script}").main(
            SCRIPTS[script] if options.record else []
        )
        if options.record and report.rows:  # each as soon as it is there
            path = record(
                {script: report}, {script: provenance(time.perf_counter() - start)}, options.folder
            )
            print(f"recorded in {path}", flush=True)


if __name__ == "__main__":
    main()

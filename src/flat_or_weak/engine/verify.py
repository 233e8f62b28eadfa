"""Recorded results, checked: every summary, and a sample of the units of every record, computed
again and compared row by row.

python -m flat_or_weak verify [NAME ...] [--units 1] [--seed SEED]

A name is that of a record or of a chapter, which stands for the records that it leans on.
"""

from __future__ import annotations

import argparse
import secrets
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from flat_or_weak import records
from flat_or_weak.engine.chapters import chapters, is_called, read_by
from flat_or_weak.engine.comparison import DERIVED, KEYS, Comparison, compare, different
from flat_or_weak.engine.experiment import Experiment
from flat_or_weak.engine.registry import EXPERIMENTS
from flatness._internal.arguments import integer
from flatness.networks.device import default_device, default_dtype

# of the largest recorded value: a gap between means of ends of searches that says nothing
NEGLIGIBLE = 1e-3
# experiments whose plan is frozen and that nobody has recorded yet: chapter c6 says so
PLANNED = ("interventions_fashion_rest", "interventions_more")


def verify(
    name: str,
    *,
    units: int = 1,
    seed: int = 0,
    device: str | None = None,
    folder: Path | None = None,
) -> Comparison:
    """Check a record: its configuration, the hashes of its data, its summary, its columns, how many
    rows it has, and, computed again, the rows of ``units`` randomly chosen units.

    Columns of whole numbers, words and float64 results must agree to a relative 1e-6; absolute
    differences below 1e-12 are rounding. Two kinds of results do not come again on another
    processor: networks trained in float32, which are chaotic in the last bit, and the ends of long
    searches on a non-convex problem, whose columns the experiment's module names in ``SEARCHED``.
    There the mean of a column over the new rows of a setting (all keys but the seed) may differ
    from the recorded mean of that setting by four standard errors of the difference, with the
    standard deviation of the recorded rows; the mean of ends of searches also by a thousandth of
    the largest recorded value. A column that needs the rows of all units is compared if all were
    chosen, and otherwise named as unchecked. Raises ValueError for an unknown name and RecordError
    if nothing is recorded.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"experiment: expected one of {', '.join(EXPERIMENTS)}, got {name!r}")
    integer("units", units, 1)
    integer("seed", seed, 0)
    experiment = EXPERIMENTS[name]
    config = experiment.scales["paper"]
    record = records.load_record(name, config, folder)
    if fault := _fault(experiment, config, record):
        return Comparison(name, 0, "", np.inf, False, fault)
    chosen, every = default_device(device), experiment.units(config)
    picked = np.random.default_rng(seed).permutation(len(every))[:units]
    again = pd.concat(
        [
            experiment.compute(config, chosen, default_dtype(chosen), **every[i])
            for i in sorted(picked)
        ],
        ignore_index=True,
    )
    finished = experiment.finish(config, again)
    later = [] if len(picked) == len(every) else sorted({*map(str, finished)} - {*map(str, again)})
    again = finished.drop(columns=later)
    count = getattr(experiment.module, "rows", lambda config, **unit: len(unit.get("seeds", (0,))))
    size = [count(config, **unit) for unit in every]  # rows are proportional to it
    rows = len(again) * sum(size) / sum(size[i] for i in picked)
    if (fault := _other_columns(finished, record.table)) or len(record.table) != rows:
        fault = fault or f"{len(record.table)} rows, expected {rows:g}"
        return Comparison(name, len(again), "", np.inf, False, fault)
    keys, searched = (*KEYS, *every[0]), getattr(experiment.module, "SEARCHED", ())
    if getattr(config, "precision", "float64") == "float32":
        found = compare(name, again, record.table, chaotic=list(map(str, again)), keys=keys)
    else:
        found = compare(
            name, again, record.table, chaotic=searched, negligible=NEGLIGIBLE, keys=keys
        )
    unchecked = f"; unchecked, for it needs all units: {', '.join(later)}" if later else ""
    return replace(found, about=f"units {sorted(map(int, picked))}: {found.about}{unchecked}")


def _fault(experiment: Experiment, config: Any, record: records.Record) -> str:
    """What is wrong with a record, as far as no unit need be computed; "" if nothing is."""
    if record.provenance.get("data") != experiment.data_hashes(config):
        return "the recorded hashes are not those of the data here"
    try:
        summary = records.plain(experiment.summarise(config, record.table))
    except (ValueError, TypeError, KeyError, ArithmeticError) as error:
        return f"its table has no summary ({type(error).__name__}: {error})"
    return different(summary, record.summary, "summary")


def _other_columns(new: pd.DataFrame, recorded: pd.DataFrame) -> str:
    others = ({*map(str, new)} ^ {*map(str, recorded)}) - DERIVED
    return f"columns {', '.join(sorted(others))}: not in both" if others else ""


def stand_for(names: list[str]) -> list[str]:
    """The experiments that these names stand for, each once: their own, and those that a chapter
    leans on.

    Raises ValueError for a name that is neither, and for a chapter that leans on no experiment.
    """
    found: dict[str, None] = {}
    for name in names:
        if name in EXPERIMENTS:
            found[name] = None
        elif any(is_called(chapter, name) for chapter in chapters()):
            read = [record for record in read_by(name) if record in EXPERIMENTS]
            if not read:
                raise ValueError(f"chapter: the records of {name} are no experiments")
            found.update(dict.fromkeys(read))
        else:
            there = f", or of the chapters {', '.join(chapters())}" if chapters() else ""
            raise ValueError(
                f"experiment: expected one of {', '.join(EXPERIMENTS)}{there}, got {name!r}"
            )
    return list(found)


def main(arguments: list[str] | None = None) -> int:
    """``python -m flat_or_weak verify``: check every record that the experiments should have, and
    compute a sample of each again; exit 1 if something differs, is missing, or was not checked.
    What is planned and not recorded yet is named, and missing only where it is asked for.
    """
    parser = argparse.ArgumentParser(prog="python -m flat_or_weak verify", description=main.__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="an experiment, or a chapter (b6, b6_pair_proxy): all it leans on (default: all)",
    )
    parser.add_argument("--units", type=int, default=1, help="of each, computed again (default 1)")
    parser.add_argument(
        "--seed", type=int, help="of the choice of units (default: another each time, printed)"
    )
    parser.add_argument("--device")
    parser.add_argument("--folder", type=Path, help="of the records (default: as for show)")
    options: Any = parser.parse_args(arguments)
    try:
        asked = stand_for(options.names)
    except ValueError as error:
        parser.error(str(error))
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    awaited = [name for name in PLANNED if not records.find(name, options.folder)]
    wanted, failed = asked or [name for name in EXPERIMENTS if name not in awaited], 0
    print(f"{len(wanted)} records; the same units again with --seed {seed}")
    for name in tqdm(wanted, desc="verify"):
        start = time.perf_counter()
        try:
            found = verify(
                name, units=options.units, seed=seed, device=options.device, folder=options.folder
            )
            word, about = "agrees " if found.agrees else "DIFFERS", found.about
        except (ValueError, OSError) as error:  # the others are checked all the same
            word, about = "UNKNOWN", str(error)
        failed += word != "agrees "
        tqdm.write(f"{word}  {name}: {about} ({time.perf_counter() - start:.0f} s)")
    if awaited and not options.names:
        print(f"planned and not recorded yet: {', '.join(awaited)}")
    print(f"{len(wanted) - failed} of {len(wanted)} records agree")
    return int(failed > 0)

"""Recorded results: a configuration, a table, and where they came from, in one small JSON file.

A record is never used for another configuration than the one it was made with, and never half
written.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import platformdirs
import torch

_HERE = Path(__file__).resolve().parent
_ABOVE = _HERE.parents[1]
CHECKOUT = _ABOVE if _HERE.parent.name == "src" and (_ABOVE / "pyproject.toml").is_file() else None
RESULTS = (CHECKOUT or _HERE) / "results"  # the records that come with the code
READ: set[str] = set()  # the names of the records that this process has asked for
_KEYS = ("name", "config", "table", "summary", "provenance")


class RecordError(ValueError):
    """A record is missing, malformed, or belongs to another configuration."""


@dataclasses.dataclass(frozen=True)
class Record:
    """A recorded experiment: ``table`` has one row per unit of the experiment, ``summary`` the
    derived numbers.
    """

    name: str
    config: dict[str, Any]
    table: pd.DataFrame
    summary: dict[str, Any]
    provenance: dict[str, Any]


def provenance(
    *, device: str | torch.device, seconds: float, data: dict[str, str] | None = None
) -> dict[str, Any]:
    """Versions, machine, device, wall time in seconds, date, and the SHA-256 of every data file
    used.
    """
    packages = {name: version(name) for name in ("flatness", "torch", "numpy", "scipy", "highspy")}
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seconds": round(seconds, 1),
        "device": str(device),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "system": sys.platform,
        "packages": packages,
        "data": data or {},
    }


def plain_config(config: Any) -> dict[str, Any]:
    """A configuration (frozen dataclass or dict) as plain JSON values, tuples turned into lists."""
    instance = dataclasses.is_dataclass(config) and not isinstance(config, type)
    return plain(dataclasses.asdict(config) if instance else dict(config))


def plain(values: Any) -> Any:
    """Values as they come back from a record: tuples turned into lists, NumPy's scalars into
    Python's.
    """
    return json.loads(_text(values))


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` to a temporary file beside ``path``, flush it to disk, then rename it over
    ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def own_folder() -> Path:
    """Where new records go: ``$FLATNESS_RESULTS`` if set, else ``results/`` of a checkout, else the
    platform's folder for a user's data. Raises ValueError for a user without a home folder, who has
    to name one.
    """
    if named := os.environ.get("FLATNESS_RESULTS"):
        return Path(named).expanduser()
    if CHECKOUT:
        return RESULTS
    try:
        path = platformdirs.user_data_path("flatness") / "results"
    except RuntimeError:  # nothing to put in place of "~"; earlier versions leave it there
        path = Path("~")
    if not path.is_absolute():
        raise ValueError(
            "folder: this user has no home folder; set FLATNESS_RESULTS to a folder for records"
        )
    return path


def find(name: str, folder: Path | None = None) -> Path | None:
    """The file of a record in ``folder``; by default in `own_folder`, else among those that come
    with the code. None if there is none.
    """
    _check_name(name)
    paths = [Path(place) / f"{name}.json" for place in _places(folder)]
    return next((path for path in paths if path.is_file()), None)


def _places(folder: Path | None) -> list[Path]:
    if folder is not None:
        return [Path(folder)]
    try:
        return [own_folder(), RESULTS]
    except ValueError:  # nobody's own records can be there
        return [RESULTS]


def save_record(
    name: str,
    config: Any,
    table: pd.DataFrame,
    summary: dict[str, Any],
    origin: dict[str, Any],
    folder: Path | None = None,
) -> Path:
    """Write ``<folder>/<name>.json`` atomically and return its path. ``origin`` comes from
    ``provenance``; ``folder`` by default is `own_folder`.
    """
    _check_name(name)
    parts = {
        "name": _text(name),
        "config": _text(plain_config(config)),
        "table": table_text(table),
        "summary": _text(summary),
        "provenance": _text(origin),
    }
    path = Path(folder or own_folder()) / f"{name}.json"
    write_atomically(
        path, "{" + ",\n".join(f'"{key}":{text}' for key, text in parts.items()) + "}\n"
    )
    return path


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise RecordError(f"name: expected the name of a record, got {name!r}")


def _text(value: Any) -> str:
    """JSON with one object entry or list per line; floats keep every bit, NaN and infinity are
    allowed.
    """
    plain = json.dumps(
        value, separators=(",", ":"), allow_nan=True, default=lambda scalar: scalar.item()
    )
    return plain.replace('],"', '],\n"').replace('},"', '},\n"')


def table_text(table: pd.DataFrame) -> str:
    """A table as JSON, each column a list; `read_table` gives the same values back, bit for bit."""
    return _text({str(column): table[column].tolist() for column in table.columns})


def read_table(columns: Any, path: Path) -> pd.DataFrame:
    """The table of ``table_text`` from its parsed JSON. Raises RecordError naming ``path`` if it is
    none.
    """
    lists = isinstance(columns, dict) and all(
        isinstance(column, list) for column in columns.values()
    )
    if not lists or len({len(column) for column in columns.values()}) > 1:
        raise RecordError(f"{path}: not a record (the table's columns must be lists of one length)")
    return pd.DataFrame(columns)


def load_record(name: str, config: Any | None = None, folder: Path | None = None) -> Record:
    """Read the record that `find` finds; with ``config``, insist that it was made with that
    configuration.

    Raises RecordError naming the file if it is missing, is not a record, or differs from ``config``
    (naming the entries).
    """
    _check_name(name)
    READ.add(name)
    path = find(name, folder)
    if path is None:
        places = _places(folder)
        known = sorted({path.stem for place in places for path in place.glob("*.json")})
        raise RecordError(
            f"{places[0] / name}.json: no such record (recorded: {', '.join(known) or 'none'})"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number too long
        raise RecordError(f"{path}: not a record ({error})") from None
    if not isinstance(content, dict) or any(key not in content for key in _KEYS):
        raise RecordError(f"{path}: not a record (expected the entries {', '.join(_KEYS)})")
    if not isinstance(content["name"], str) or not all(
        isinstance(content[key], dict) for key in ("config", "summary", "provenance")
    ):
        raise RecordError(
            f"{path}: not a record (name must be text; config, summary and provenance objects)"
        )
    table = read_table(content["table"], path)
    if config is not None and content["config"] != (wanted := plain_config(config)):
        different = sorted(
            key
            for key in wanted.keys() | content["config"].keys()
            if wanted.get(key) != content["config"].get(key)
        )
        raise RecordError(
            f"{path}: recorded for another configuration (differs in {', '.join(different)})"
        )
    return Record(
        content["name"], content["config"], table, content["summary"], content["provenance"]
    )

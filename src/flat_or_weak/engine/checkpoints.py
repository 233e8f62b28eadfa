"""Finished units of an experiment, kept on disk until the whole is recorded.

A run owns the folder ``<results>/.unfinished/<name>``: what is being run (``run.json``) and one
file per finished unit. Every file is written atomically, so a run that is killed loses at most the
units under way, and says of itself which unit of which run it is, with a hash: nothing else is
taken for a unit. One process at a time has the folder, by a lock beside it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from flat_or_weak.records import read_table, table_text, write_atomically


class CheckpointError(ValueError):
    """The folder is in use, holds units of another run, cannot be written, or a file in it is not
    what was written.
    """


@dataclass(frozen=True)
class Checkpoints:
    """The finished units under ``folder``, all of the run that ``identity`` (plain JSON values)
    describes; its entry "units" lists them.
    """

    folder: Path
    identity: dict[str, Any]

    @classmethod
    @contextmanager
    def open(
        cls, folder: Path, identity: dict[str, Any], *, resume: bool, restart: bool = False
    ) -> Iterator[Checkpoints]:
        """Have the folder to oneself; start a run, continue one (``resume``), or throw its finished
        units away and start again (``restart``).

        Raises CheckpointError before any work: if another process has the folder, if it cannot be
        written, if units are there and neither was asked for, if those to continue with belong to
        another configuration, device or version (naming what differs), or if a file is not a unit
        of this run (naming it).
        """
        folder, here = Path(folder), cls(Path(folder), json.loads(json.dumps(identity)))
        lock = FileLock(folder.with_name(f".{folder.name}.lock"))
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            raise CheckpointError(f"{folder}: another process is running this experiment") from None
        except OSError as error:
            raise _cannot_write(folder.parent, error) from error
        try:
            here._begin(resume, restart)
            yield here
        finally:
            lock.release()

    def _begin(self, resume: bool, restart: bool) -> None:
        for discarded in self.folder.parent.glob(f".{self.folder.name}.discarded*"):
            shutil.rmtree(discarded)
        if restart and self.folder.exists():
            self._discard()
        done = self.finished() if self.folder.is_dir() else []
        if (self.folder / "run.json").exists():
            if not resume:
                raise CheckpointError(
                    f"{self.folder}: an unfinished run is there ({len(done)} units done); "
                    f"continue it with --resume, or start again with --restart"
                )
            self._insist_on_identity()
        elif done:
            raise CheckpointError(
                f"{self.folder}: {len(done)} finished units without run.json, which says what they "
                f"are; start again with --restart"
            )
        else:
            self._write("run.json", json.dumps(self.identity, indent=1, sort_keys=True) + "\n")
        for unit in done:
            self.load(unit)

    def _insist_on_identity(self) -> None:
        path = self.folder / "run.json"
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(
                f"{path}: cannot be read ({error}); start again with --restart"
            ) from None
        if not isinstance(stored, dict):
            raise CheckpointError(f"{path}: expected a JSON object; start again with --restart")
        if stored != self.identity:
            differs = sorted(
                key
                for key in stored.keys() | self.identity.keys()
                if stored.get(key) != self.identity.get(key)
            )
            raise CheckpointError(
                f"{self.folder}: the unfinished run there differs in {', '.join(differs)}; it is "
                f"not continued. Start again with --restart"
            )

    def finished(self) -> list[int]:
        """Numbers of the finished units, ascending. CheckpointError names a file that is none."""
        names = {path.name for path in self.folder.iterdir() if not path.name.startswith(".")}
        expected = {f"{unit:05d}.json": unit for unit in range(len(self.identity["units"]))}
        if strange := sorted(names - expected.keys() - {"run.json"}):
            raise CheckpointError(f"{self.folder / strange[0]}: no unit of this run; remove it")
        return sorted(expected[name] for name in names - {"run.json"})

    def _head(self, unit: int) -> dict[str, Any]:
        run = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()
        return {"run": run, "unit": unit}

    def save(self, unit: int, table: pd.DataFrame, seconds: float) -> None:
        """Keep the rows of unit number ``unit``, computed in ``seconds``. CheckpointError if the
        run's description is no longer there, or the file cannot be written.
        """
        self._insist_on_identity()
        head = json.dumps(self._head(unit) | {"seconds": seconds})[1:-1]
        body = f'{head},\n"table":{table_text(table)}}}\n'
        digest = hashlib.sha256(body.encode()).hexdigest()
        self._write(f"{unit:05d}.json", f'{{"sha256":"{digest}",\n{body}')

    def load(self, unit: int) -> tuple[pd.DataFrame, float]:
        """Rows and seconds of a finished unit: the same values, bit for bit, that were saved.
        CheckpointError names a file that is not what was written for this unit of this run.
        """
        path = self.folder / f"{unit:05d}.json"
        try:
            text = path.read_bytes()
            found = re.fullmatch(rb'{"sha256":"([0-9a-f]{64})",\n(.*)', text, re.DOTALL)
            if not found or hashlib.sha256(found[2]).hexdigest().encode() != found[1]:
                raise ValueError("its hash is another one")
            content = json.loads(text)
            if {key: content[key] for key in ("run", "unit")} != self._head(unit):
                raise ValueError("it belongs to another run, or is another unit of this one")
            return read_table(content["table"], path), float(content["seconds"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise CheckpointError(
                f"{path}: not what was written ({error}); remove it, or start again with --restart"
            ) from None

    def _write(self, name: str, text: str) -> None:
        try:
            write_atomically(self.folder / name, text)
        except OSError as error:
            raise _cannot_write(self.folder / name, error) from error

    def _discard(self) -> None:
        """Out of the way at once, then deleted: never a folder with some of its units."""
        aside = self.folder.with_name(f".{self.folder.name}.discarded")
        self.folder.rename(aside)
        shutil.rmtree(aside)

    def remove(self) -> None:
        """Forget the run, once it is recorded."""
        self._discard()


def _cannot_write(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"folder: cannot write to {error.filename or path} ({error.strerror or error})"
    )

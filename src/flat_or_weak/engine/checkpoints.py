"""Finished units of an experiment, kept on disk until the whole is recorded.

An interrupted run leaves the folder ``<results>/.unfinished/<name>``: what is being run
(``run.json``) and one file per finished unit. Every file is written atomically, so a run that is
killed loses at most the units under way.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from flat_or_weak.records import read_table, table_text, write_atomically


class CheckpointError(ValueError):
    """The folder holds units of another run, or a file in it is not what was written."""


@dataclass(frozen=True)
class Checkpoints:
    """The finished units under ``folder``, all of the run that ``identity`` (plain JSON values)
    describes.
    """

    folder: Path
    identity: dict[str, Any]

    @classmethod
    def open(
        cls, folder: Path, identity: dict[str, Any], *, resume: bool, restart: bool = False
    ) -> Checkpoints:
        """Start a run, continue one (``resume``), or throw its finished units away and start again
        (``restart``).

        Raises CheckpointError if units are there and neither was asked for, or if those to continue
        with belong to another configuration, device or version (naming what differs), and OSError
        if the folder cannot be written.
        """
        folder, here = Path(folder), cls(Path(folder), json.loads(json.dumps(identity)))
        if restart and folder.exists():
            shutil.rmtree(folder)
        if (folder / "run.json").exists():
            if not resume:
                raise CheckpointError(
                    f"{folder}: an unfinished run is there ({len(here.finished())} units done); continue it with "
                    f"--resume, or start again with --restart"
                )
            here._insist_on_identity()
        else:
            write_atomically(
                folder / "run.json", json.dumps(here.identity, indent=1, sort_keys=True) + "\n"
            )
        return here

    def _insist_on_identity(self) -> None:
        stored = _read_json(self.folder / "run.json")
        if stored != self.identity:
            differs = sorted(
                key
                for key in stored.keys() | self.identity.keys()
                if stored.get(key) != self.identity.get(key)
            )
            raise CheckpointError(
                f"{self.folder}: the unfinished run there differs in {', '.join(differs)}; it is not continued. "
                f"Start again with --restart"
            )

    def finished(self) -> list[int]:
        """Numbers of the finished units, ascending."""
        return sorted(int(path.stem) for path in self.folder.glob("[0-9]*.json"))

    def save(self, unit: int, table: pd.DataFrame, seconds: float) -> None:
        """Keep the rows of unit number ``unit``, computed in ``seconds``."""
        text = '{"seconds":%s,\n"table":%s}\n' % (json.dumps(seconds), table_text(table))
        write_atomically(self.folder / f"{unit:05d}.json", text)

    def load(self, unit: int) -> tuple[pd.DataFrame, float]:
        """Rows and seconds of a finished unit: the same values, bit for bit, that were saved."""
        path = self.folder / f"{unit:05d}.json"
        content = _read_json(path)
        if not {"seconds", "table"} <= content.keys():
            raise CheckpointError(f"{path}: not a finished unit")
        return read_table(content["table"], path), float(content["seconds"])

    def remove(self) -> None:
        """Forget the run, once it is recorded."""
        shutil.rmtree(self.folder)
        if not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error}); start again with --restart"
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a JSON object; start again with --restart")
    return content

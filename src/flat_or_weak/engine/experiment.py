"""An experiment: one line on it, the module that computes it, and its configurations by scale."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Experiment:
    """One line on it, the module with its ``units``, ``compute``, ``summarise``, ``data_hashes``
    and, if it needs one, ``finish``, and its configurations by scale.
    """

    about: str
    module: ModuleType
    scales: dict[str, Any]

    def units(self, config: Any) -> list[dict[str, Any]]:
        return self.module.units(config)

    def compute(self, config: Any, device: Any, dtype: Any, **unit: Any) -> pd.DataFrame:
        return self.module.compute(config, device, dtype, **unit)

    def finish(self, config: Any, table: pd.DataFrame) -> pd.DataFrame:
        return self.module.finish(config, table) if hasattr(self.module, "finish") else table

    def summarise(self, config: Any, table: pd.DataFrame) -> dict[str, Any]:
        return self.module.summarise(config, table)

    def data_hashes(self, config: Any) -> dict[str, str]:
        return self.module.data_hashes(config)

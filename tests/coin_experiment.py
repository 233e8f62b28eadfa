"""A small experiment for the tests of the runner: random numbers, slowly."""

import time
from dataclasses import dataclass

import pandas as pd
import torch


@dataclass(frozen=True)
class CoinConfig:
    units: int = 12
    draws: int = 5
    seconds: float = 0.02


def units(config):
    return [{"number": number} for number in range(config.units)]


def compute(config, device, dtype, *, number):
    time.sleep(config.seconds)
    draws = torch.randn(
        config.draws, generator=torch.Generator().manual_seed(number), dtype=dtype
    ).softmax(0)
    values = [*draws.tolist()[:-1], float("nan") if number == 3 else draws[-1].item() / 3]
    return pd.DataFrame(
        {
            "number": number,
            "value": values,
            "positive": [v > 0 for v in values],
            "name": f'u"],"{number}',
        }
    )


def finish(config, table):
    return table.assign(rank=table["value"].rank())


def summarise(config, table):
    return {"mean": table["value"].mean(), "diverged": int(table["value"].isna().sum())}


def data_hashes(config):
    return {}

"""Which labellings of a level survive: systematic sampling with known probabilities.

Source: our chapter c4_extensions.
"""

from __future__ import annotations

import numpy as np

from flatness.feasibility.labelling_tree import _Tree


def _log_depth(tree: _Tree, layers: np.ndarray, prefixes: np.ndarray) -> np.ndarray:
    own, labels = tree.own(prefixes[:, :-1], prefixes[:, -1])
    logits = tree.oracle.rows[own] @ layers.transpose(0, 2, 1)
    slack = np.take_along_axis(logits, labels[..., None], -1) - logits
    slack[np.arange(tree.num_classes) == labels[..., None]] = np.inf
    return np.log(slack.min((1, 2)) / np.linalg.norm(layers, axis=(1, 2)))


def _thin(run, log_weight, appeal, population, rng) -> tuple[np.ndarray, np.ndarray]:
    """Systematic sampling within each run: survivors and their weights divided by their inclusion
    probabilities."""
    kept, weights = [], []
    for r in np.unique(run):
        nodes = rng.permutation(np.flatnonzero(run == r))
        if len(nodes) <= population:
            chance = np.ones(len(nodes))
        else:
            score = log_weight[nodes] + appeal[nodes]
            chance = _inclusion(np.exp(score - score.max()), population)
        ticks = np.floor(np.concatenate([[0.0], np.cumsum(chance)]) + rng.random())
        chosen = np.diff(ticks) > 0
        chosen |= chance >= 1.0
        kept.append(nodes[chosen])
        weights.append(log_weight[nodes[chosen]] - np.log(chance[chosen]))
    return np.concatenate(kept), np.concatenate(weights)


def _inclusion(score: np.ndarray, population: int) -> np.ndarray:
    """Probabilities ``min(1, c * score)`` that add up to ``population``.

    >>> _inclusion(np.array([8.0, 1.0, 1.0]), 2).tolist()
    [1.0, 0.5, 0.5]
    """
    chance = np.zeros(len(score))
    sure = np.zeros(len(score), dtype=bool)
    while True:
        chance[~sure] = score[~sure] * (population - sure.sum()) / score[~sure].sum()
        over = (chance > 1.0) & ~sure
        if not over.any():
            return np.where(sure, 1.0, chance)
        sure |= over

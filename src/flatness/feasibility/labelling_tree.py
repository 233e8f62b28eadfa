r"""The tree of labellings of probe points that are consistent with the training policy.

Level ``j`` holds the consistent labellings of ``x_1 .. x_j``; the children of one are its
extensions to ``x_{j+1}``.  A consistent labelling has a layer that realises it strictly, and what
this layer predicts at ``x_{j+1}`` is one child at no cost.  Every other child is decided by the
certified oracle of :mod:`flatness.feasibility.oracle`: a layer whose margins are checked, or a
Farkas vector whose residual is checked.
"""

from typing import Any

import numpy as np

from flatness.feasibility.certificates import MARGIN, Farkas, margins
from flatness.feasibility.labelled_points import checked_system
from flatness.feasibility.oracle import INFEASIBLE, Oracle
from flatness.feasibility.pairs import pair_verdicts

NO_LABEL = -1


class _Tree:
    """The tree of consistent labellings of one network's probe points."""

    def __init__(
        self,
        features,
        labels,
        probes,
        num_classes: int,
        partial: bool,
        exact: bool = True,
        ties: str = "mark",
    ):
        features, labels, probes = checked_system(features, labels, probes, num_classes, 2)
        self.oracle = oracle = Oracle(features, labels, probes, num_classes, exact, ties)
        self.num_classes, self.partial, self.size = num_classes, partial, len(probes)
        nothing = np.zeros((num_classes, oracle.cone.d))
        self.root = nothing if oracle.centre is None else oracle.centre
        alone = pair_verdicts(features, labels, probes, num_classes, exact=exact, ties=ties)
        # what a point cannot be alone it cannot be in company
        self.possible = alone.verdict != INFEASIBLE
        self.undecided, self.calls, self.ties = alone.undecided, 0, alone.ties

    def children(
        self, prefixes: np.ndarray, layers: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All consistent children of labellings ``(B, j)`` realised by ``layers (B, K, d)``.

        Returns the parent of each child ``(C,)``, the child labellings ``(C, j + 1)`` and layers
        ``(C, K, d)``. A child's layer depends on its parent's alone, not on other parents.
        """
        found = _Children(self, prefixes, layers)
        everyone = np.arange(len(prefixes))
        if self.partial:
            found.keep(everyone, np.full(len(prefixes), NO_LABEL), layers)
        found.take(everyone, layers)
        parents, own, labels = found.ask()
        self.calls += len(own)
        self.oracle.decide(own, labels, found, groups=parents)
        self.undecided += int(found.open(np.arange(len(own))).sum())
        parent, label = np.concatenate(found.parents), np.concatenate(found.labels)
        order = np.lexsort((label, parent))
        parent, label = parent[order], label[order]
        child_layers = np.concatenate(found.found)[order]
        return parent, np.column_stack([prefixes[parent], label]), child_layers

    def own(self, prefixes: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and labels of the own points ``(B, j + 1)``; an unlabelled point is replaced by a
        training point.
        """
        full = np.column_stack([prefixes, labels])
        blank = full == NO_LABEL
        own = np.where(blank, 0, self.oracle.n + np.arange(full.shape[1]))
        return own, np.where(blank, self.oracle.labels[0], full)

    def realises(self, layers: np.ndarray, prefixes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Whether layers satisfy the training labels and the labelling, with checked margins,
        ``(B,)`` bool.
        """
        framed, full = layers @ self.oracle.transform, np.column_stack([prefixes, labels])
        good, probes = self.oracle.in_policy(framed), self.oracle.points[self.oracle.n :]
        for j in range(full.shape[1]):
            for c in np.unique(full[full[:, j] != NO_LABEL, j]):
                rows = full[:, j] == c
                depth = margins(framed[rows], probes[j : j + 1], np.array([c]))[:, 0]
                good[rows] &= depth > MARGIN
        return good


class RememberedTree(_Tree):
    """A tree that decides the children of a labelling once, however often it is asked for them."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.known: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}  # their labels and layers

    def children(
        self, prefixes: np.ndarray, layers: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        keys = [prefix.tobytes() for prefix in prefixes]
        new = [i for i, key in enumerate(keys) if key not in self.known]
        if new:
            parent, children, found = super().children(prefixes[new], layers[new])
            ends = np.searchsorted(parent, np.arange(1, len(new)))
            parts = np.split(children[:, -1], ends), np.split(found, ends)
            self.known |= zip((keys[i] for i in new), zip(*parts, strict=True), strict=True)
        labels, child_layers = zip(*(self.known[key] for key in keys), strict=True)
        parent = np.repeat(np.arange(len(keys)), [len(own) for own in labels])
        child_prefixes = np.column_stack([prefixes[parent], np.concatenate(labels)])
        return parent, child_prefixes, np.concatenate(child_layers)


class _Children:
    """The children of some labellings as questions to the oracle."""

    def __init__(self, tree: _Tree, prefixes: np.ndarray, layers: np.ndarray):
        self.tree, self.prefixes, self.layers = tree, prefixes, layers
        self.level = prefixes.shape[1]
        self.wanted = np.tile(tree.possible[self.level], (len(prefixes), 1))
        self.parents: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []
        self.found: list[np.ndarray] = []
        self.questions = np.empty((0, 2), dtype=int)

    def ask(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is still wanted, as questions: the parents, and the own points with their labels."""
        self.questions = np.argwhere(self.wanted)
        parents, labels = self.questions.T
        return parents, *self.tree.own(self.prefixes[parents], labels)

    def keep(self, parents: np.ndarray, labels: np.ndarray, layers: np.ndarray) -> None:
        self.parents.append(parents)
        self.labels.append(labels)
        self.found.append(layers)

    def take(self, parents: np.ndarray, layers: np.ndarray) -> None:
        """Keep the layers that realise a wanted child of their parents, one for each child."""
        winner = (layers @ self.tree.oracle.rows[self.tree.oracle.n + self.level]).argmax(1)
        fresh = self.wanted[parents, winner]
        fresh[fresh] = self.tree.realises(
            layers[fresh], self.prefixes[parents[fresh]], winner[fresh]
        )
        code = parents[fresh] * self.tree.num_classes + winner[fresh]
        chosen = np.flatnonzero(fresh)[np.unique(code, return_index=True)[1]]
        self.wanted[parents[chosen], winner[chosen]] = False
        self.keep(parents[chosen], winner[chosen], layers[chosen])

    def open(self, index: np.ndarray) -> np.ndarray:
        return self.wanted[tuple(self.questions[index].T)]

    def queue(self, index: np.ndarray) -> np.ndarray:
        return index[self.open(index)]

    def starts(self, index: np.ndarray) -> np.ndarray:
        """Halfway to the centre: away from the parent's walls."""
        return (self.layers[self.questions[index, 0]] + self.tree.root) / 2

    def offer(self, index: np.ndarray, layers: np.ndarray, step: str) -> None:
        self.take(self.questions[index, 0], layers)

    def accept(self, index: int, layer: np.ndarray, step: str) -> None:
        """A child without a layer in floating point: the centre stands for it as a start."""
        parent, label = self.questions[index]
        self.wanted[parent, label] = False
        self.keep(np.array([parent]), np.array([label]), self.tree.root[None])

    def refute(self, index: int, farkas: Farkas, proven: bool, step: str) -> None:
        self.tree.ties += not proven
        self.wanted[tuple(self.questions[index])] = False

r"""How many labellings of several probe points are consistent with the training policy, jointly.

The pair proxy adds up what each probe point admits *alone*.  The weakness of the training policy
``pi`` in the feature-classifier vocabulary over probe points ``x_1 .. x_k`` is the number of its
completions: a completion adds at most one program "``x_j`` is class ``c``" per point, so it is a
*partial labelling* of the points that some last layer in the training policy realises; it is
*total* if every point has a class.  Paper B leaves both numbers open as intractable; here they are
counted exactly for few points and estimated without bias for many.

**The tree.** Level ``j`` holds the consistent labellings of ``x_1 .. x_j``; the children of one are
its extensions to ``x_{j+1}``.  A consistent labelling has a layer that realises it strictly, and
what this layer predicts at ``x_{j+1}`` is one child at no cost.  Every other child is decided by
the certified oracle of :mod:`flatness.feasibility.pairs`: a layer whose margins are checked, or a
Farkas vector whose residual is checked.

**The estimator.** Give the root weight 1.  At each level every child inherits its parent's weight;
if there are more than ``population`` children, keep a random subset in which child ``u`` survives
with a probability ``pi_u > 0`` (systematic sampling, about ``population`` survivors) and divide the
weight of survivors by ``pi_u``.  The estimate is the total weight at the last level.

*Unbiased.*  Let ``T(u)`` be the number of leaves below ``u`` and ``M_j = sum over kept u of
weight_u T(u)`` at level ``j``. Then ``T(u)`` is the sum of ``T`` over the children of ``u``, so
passing to children leaves the sum unchanged, and thinning leaves its expectation unchanged, because
``E[1{u kept} / pi_u] = 1`` given the past.  Hence ``E[M_k] = M_0``, the number of leaves.  The
probabilities may depend on everything seen so far.

``population = 1`` with equal probabilities is Knuth's random descent (1975): the weight is the
product of the numbers of children met on the way.  A population as large as the tree keeps
everything and has no variance.  Weights of single descents have heavy tails; ``Estimate`` therefore
carries the runs themselves.
"""

from dataclasses import dataclass

import numpy as np

from flatness._internal.checks import checked
from flatness._internal.rules import at_least
from flatness.feasibility import refutations
from flatness.feasibility.certificates import MARGIN, RESIDUAL, Farkas, farkas_residual, margins
from flatness.feasibility.labelled_points import checked_system, refuse_contradictions
from flatness.feasibility.pairs import UNDECIDED, pair_verdicts, training_layer
from flatness.feasibility.policy_cone import PolicyCone, homogenise, whiten

NO_LABEL = -1


@dataclass(frozen=True)
class Count:
    """Exact numbers of consistent labellings: ``levels[j]`` for the first ``j`` probe points,
    ``total`` for all.

    ``undecided`` counts nodes without a certificate either way; they and all below them are not in
    the counts, so with ``undecided > 0`` the counts are lower bounds.  ``calls`` counts the
    children the oracle had to decide.
    """

    total: int
    levels: tuple[int, ...]
    undecided: int
    calls: int


@dataclass(frozen=True)
class Estimate:
    """Independent unbiased estimates of one count, ``runs (R,)``, in natural logarithms:
    ``log_runs``.

    ``undecided`` and ``calls`` as in :class:`Count`.
    """

    log_runs: np.ndarray
    undecided: int
    calls: int

    @property
    def log_mean(self) -> float:
        """Logarithm of the mean of the runs (the mean, not its logarithm, is unbiased)."""
        top = self.log_runs.max()
        return float(top + np.log(np.mean(np.exp(self.log_runs - top))))

    @property
    def relative_error(self) -> float:
        """Standard error of the mean over the mean; an underestimate while rare large runs have not
        been met.
        """
        ratios = np.exp(self.log_runs - self.log_mean)
        return float(ratios.std(ddof=1) / np.sqrt(len(ratios)))

    @property
    def effective_runs(self) -> float:
        """``(sum w)^2 / sum w^2``: near ``R`` if all runs agree, near 1 if one run carries the sum."""
        ratios = np.exp(self.log_runs - self.log_runs.max())
        return float(ratios.sum() ** 2 / (ratios**2).sum())


class _Tree:
    """The tree of consistent labellings of one network's probe points."""

    def __init__(self, features, labels, probes, num_classes: int, partial: bool):
        features, labels, probes = checked_system(features, labels, probes, num_classes, 2)
        self.points, self.queries, self.labels = homogenise(features), homogenise(probes), labels
        refuse_contradictions(self.points, labels)
        self.n, self.num_classes, self.partial = len(features), num_classes, partial
        rows, self.lengths, self.transform = whiten(np.concatenate([self.points, self.queries]))
        self.cone, self.own = PolicyCone(rows[: self.n], labels, num_classes), rows[self.n :]
        self.root = self.cone.centre(training_layer(self.cone, self.lengths))[0]
        alone = pair_verdicts(features, labels, probes, num_classes).verdict
        self.possible = (
            alone != 0
        )  # a class that a point cannot have alone it cannot have in company
        self.undecided, self.calls = int((alone == UNDECIDED).sum()), 0

    def children(
        self, prefixes: np.ndarray, layers: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All consistent children of labellings ``(B, j)`` realised by ``layers (B, K, d)``.

        Returns the parent of each child ``(C,)``, the child labellings ``(C, j + 1)`` and layers
        ``(C, K, d)``.
        """
        level = prefixes.shape[1]
        parents, labels, found = [], [], []
        wanted = np.tile(self.possible[level], (len(prefixes), 1))
        if self.partial:
            parents.append(np.arange(len(prefixes)))
            labels.append(np.full(len(prefixes), NO_LABEL))
            found.append(layers)

        def take(parent: np.ndarray, layer: np.ndarray) -> None:
            winner = (layer @ self.own[level]).argmax(1)
            fresh = wanted[parent, winner]
            fresh[fresh] = self._realises(layer[fresh], prefixes[parent[fresh]], winner[fresh])
            _, first = np.unique(
                parent[fresh] * self.num_classes + winner[fresh], return_index=True
            )
            chosen = np.flatnonzero(fresh)[first]
            wanted[parent[chosen], winner[chosen]] = False
            parents.append(parent[chosen])
            labels.append(winner[chosen])
            found.append(layer[chosen])

        take(np.arange(len(prefixes)), layers)
        chunk = max(1, int(250_000 / (self.num_classes * self.cone.d) ** 2))
        waiting = np.argwhere(wanted)
        self.calls += len(waiting)
        while len(waiting):
            batch, waiting = waiting[:chunk], waiting[chunk:]
            own, own_labels = self._own(prefixes[batch[:, 0]], batch[:, 1])

            def inspect(index, iterates, batch=batch):
                take(batch[index, 0], iterates)
                return ~wanted[tuple(batch[index].T)]

            starts = (
                layers[batch[:, 0]] + self.root
            ) / 2  # halfway to the centre: away from the parent's walls
            finished, final = self.cone.push(starts, own, own_labels, inspect)
            for b in np.flatnonzero(~finished):
                if wanted[tuple(batch[b])] and not self._refuted(
                    own[b], own_labels[b], final[b], prefixes[batch[b, 0]]
                ):
                    layer, farkas = refutations.linear_program(self.cone, own[b], own_labels[b])
                    take(batch[b, :1], layer[None])
                    if wanted[tuple(batch[b])] and not self._sound(
                        farkas, own_labels[b], prefixes[batch[b, 0]]
                    ):
                        self.undecided += 1
            waiting = waiting[wanted[tuple(waiting.T)]]
        parent, label = np.concatenate(parents), np.concatenate(labels)
        order = np.lexsort((label, parent))
        parent, label = parent[order], label[order]
        return parent, np.column_stack([prefixes[parent], label]), np.concatenate(found)[order]

    def _own(self, prefixes: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Own points ``(B, j + 1, d)`` and labels; an unlabelled point is replaced by a copy of a
        training point.
        """
        full = np.column_stack([prefixes, labels])
        blank = full == NO_LABEL
        own = np.where(blank[..., None], self.cone.points[0], self.own[: full.shape[1]])
        return own, np.where(blank, self.cone.labels[0], full)

    def _realises(self, layers: np.ndarray, prefixes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Whether layers satisfy the training labels and the labelling, with checked margins,
        ``(B,)`` bool.
        """
        raw, full = layers @ self.transform, np.column_stack([prefixes, labels])
        good = margins(raw, self.points, self.labels).min(1) > MARGIN
        for j in range(full.shape[1]):
            for c in np.unique(full[full[:, j] != NO_LABEL, j]):
                rows = full[:, j] == c
                good[rows] &= (
                    margins(raw[rows], self.queries[j : j + 1], np.array([c]))[:, 0] > MARGIN
                )
        return good

    def _refuted(
        self, own: np.ndarray, own_labels: np.ndarray, layer: np.ndarray, prefix: np.ndarray
    ) -> bool:
        return self._sound(
            refutations.many_class(self.cone, layer, own, own_labels), own_labels, prefix
        )

    def _sound(self, farkas: Farkas | None, own_labels: np.ndarray, prefix: np.ndarray) -> bool:
        """Whether a refutation found in the oracle's coordinates passes its check in the given
        ones.
        """
        if farkas is None:
            return False
        blank = np.append(prefix, 0) == NO_LABEL
        copied = np.where(blank, self.cone.order[0], self.n + np.arange(len(blank)))
        source = np.concatenate([np.arange(self.n), copied])
        raw = Farkas(
            farkas.points, farkas.rivals, farkas.weights / self.lengths[source[farkas.points]]
        )
        points = np.concatenate([self.points, self.queries])[source]
        return (
            farkas_residual(
                raw, points, np.concatenate([self.labels, own_labels]), self.num_classes
            )
            <= RESIDUAL
        )


@checked(num_classes=None, limit=at_least(1))
def count_labellings(
    features, labels, probes, num_classes: int, *, partial: bool = False, limit: int = 10**6
) -> Count:
    """Exact number of consistent labellings of the probe points ``(k, D)``, breadth first.

    ``partial=True`` counts partial labellings, the empty one included: the weakness ``|Ext(pi)|``
    over these points. Inputs and errors as :func:`flatness.feasibility.pairs.pair_verdicts`;
    ``ValueError`` when a level exceeds ``limit``.

    Two classes on a line and class 0 seen at 0: of the points 1 and 2, none, the second, or both
    may be on the other side of the one threshold:

    >>> count_labellings([[0.0]], [0], [[1.0], [2.0]], 2).total
    3
    """
    tree = _Tree(features, labels, probes, num_classes, partial)
    prefixes, layers, levels = np.empty((1, 0), dtype=int), tree.root[None], [1]
    for _ in range(len(tree.own)):
        _, prefixes, layers = tree.children(prefixes, layers)
        levels.append(len(prefixes))
        if levels[-1] > limit:
            raise ValueError(
                f"more than limit = {limit} labellings after {len(levels) - 1} points; estimate instead"
            )
    return Count(levels[-1], tuple(levels), tree.undecided, tree.calls)


@checked(overflow=False, num_classes=None, runs=at_least(2), population=at_least(1))
def estimate_labellings(
    features,
    labels,
    probes,
    num_classes: int,
    *,
    runs: int,
    rng: np.random.Generator,
    population: int = 1,
    tilt: float = 0.0,
    partial: bool = False,
) -> Estimate:
    """Unbiased estimates of the number :func:`count_labellings` returns, ``runs`` independent ones.

    ``population`` nodes survive at each level of each run (1: Knuth's random descent).  A node
    survives with probability proportional to its weight times ``depth ** tilt``, where ``depth`` is
    the smallest normalised margin of its layer at the probe points: ``tilt = 0`` chooses evenly.
    The runs share the verdicts of nodes that several of them visit.
    """
    tree = _Tree(features, labels, probes, num_classes, partial)
    run = np.arange(runs)
    log_weight, prefixes, layers = (
        np.zeros(runs),
        np.empty((runs, 0), dtype=int),
        np.tile(tree.root, (runs, 1, 1)),
    )
    for _ in range(len(tree.own)):
        _, first, which = np.unique(prefixes, axis=0, return_index=True, return_inverse=True)
        parent, child_prefixes, child_layers = tree.children(prefixes[first], layers[first])
        starts = np.searchsorted(parent, np.arange(len(first) + 1))
        members = [np.arange(starts[w], starts[w + 1]) for w in which.ravel()]
        sizes = np.array([len(m) for m in members])
        child = np.concatenate(members)
        if not len(child):
            raise ValueError(
                f"features, probes: no labelling of the first {prefixes.shape[1] + 1} probe points "
                f"could be certified ({tree.undecided} undecided)"
            )
        run, log_weight = np.repeat(run, sizes), np.repeat(log_weight, sizes)
        appeal = (
            tilt * _log_depth(tree, child_layers, child_prefixes)[child]
            if tilt
            else np.zeros(len(child))
        )
        kept, log_weight = _thin(run, log_weight, appeal, population, rng)
        run, prefixes, layers = run[kept], child_prefixes[child[kept]], child_layers[child[kept]]
    log_runs = np.array(
        [np.logaddexp.reduce(log_weight[run == r]) for r in range(runs)]
    )  # -inf: nothing left of a run
    return Estimate(log_runs, tree.undecided, tree.calls)


def _log_depth(tree: _Tree, layers: np.ndarray, prefixes: np.ndarray) -> np.ndarray:
    own, labels = tree._own(prefixes[:, :-1], prefixes[:, -1])
    logits = own @ layers.transpose(0, 2, 1)
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

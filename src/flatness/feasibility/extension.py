r"""How many labellings of several probe points are consistent with the training policy, jointly.

The pair proxy adds up what each probe point admits *alone*.  The weakness of the training policy
``pi`` in the feature-classifier vocabulary over probe points ``x_1 .. x_k`` is the number of its
completions: a completion adds at most one program "``x_j`` is class ``c``" per point, so it is a
*partial labelling* of the points that some last layer in the training policy realises; it is
*total* if every point has a class.  Paper B leaves both numbers open as intractable; here they are
counted exactly for few points and estimated without bias for many.

**The count** goes through the tree of :mod:`flatness.feasibility.labelling_tree` level by level.

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
from numpy.typing import ArrayLike
from scipy import stats

from flatness._internal import rules
from flatness._internal.arguments import number
from flatness._internal.checks import checked
from flatness.feasibility.labelling_tree import _Tree
from flatness.feasibility.oracle import UNDECIDED
from flatness.feasibility.pairs import TIES
from flatness.feasibility.thinning import _log_depth, _thin


@dataclass(frozen=True)
class Count:
    """Exact numbers of consistent labellings: ``levels[j]`` for the first ``j`` probe points,
    ``total`` for all.

    ``undecided`` counts nodes without a certificate either way; they and all below them are not in
    the counts, so with ``undecided > 0`` the counts are lower bounds.  ``calls`` counts the
    children the oracle had to decide, ``ties`` those of them that were refuted within rounding
    only (see :func:`flatness.feasibility.pairs.pair_verdicts`), a label alone included.
    """

    total: int
    levels: tuple[int, ...]
    undecided: int
    calls: int
    ties: int = 0


@dataclass(frozen=True)
class Estimate:
    """Independent unbiased estimates of one count, ``runs (R,)``, in natural logarithms:
    ``log_runs``.

    ``undecided``, ``calls`` and ``ties`` as in :class:`Count`.
    """

    log_runs: np.ndarray
    undecided: int
    calls: int
    ties: int = 0

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

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Student's interval for the count from the runs, in natural logarithms; -inf for a lower
        end that is not above zero. It is as good as the standard error.
        """
        number("confidence", confidence, rules.inside(0, 1))
        reach = stats.t.ppf((1 + confidence) / 2, len(self.log_runs) - 1) * self.relative_error
        low = np.log1p(-reach) if reach < 1 else -np.inf
        return float(self.log_mean + low), float(self.log_mean + np.log1p(reach))

    @property
    def effective_runs(self) -> float:
        """``(sum w)^2 / sum w^2``: near ``R`` if all runs agree, near 1 if one carries the sum."""
        ratios = np.exp(self.log_runs - self.log_runs.max())
        return float(ratios.sum() ** 2 / (ratios**2).sum())


@checked(
    features=None,
    labels=None,
    probes=None,
    num_classes=None,
    limit=rules.at_least(1),
    exact=None,
    ties=TIES,
)
def count_labellings(
    features: ArrayLike,
    labels: ArrayLike,
    probes: ArrayLike,
    num_classes: int,
    *,
    partial: bool = False,
    limit: int = 10**6,
    exact: bool = True,
    ties: str = "mark",
) -> Count:
    """Exact number of consistent labellings of the probe points ``(k, D)``, breadth first.

    ``partial=True`` counts partial labellings, the empty one included: the weakness ``|Ext(pi)|``
    over these points. Inputs, ``exact``, ``ties`` and errors as
    :func:`flatness.feasibility.pairs.pair_verdicts`; ``ValueError`` when a level exceeds ``limit``.
    A training policy that is undecided counts as one undecided node, and nothing else.

    Two classes on a line and class 0 seen at 0: of the points 1 and 2, none, the second, or both
    may be on the other side of the one threshold:

    >>> count_labellings([[0.0]], [0], [[1.0], [2.0]], 2).total
    3
    """
    return _count(_Tree(features, labels, probes, num_classes, partial, exact, ties), limit)


def _count(tree: _Tree, limit: int) -> Count:
    if tree.oracle.policy == UNDECIDED:
        return Count(0, (0,) * (tree.size + 1), 1, 0)
    prefixes, layers, levels = np.empty((1, 0), dtype=int), tree.root[None], [1]
    for _ in range(tree.size):
        _, prefixes, layers = tree.children(prefixes, layers)
        levels.append(len(prefixes))
        if levels[-1] > limit:
            raise ValueError(
                f"more than limit = {limit} labellings after {len(levels) - 1} points; estimate "
                "instead"
            )
    return Count(levels[-1], tuple(levels), tree.undecided, tree.calls, tree.ties)


@checked(
    overflow=False,
    features=None,
    labels=None,
    probes=None,
    num_classes=None,
    runs=rules.at_least(2),
    population=rules.at_least(1),
    exact=None,
    ties=TIES,
)
def estimate_labellings(
    features: ArrayLike,
    labels: ArrayLike,
    probes: ArrayLike,
    num_classes: int,
    *,
    runs: int,
    rng: np.random.Generator,
    population: int = 1,
    tilt: float = 0.0,
    partial: bool = False,
    exact: bool = True,
    ties: str = "mark",
) -> Estimate:
    """Unbiased estimates of the number :func:`count_labellings` returns, ``runs`` independent ones.

    ``population`` nodes survive at each level of each run (1: Knuth's random descent).  A node
    survives with probability proportional to its weight times ``depth ** tilt``, where ``depth`` is
    the smallest normalised margin of its layer at the probe points: ``tilt = 0`` chooses evenly.
    Runs that visit one node share its verdicts and its layer, which follow from the node alone, so
    the runs are independent given the networks: only their random choices differ.
    """
    tree = _Tree(features, labels, probes, num_classes, partial, exact, ties)
    return _estimate(tree, runs, rng, population, tilt)


def _estimate(
    tree: _Tree, runs: int, rng: np.random.Generator, population: int, tilt: float
) -> Estimate:
    if tree.oracle.policy == UNDECIDED:
        raise ValueError("features, labels: the training policy is undecided, nothing to estimate")
    run = np.arange(runs)
    log_weight, prefixes, layers = (
        np.zeros(runs),
        np.empty((runs, 0), dtype=int),
        np.tile(tree.root, (runs, 1, 1)),
    )
    for _ in range(tree.size):
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
    return Estimate(log_runs, tree.undecided, tree.calls, tree.ties)

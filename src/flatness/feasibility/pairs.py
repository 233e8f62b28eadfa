r"""Certified feasibility of (probe, class) pairs: the pair proxy of Paper B, section on the
feature-classifier vocabulary.

Layers below the last are frozen, so a network is its feature map ``phi`` with values in ``R^D``.
The *training policy* is the set of last layers ``(W, b)``, ``W (K, D)``, ``b (K,)``, that strictly
classify the training points. The pair ``(p, c)`` is *feasible* if some member of it strictly
predicts ``c`` at the probe ``p``.  The *pair proxy* is the number of feasible pairs.  The training
policy is an open convex cone: the size of a margin is a matter of scale, and only its sign has a
meaning.

Every verdict carries a certificate (see :mod:`flatness.feasibility.certificates`): ``1`` a witness,
``0`` a Farkas vector; a pair for which neither passes its check is ``-1``, undecided, and counts as
neither. What floating point cannot decide goes to rational arithmetic
(:mod:`flatness.feasibility.exact`), which also tells refutations from ties within rounding.

A network's pairs are settled in stages over one oracle and one ledger of verdicts: the centre of
the cone and rays from it (one factorisation); refutations from two classes (least squares in
``R^(D+1)``); then :meth:`flatness.feasibility.oracle.Oracle.decide` for what is left.
"""

from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness._internal.processes import map_processes
from flatness.feasibility import refutations
from flatness.feasibility.certificates import MARGIN, Farkas, _margins
from flatness.feasibility.labelled_points import TrainingPolicyInfeasible, checked_system
from flatness.feasibility.oracle import FEASIBLE, INFEASIBLE, UNDECIDED, Oracle

NEAR = 0.9  # a start lies so far from the centre on the way to the best layer known


@dataclass(frozen=True)
class PairVerdicts:
    """Verdicts of one network for ``q`` probes and ``K`` classes, each with its certificate.

    ``verdict (q, K)`` int8 holds 1 feasible, 0 infeasible, -1 undecided.  ``witnesses (w, K, D +
    1)`` are layers with the bias in the last column; ``witness_of (q, K)`` is the witness of a
    feasible pair, else -1. ``refutations`` are Farkas vectors (rows of the training points ``0 .. n
    - 1`` and of the probe as point ``n``) and ``refutation_of (q, K)`` points into them, else -1.
    ``settled`` counts the pairs by the step that settled them.

    ``rational`` has, for a witness whose rounding to float64 is none, the layer as an array of
    fractions, by its number. ``proven (q, K)`` is true where the verdict is known to hold in exact
    arithmetic: for every witness, and for a refutation unless its multipliers cancel within
    rounding only. ``policy`` is 1, or -1 where the training policy itself is undecided, and with it
    all pairs.
    """

    verdict: np.ndarray
    witnesses: np.ndarray
    witness_of: np.ndarray
    refutations: tuple[Farkas, ...]
    refutation_of: np.ndarray
    settled: dict[str, int]
    rational: dict[int, np.ndarray]
    proven: np.ndarray
    policy: int = FEASIBLE

    @property
    def pair_proxy(self) -> int:
        """Number of feasible pairs."""
        return int((self.verdict == FEASIBLE).sum())

    @property
    def extensions(self) -> np.ndarray:
        """Feasible classes of each probe, ``(q,)``: ``ext(x)`` of Paper B; their sum is the pair
        proxy.
        """
        return (self.verdict == FEASIBLE).sum(1)

    @property
    def undecided(self) -> int:
        """Number of undecided pairs."""
        return int((self.verdict == UNDECIDED).sum())

    @property
    def ties(self) -> int:
        """Number of infeasible pairs that hold within rounding only."""
        return int(((self.verdict == INFEASIBLE) & ~self.proven).sum())


@dataclass(frozen=True)
class EnsembleVerdicts:
    """Verdicts of ``M`` networks; ``networks[m]`` is ``None``, and ``reasons[m]`` says why, where
    no last layer keeps the training labels or the network cannot be measured (features that are not
    finite, say).

    ``policy (M,)`` int8: the training policy has a member (1), is empty by a certificate (0), or
    neither is known (-1).
    """

    networks: tuple[PairVerdicts | None, ...]
    reasons: dict[int, str] = field(default_factory=dict)
    policy: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int8))

    @property
    def policy_feasible(self) -> np.ndarray:
        """Which networks have a training policy known to be nonempty, ``(M,)`` bool."""
        return np.array([net is not None and net.policy == FEASIBLE for net in self.networks])

    @property
    def pair_proxy(self) -> np.ndarray:
        """``(M,)`` float64; NaN marks a network without a training policy known to be nonempty
        (never a zero)."""
        counts = [np.nan if net is None else net.pair_proxy for net in self.networks]
        return np.where(self.policy_feasible, counts, np.nan)

    @property
    def undecided(self) -> np.ndarray:
        """Undecided pairs of each network, ``(M,)``; 0 where there are no verdicts."""
        return np.array([0 if net is None else net.undecided for net in self.networks])


class _Ledger:
    """The pairs of one network as questions to its oracle, and their verdicts so far."""

    def __init__(self, oracle: Oracle):
        self.oracle, shape = oracle, (len(oracle.points) - oracle.n, oracle.num_classes)
        self.own, self.points = oracle.rows[oracle.n :], oracle.points[oracle.n :]
        self.verdict = np.full(shape, UNDECIDED, dtype=np.int8)
        self.witness_of, self.refutation_of = np.full(shape, -1), np.full(shape, -1)
        self.proven = np.zeros(shape, dtype=bool)
        self.layers: list[np.ndarray] = []  # witnesses, in the coordinates of the cone
        self.rational: dict[int, np.ndarray] = {}
        self.refutations: list[Farkas] = []
        self.settled: dict[str, int] = {}
        self.pairs = np.argwhere(self.verdict == UNDECIDED)

    def left(self) -> np.ndarray:
        """The undecided pairs ``(P, 2)``, which are from now on the questions."""
        self.pairs = np.argwhere(self.verdict == UNDECIDED)
        return self.pairs

    def open(self, index: np.ndarray) -> np.ndarray:
        return self.verdict[tuple(self.pairs[index].T)] == UNDECIDED

    def starts(self, index: np.ndarray) -> np.ndarray:
        """Near the layer that comes nearest to giving the probe its class."""
        centre = cast(np.ndarray, self.oracle.centre)  # asked for members of the policy only
        known = np.stack([centre, *(layer for layer in self.layers if layer.any())])
        probes, classes = self.pairs[index].T
        logits = np.einsum("lkd,bd->bkl", known, self.own[probes], optimize=True)
        mine = logits[np.arange(len(index)), classes].copy()
        logits[np.arange(len(index)), classes] = -np.inf
        best = (mine - logits.max(1)).argmax(1)
        return (1 - NEAR) * centre + NEAR * known[best]

    def offer(self, index: np.ndarray, layers: np.ndarray, step: str) -> None:
        """Try layers ``(B, K, d)`` for whatever they predict at undecided pairs."""
        everywhere = np.arange(len(self.own))
        winners = (layers @ self.own.T).argmax(1)
        useful = np.flatnonzero((self.verdict[everywhere, winners] == UNDECIDED).any(1))
        if not len(useful):
            return
        framed = layers[useful] @ self.oracle.transform
        for b in np.flatnonzero(self.oracle.in_policy(framed)):
            won = winners[useful[b]]
            fresh = np.flatnonzero(self.verdict[everywhere, won] == UNDECIDED)
            if len(fresh):
                depth = _margins(framed[b][None], self.points[fresh], won[fresh])[0]
                fresh = fresh[depth > MARGIN]
            self._enter(fresh, won[fresh], layers[useful[b]], step)

    def accept(self, index: int, layer: np.ndarray, step: str) -> None:
        probe, label = self.pairs[index]
        self.rational[len(self.layers)] = layer
        nothing = np.zeros((self.oracle.num_classes, self.oracle.cone.d))
        self._enter(np.array([probe]), np.array([label]), nothing, step)

    def _enter(self, probes, labels, layer, step) -> None:
        if len(probes):
            self.verdict[probes, labels], self.proven[probes, labels] = FEASIBLE, True
            self.witness_of[probes, labels] = len(self.layers)
            self.layers.append(layer)
            self.settled[step] = self.settled.get(step, 0) + len(probes)

    def refute(self, index: int, farkas: Farkas, proven: bool, step: str) -> None:
        pair = tuple(self.pairs[index])
        self.verdict[pair], self.proven[pair] = INFEASIBLE, proven
        self.refutation_of[pair] = len(self.refutations)
        self.refutations.append(farkas)
        self.settled[step] = self.settled.get(step, 0) + 1

    def close(self) -> PairVerdicts:
        """The verdicts, with witnesses for the given features; one that rounding would spoil is
        kept as fractions."""
        frame, shape = self.oracle.frame, (0, self.oracle.num_classes, self.points.shape[1])
        framed = np.stack(self.layers) @ self.oracle.transform if self.layers else np.empty(shape)
        given = frame.given(framed)
        rational = {number: frame.rational(layer) for number, layer in self.rational.items()}
        again = frame.framed(given)
        good = self.oracle.in_policy(again) if len(again) else np.empty(0, dtype=bool)
        for probe, label in np.argwhere(self.verdict == FEASIBLE) if frame.shift.any() else ():
            number = self.witness_of[probe, label]
            depth = _margins(again[[number]], self.points[[probe]], np.array([label])).item()
            good[number] &= depth > MARGIN
        for number in np.flatnonzero(~good):
            if number not in rational:
                rational[int(number)] = frame.rational(framed[number])
            given[number] = rational[int(number)].astype(float)
        return PairVerdicts(
            self.verdict,
            given,
            self.witness_of,
            tuple(self.refutations),
            self.refutation_of,
            self.settled,
            rational,
            self.proven,
            self.oracle.policy,
        )


TIES = rules.one_of("mark", "decide")


@checked(features=None, labels=None, probes=None, num_classes=None, exact=None, ties=TIES)
def pair_verdicts(
    features: ArrayLike,
    labels: ArrayLike,
    probes: ArrayLike,
    num_classes: int,
    *,
    exact: bool = True,
    ties: str = "mark",
) -> PairVerdicts:
    """Certified verdicts for every probe and class.

    Parameters: ``features (n, D)`` and ``probes (q, D)``, finite, read as float64 (lower precision
    is converted exactly); ``labels (n,)`` integers in ``[0, num_classes)``; ``num_classes >= 2``.
    Arrays or tensors.  Duplicated points are fine.

    Pairs that floating point leaves open are decided in rational arithmetic, within the limits of
    :mod:`flatness.feasibility.exact`, unless ``exact=False``. A refutation whose multipliers cancel
    within rounding only is a tie: the last bit of the features decides it. It counts as infeasible
    and is marked (``proven``, ``ties``), or with ``ties="decide"`` is decided for the very numbers
    given. An empty training policy that is a tie is treated in the same way.

    Raises ``ValueError`` for anything else, and :class:`TrainingPolicyInfeasible` when no last
    layer keeps the training labels (two equal points with different labels are named).

    Points 0 and 2 on a line have classes 0 and 1, so a probe between them may have either, and one
    beyond must follow:

    >>> pair_verdicts([[0.0], [2.0]], [0, 1], [[-1.0], [1.0], [2.0], [3.0]], 2).verdict.tolist()
    [[1, 0], [1, 1], [0, 1], [0, 1]]
    """
    features, labels, probes = checked_system(features, labels, probes, num_classes, 2)
    return _pair_verdicts(features, labels, probes, num_classes, exact, ties)


@checked(
    overflow=False,
    features=None,
    labels=None,
    probes=None,
    num_classes=None,
    exact=None,
    ties=TIES,
    workers=rules.at_least(1),
)
def pair_verdicts_ensemble(
    features: ArrayLike,
    labels: ArrayLike,
    probes: ArrayLike,
    num_classes: int,
    *,
    exact: bool = True,
    ties: str = "mark",
    workers: int | None = None,
    progress: bool = True,
) -> EnsembleVerdicts:
    """:func:`pair_verdicts` of ``M`` networks: ``features (M, n, D)``, ``labels (n,)``, ``probes
    (M, q, D)``.

    A network whose training policy is empty, or that cannot be measured, is marked (``networks[m]
    is None``, reason kept), not an error, unless no network has finite features. ``workers``
    processes (default: the number of usable cores); the verdicts do not depend on it.
    """
    features, labels, probes = checked_system(features, labels, probes, num_classes, 3)
    jobs = [(f, labels, p, num_classes, exact, ties) for f, p in zip(features, probes, strict=True)]
    results = map_processes(_marked, jobs, workers=workers, progress=progress, label="pair proxy")
    return EnsembleVerdicts(
        tuple(net for net, _, _ in results),
        {m: reason for m, (_, _, reason) in enumerate(results) if reason},
        np.array([policy for _, policy, _ in results], dtype=np.int8),
    )


def _marked(job: tuple) -> tuple[PairVerdicts | None, int, str]:
    """The verdicts of one network, its policy, and the reason if there are none."""
    for name, array in (("features", job[0]), ("probes", job[2])):
        if not np.isfinite(array).all():
            return None, UNDECIDED, f"{name}: expected finite values only"
    try:
        found = _pair_verdicts(*job)
        return found, found.policy, ""
    except TrainingPolicyInfeasible as error:
        return None, INFEASIBLE, str(error)
    except Exception as error:  # whatever it is, it is this network's and costs no other
        return None, UNDECIDED, f"{type(error).__name__}: {error}"


def _pair_verdicts(
    features: np.ndarray,
    labels: np.ndarray,
    probes: np.ndarray,
    num_classes: int,
    exact: bool,
    ties: str,
) -> PairVerdicts:
    oracle = Oracle(features, labels, probes, num_classes, exact, ties)
    ledger = _Ledger(oracle)
    if oracle.policy == FEASIBLE:
        above = _rays(oracle, ledger)
        _two_classes(oracle, ledger, above)
        left = ledger.left()
        oracle.decide(oracle.n + left[:, :1], left[:, 1:], ledger)
    return ledger.close()


def _rays(oracle: Oracle, ledger: _Ledger) -> np.ndarray:
    """Offer the centre and the rays from it; ``[p, c, a]``: whether a layer that keeps the points
    of ``a`` and ``c`` apart puts ``c`` above ``a`` at probe ``p``."""
    classes, own = oracle.num_classes, ledger.own
    if oracle.centre is None or oracle.inverse is None:
        return np.zeros((len(own), classes, classes), dtype=bool)
    rays = oracle.cone.rays(oracle.centre, oracle.inverse, own)
    rays = np.concatenate([oracle.centre[None], rays])
    ledger.offer(np.arange(len(rays)), rays, "rays")
    above = _ever_above(rays, own)
    for a in range(classes):
        for c in range(a + 1, classes):
            above[:, a, c], above[:, c, a] = np.stack([above[:, a, c], above[:, c, a]]) | (
                refutations.sides(oracle.cone, oracle.centre[a] - oracle.centre[c], own, a, c)
            )
    return above


def _two_classes(oracle: Oracle, ledger: _Ledger, above: np.ndarray) -> None:
    """Refute pairs by the points of two classes, where no layer seen so far speaks against it."""
    centre = (
        oracle.centre
        if oracle.centre is not None
        else np.zeros((oracle.num_classes, oracle.cone.d))
    )
    for number, (probe, label) in enumerate(ledger.left()):
        for rival in np.argsort(-(centre @ ledger.own[probe]), kind="stable"):
            if rival == label or above[probe, label, rival]:
                continue
            own = np.array([oracle.n + probe])
            farkas = refutations.two_class(oracle.cone, ledger.own[probe], label, rival, oracle.n)
            found, proven = oracle.refutation(farkas, own, np.array([label]))
            if found is not None and (proven or not oracle.strict):
                ledger.refute(number, found, proven, "two classes")
                break


def _ever_above(layers: np.ndarray, probes: np.ndarray) -> np.ndarray:
    """``[p, c, a]``: whether some layer of the pool puts class ``c`` above ``a`` at probe ``p``."""
    logits = (layers @ probes.T).transpose(2, 1, 0)
    return np.stack([(logits[:, [c]] > logits).any(-1) for c in range(layers.shape[1])], axis=1)

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
neither.

How a network's pairs are settled, in this order: the centre of the cone and rays from it (one
factorisation); refutations from two classes (least squares in ``R^(D+1)``); Newton's method on a
barrier for all remaining pairs at once, every iterate being tried as a witness for every probe;
refutations from all classes; HiGHS.
"""

from dataclasses import dataclass, field

import numpy as np

from flatness._internal.checks import checked
from flatness._internal.processes import map_processes
from flatness._internal.rules import at_least
from flatness.feasibility import refutations
from flatness.feasibility.certificates import MARGIN, RESIDUAL, Farkas, farkas_residual, margins
from flatness.feasibility.labelled_points import (
    TrainingPolicyInfeasible,
    checked_system,
    refuse_contradictions,
)
from flatness.feasibility.policy_cone import PolicyCone, homogenise, whiten

CHUNK = 250_000  # entries of the Hessians worked on at a time: they should stay in the cache
FEASIBLE, INFEASIBLE, UNDECIDED = 1, 0, -1


@dataclass(frozen=True)
class PairVerdicts:
    """Verdicts of one network for ``q`` probes and ``K`` classes, each with its certificate.

    ``verdict (q, K)`` int8 holds 1 feasible, 0 infeasible, -1 undecided.  ``witnesses (w, K, D +
    1)`` are layers with the bias in the last column; ``witness_of (q, K)`` is the witness of a
    feasible pair, else -1. ``refutations`` are Farkas vectors (rows of the training points ``0 .. n
    - 1`` and of the probe as point ``n``) and ``refutation_of (q, K)`` points into them, else -1.
    ``settled`` counts the pairs by the step that settled them.
    """

    verdict: np.ndarray
    witnesses: np.ndarray
    witness_of: np.ndarray
    refutations: tuple[Farkas, ...]
    refutation_of: np.ndarray
    settled: dict[str, int]

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


@dataclass(frozen=True)
class EnsembleVerdicts:
    """Verdicts of ``M`` networks; ``networks[m]`` is ``None`` where no last layer keeps the
    training labels.
    """

    networks: tuple[PairVerdicts | None, ...]
    reasons: dict[int, str] = field(default_factory=dict)

    @property
    def policy_feasible(self) -> np.ndarray:
        """Which networks have a nonempty training policy, ``(M,)`` bool."""
        return np.array([net is not None for net in self.networks])

    @property
    def pair_proxy(self) -> np.ndarray:
        """``(M,)`` float64; NaN marks a network whose training policy is empty (never a zero)."""
        return np.array([np.nan if net is None else net.pair_proxy for net in self.networks])

    @property
    def undecided(self) -> np.ndarray:
        """Undecided pairs of each network, ``(M,)``; 0 where the training policy is empty."""
        return np.array([0 if net is None else net.undecided for net in self.networks])


class _Ledger:
    """Verdicts so far.  Only certificates that pass their check in the given coordinates enter."""

    def __init__(
        self, points: np.ndarray, labels: np.ndarray, probes: np.ndarray, num_classes: int
    ):
        self.points, self.labels, self.probes, self.num_classes = (
            points,
            labels,
            probes,
            num_classes,
        )
        shape = (len(probes), num_classes)
        self.verdict = np.full(shape, UNDECIDED, dtype=np.int8)
        self.witness_of, self.refutation_of = np.full(shape, -1), np.full(shape, -1)
        self.witnesses: list[np.ndarray] = []
        self.refutations: list[Farkas] = []
        self.settled: dict[str, int] = {}

    def offer(self, layers: np.ndarray, step: str) -> None:
        """Try layers ``(B, K, D + 1)`` as witnesses for whatever they predict at undecided pairs."""
        winners = (layers @ self.probes.T).argmax(1)
        fresh = self.verdict[np.arange(len(self.probes)), winners] == UNDECIDED
        useful = np.flatnonzero(fresh.any(1))
        if not len(useful):
            return
        sound = margins(layers[useful], self.points, self.labels).min(1) > MARGIN
        for b in useful[sound]:
            probes = np.flatnonzero(
                fresh[b] & (self.verdict[np.arange(len(self.probes)), winners[b]] == UNDECIDED)
            )
            if not len(probes):
                continue
            depth = margins(layers[b][None], self.probes[probes], winners[b, probes])[0]
            probes = probes[depth > MARGIN]
            if len(probes):
                self.verdict[probes, winners[b, probes]] = FEASIBLE
                self.witness_of[probes, winners[b, probes]] = len(self.witnesses)
                self.witnesses.append(layers[b])
                self.settled[step] = self.settled.get(step, 0) + len(probes)

    def refute(self, probe: int, label: int, farkas: Farkas | None, step: str) -> None:
        """Enter a Farkas vector for an undecided pair if its residual passes."""
        if farkas is None or self.verdict[probe, label] != UNDECIDED:
            return
        points, labels = np.vstack([self.points, self.probes[probe]]), np.append(self.labels, label)
        if farkas_residual(farkas, points, labels, self.num_classes) <= RESIDUAL:
            self.verdict[probe, label] = INFEASIBLE
            self.refutation_of[probe, label] = len(self.refutations)
            self.refutations.append(farkas)
            self.settled[step] = self.settled.get(step, 0) + 1

    def close(self) -> PairVerdicts:
        shape = (0, self.num_classes, self.points.shape[1])
        witnesses = np.stack(self.witnesses) if self.witnesses else np.empty(shape)
        return PairVerdicts(
            self.verdict,
            witnesses,
            self.witness_of,
            tuple(self.refutations),
            self.refutation_of,
            self.settled,
        )


@checked(num_classes=None)
def pair_verdicts(features, labels, probes, num_classes: int) -> PairVerdicts:
    """Certified verdicts for every probe and class.

    Parameters: ``features (n, D)`` and ``probes (q, D)``, finite, read as float64; ``labels (n,)``
    integers in ``[0, num_classes)``; ``num_classes >= 2``.  Arrays or tensors.  Duplicated points
    are fine.

    Raises ``ValueError`` for anything else, and :class:`TrainingPolicyInfeasible` when no last
    layer keeps the training labels (two equal points with different labels are named).

    Points 0 and 2 on a line have classes 0 and 1, so a probe between them may have either, and one
    beyond must follow:

    >>> pair_verdicts([[0.0], [2.0]], [0, 1], [[-1.0], [1.0], [2.0], [3.0]], 2).verdict.tolist()
    [[1, 0], [1, 1], [0, 1], [0, 1]]
    """
    features, labels, probes = checked_system(features, labels, probes, num_classes, 2)
    return _pair_verdicts(features, labels, probes, num_classes)


@checked(overflow=False, num_classes=None, workers=at_least(1))
def pair_verdicts_ensemble(
    features, labels, probes, num_classes: int, *, workers: int | None = None, progress: bool = True
) -> EnsembleVerdicts:
    """:func:`pair_verdicts` of ``M`` networks: ``features (M, n, D)``, ``labels (n,)``, ``probes
    (M, q, D)``.

    A network whose training policy is empty is marked (``networks[m] is None``, reason kept), not
    an error. ``workers`` processes (default: the number of usable cores); the verdicts do not
    depend on it.
    """
    features, labels, probes = checked_system(features, labels, probes, num_classes, 3)
    jobs = [(f, labels, p, num_classes) for f, p in zip(features, probes, strict=True)]
    results = map_processes(_marked, jobs, workers=workers, progress=progress, label="pair proxy")
    reasons = {m: result for m, result in enumerate(results) if isinstance(result, str)}
    return EnsembleVerdicts(tuple(None if isinstance(r, str) else r for r in results), reasons)


def training_layer(cone: PolicyCone, lengths: np.ndarray) -> np.ndarray:
    """A layer strictly inside the training policy, in the coordinates of ``cone``.

    Raises :class:`TrainingPolicyInfeasible`; ``lengths``, from :func:`whiten`, take its multipliers
    back to the given rows.
    """
    nobody = PolicyCone(np.empty((0, cone.d)), np.empty(0, dtype=int), cone.num_classes)
    found: list[np.ndarray] = []

    def inspect(_, layers):
        if (margins(layers, cone.points, cone.labels).min(1) > 1e-9).all():
            found.append(layers[0])
        return np.array([bool(found)])

    start = np.zeros((1, cone.num_classes, cone.d))
    nobody.push(start, cone.points[None], cone.labels[None], inspect)
    if found:
        return found[0]
    layer, farkas = refutations.linear_program(cone, np.empty((0, cone.d)), np.empty(0, dtype=int))
    if margins(layer[None], cone.points, cone.labels).min() > MARGIN:
        return layer
    if farkas is not None:
        farkas = Farkas(farkas.points, farkas.rivals, farkas.weights / lengths[farkas.points])
    raise TrainingPolicyInfeasible("no last layer strictly classifies all training points", farkas)


def _pair_verdicts(
    features: np.ndarray, labels: np.ndarray, probes: np.ndarray, num_classes: int
) -> PairVerdicts:
    points, queries = homogenise(features), homogenise(probes)
    refuse_contradictions(points, labels)
    n = len(points)
    rows, lengths, transform = whiten(np.concatenate([points, queries]))
    cone, own = PolicyCone(rows[:n], labels, num_classes), rows[n:]
    ledger = _Ledger(points, labels, queries, num_classes)

    def raw(farkas: Farkas | None, probe: int) -> Farkas | None:
        if farkas is None:
            return None
        scale = lengths[np.where(farkas.points == n, n + probe, farkas.points)]
        return Farkas(farkas.points, farkas.rivals, farkas.weights / scale)

    centre, inverse = cone.centre(training_layer(cone, lengths))
    rays = np.concatenate([centre[None], cone.rays(centre, inverse, own)])
    ledger.offer(rays @ transform, "rays")

    above = _ever_above(rays, own)
    for probe, label in np.argwhere(ledger.verdict == UNDECIDED):
        for rival in np.argsort(-(centre @ own[probe]), kind="stable"):
            if rival != label and not above[probe, label, rival]:
                farkas = refutations.two_class(cone, own[probe], label, rival, n)
                ledger.refute(probe, label, raw(farkas, probe), "two classes")
                if ledger.verdict[probe, label] != UNDECIDED:
                    break

    chunk = max(1, int(CHUNK / (num_classes * cone.d) ** 2))
    stuck: list[tuple[int, int, np.ndarray]] = []
    waiting = np.argwhere(ledger.verdict == UNDECIDED)
    while len(waiting):
        batch, waiting = waiting[:chunk], waiting[chunk:]

        def inspect(index, layers, batch=batch):
            ledger.offer(layers @ transform, "Newton")
            return ledger.verdict[tuple(batch[index].T)] != UNDECIDED

        starts = np.repeat(centre[None], len(batch), axis=0)
        finished, final = cone.push(starts, own[batch[:, :1]], batch[:, 1:], inspect)
        stuck += [(*batch[i], final[i]) for i in np.flatnonzero(~finished)]
        waiting = waiting[ledger.verdict[tuple(waiting.T)] == UNDECIDED]

    for probe, label, layer in stuck:
        if ledger.verdict[probe, label] == UNDECIDED:
            farkas = refutations.many_class(cone, layer, own[[probe]], np.array([label]))
            ledger.refute(probe, label, raw(farkas, probe), "many classes")
        if ledger.verdict[probe, label] == UNDECIDED:
            layer, farkas = refutations.linear_program(cone, own[[probe]], np.array([label]))
            ledger.offer((layer @ transform)[None], "HiGHS")
            ledger.refute(probe, label, raw(farkas, probe), "HiGHS")
    return ledger.close()


def _ever_above(layers: np.ndarray, probes: np.ndarray) -> np.ndarray:
    """``[p, c, a]``: whether some layer of the pool puts class ``c`` above ``a`` at probe ``p``."""
    logits = (layers @ probes.T).transpose(2, 1, 0)
    return np.stack([(logits[:, [c]] > logits).any(-1) for c in range(layers.shape[1])], axis=1)


def _marked(job) -> PairVerdicts | str:
    try:
        return _pair_verdicts(*job)
    except TrainingPolicyInfeasible as error:
        return str(error)

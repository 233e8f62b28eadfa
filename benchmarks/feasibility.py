"""The certified pair proxy against one linear program from scratch per pair, in one run.

    python -m benchmarks.feasibility                  100 networks, all pairs; baseline on a sample
    python -m benchmarks.feasibility --scaling        also time against n, probes, width and classes
    python -m benchmarks.feasibility --networks 4 --checked 4 --sample 20      a quick look

Baseline: ``scipy.optimize.linprog(method="highs")`` on every row of the system at margin 1, as the
author of Paper B does. Where its verdict differs from ours, rational arithmetic decides.
"""

import argparse
import time

import numpy as np
from scipy.optimize import linprog

from benchmarks.comparison import Report, Row, show
from flatness.datasets.images import load
from flatness.feasibility.certificates import exact_farkas, exact_witness
from flatness.feasibility.pairs import UNDECIDED, pair_verdicts, pair_verdicts_ensemble
from flatness.feasibility.verification import certified_system, verify
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import SGD, order_generators, train


def trained_features(n=250, probes=100, width=8, classes=10, networks=100):
    """Frozen features of networks 784-64-width-classes trained as in the pair-proxy experiment, as
    numpy arrays.
    """
    split = load("mnist", n if classes == 10 else 2000, num_probes=100)
    keep = (split.train.y < classes).nonzero().ravel()[:n]
    x, y = split.train.x[keep], split.train.y[keep]
    images = split.probes.x if probes <= 100 else split.test.x[:probes]
    start = MLPEnsemble.from_seeds([784, 64, width, classes], range(networks))
    result = train(start, x, y, SGD(64, 0.1, 500), order_generators(range(networks))).networks
    return result.features(x).numpy(), y.numpy(), result.features(images[:probes]).numpy()


def baseline(features, labels, probes, probe, label, num_classes=10) -> tuple[int, float]:
    """Status of HiGHS (0 feasible, 2 infeasible) for one pair, and the seconds it took from
    scratch.
    """
    start = time.perf_counter()
    points, targets = certified_system(features, labels, probes, probe, label)
    number, rival = np.nonzero(np.arange(num_classes) != targets[:, None])
    rows = np.zeros((len(number), num_classes, points.shape[1]))
    m = np.arange(len(number))
    rows[m, targets[number]] += points[number]
    rows[m, rival] -= points[number]
    rows = rows.reshape(len(number), -1)
    bound = -np.ones(len(rows))
    status = linprog(
        np.zeros(rows.shape[1]), A_ub=-rows, b_ub=bound, bounds=(None, None), method="highs"
    ).status
    return status, time.perf_counter() - start


def settle(found, features, labels, probes, probe, label, num_classes=10) -> bool:
    """Whether our verdict on a pair holds in rational arithmetic."""
    if found.verdict[probe, label] == UNDECIDED:
        return False
    points, targets = certified_system(features, labels, probes, probe, label)
    if found.verdict[probe, label] == 1:
        return exact_witness(found.witnesses[found.witness_of[probe, label]], points, targets)
    farkas = found.refutations[found.refutation_of[probe, label]]
    return exact_farkas(farkas, points, targets, num_classes) is not None


def compare(networks: int, checked: int, sample: int, workers: int | None) -> dict:
    """All pairs by us, ``sample`` random pairs of each of ``checked`` networks by the baseline."""
    features, labels, probes = trained_features(networks=networks)
    start = time.perf_counter()
    ensemble = pair_verdicts_ensemble(features, labels, probes, 10, workers=workers)
    ours = time.perf_counter() - start
    pairs = sum(net.verdict.size for net in ensemble.networks if net is not None)
    checks = [
        verify(net, features[m], labels, probes[m])
        for m, net in enumerate(ensemble.networks)
        if net is not None
    ]

    rng = np.random.default_rng(0)
    seconds, in_process, agreed, differing, ours_right = [], [], 0, [], 0
    chosen = [
        m
        for m in np.linspace(0, networks - 1, checked).round().astype(int)
        if ensemble.networks[m] is not None
    ]
    for m in chosen:
        net = ensemble.networks[m]
        start = time.perf_counter()
        pair_verdicts(features[m], labels, probes[m], 10)
        in_process.append(time.perf_counter() - start)
        for pair in rng.choice(net.verdict.size, sample, replace=False):
            probe, label = divmod(int(pair), 10)
            status, spent = baseline(features[m], labels, probes[m], probe, label)
            seconds.append(spent)
            same = {0: 1, 2: 0}.get(status) == net.verdict[probe, label]
            agreed += same
            if not same:
                ours_right += settle(net, features[m], labels, probes[m], probe, label)
                differing.append(
                    [int(m), probe, label, int(net.verdict[probe, label]), int(status)]
                )
    exact = [
        settle(net, features[m], labels, probes[m], *pair)
        for m, net in enumerate(ensemble.networks)
        if net is not None
        for pair in np.argwhere(net.verdict == 0)
    ]
    return {
        "networks": networks,
        "checked": len(chosen),
        "pairs": pairs,
        "undecided": int(ensemble.undecided.sum()),
        "failed_certificates": sum(check.failed for check in checks),
        "smallest_margin": min(check.smallest_margin for check in checks),
        "largest_residual": max(check.largest_residual for check in checks),
        "refutations": len(exact),
        "refutations_exact": sum(exact),
        "seconds_all_pairs": ours,
        "seconds_per_network_one_process": float(np.median(in_process)),
        "baseline_milliseconds_per_pair": 1e3 * float(np.mean(seconds)),
        "baseline_pairs": len(seconds),
        "baseline_minutes_all_pairs": float(np.mean(seconds)) * pairs / 60,
        "ratio": float(np.mean(seconds)) * pairs / ours,
        "ratio_one_process": float(np.mean(seconds)) * 1000 / float(np.median(in_process)),
        "agreed": int(agreed),
        "differing": differing,
        "differing_where_ours_is_exact": int(ours_right),
        "settled": {
            step: sum(net.settled.get(step, 0) for net in ensemble.networks if net is not None)
            for step in ("centre", "two classes", "Newton", "many classes", "HiGHS")
        },
    }


def scaling(networks: int = 3) -> list[dict]:
    """Median seconds a network (one process) when one of n, probes, width, classes changes from the
    standard."""
    standard = {"n": 250, "probes": 100, "width": 8, "classes": 10}
    variants = [{}, *({"n": n} for n in (125, 500, 1000)), *({"probes": q} for q in (50, 200, 400))]
    variants += [*({"width": d} for d in (16, 32)), *({"classes": c} for c in (3, 5))]
    table = []
    for change in variants:
        case = standard | change
        features, labels, probes = trained_features(**case, networks=networks)
        spent, counts = [], []
        for m in range(networks):
            start = time.perf_counter()
            found = pair_verdicts(features[m], labels, probes[m], case["classes"])
            spent.append(time.perf_counter() - start)
            counts.append([found.pair_proxy / found.verdict.size, found.undecided])
        scratch = [
            baseline(features[0], labels, probes[0], p, p % case["classes"], case["classes"])[1]
            for p in range(5)
        ]
        row = case | {
            "seconds": float(np.median(spent)),
            "feasible": float(np.mean(counts, axis=0)[0]),
        }
        row |= {
            "undecided": int(np.sum(counts, axis=0)[1]),
            "baseline_ms_per_pair": 1e3 * float(np.median(scratch)),
        }
        table.append(row)
        per_pair = 1e3 * row["seconds"] / (case["probes"] * case["classes"])
        print(
            f"  {case}: {row['seconds']:.2f} s a network, {per_pair:.2f} ms a pair (baseline "
            f"{row['baseline_ms_per_pair']:.0f} ms), {row['undecided']} undecided",
            flush=True,
        )
    return table


def rows_of(result: dict) -> list[Row]:
    """The comparison as rows: all pairs on all cores, and one process against one process."""
    sampled = result["baseline_pairs"]
    shared = {
        "agreement": f"same verdict on {result['agreed']} of {sampled} pairs; ours exact on the "
        "others, none undecided",
        "agree": result["agreed"] + result["differing_where_ours_is_exact"] == sampled
        and result["undecided"] == 0
        and result["failed_certificates"] == 0,
    }
    peer = "scipy linprog (HiGHS) from scratch, a pair at a time"
    all_pairs = Row(
        f"certified verdicts on {result['pairs']:,} pairs of {result['networks']} networks",
        "flatness.feasibility.pairs.pair_verdicts_ensemble, all cores",
        f"{peer}, from {sampled:,} pairs",
        result["seconds_all_pairs"],
        60 * result["baseline_minutes_all_pairs"],
        result["ratio"],
        1,
        goal=40.0,
        **shared,
    )
    one = Row(
        "certified verdicts on the 1000 pairs of a network",
        "flatness.feasibility.pairs.pair_verdicts, one process",
        peer,
        result["seconds_per_network_one_process"],
        result["baseline_milliseconds_per_pair"],
        result["ratio_one_process"],
        result["checked"],
        **shared,
    )
    return [all_pairs, one]


def main(arguments: list[str] | None = None) -> Report:
    """Print the comparison and return it; see the module's documentation for the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument(
        "--checked", type=int, default=20, help="networks on which the baseline runs"
    )
    parser.add_argument(
        "--sample", type=int, default=250, help="pairs of each that the baseline solves"
    )
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--scaling", action="store_true")
    options = parser.parse_args(arguments)
    result = compare(
        options.networks, min(options.checked, options.networks), options.sample, options.workers
    )
    rows = rows_of(result)
    show(rows)
    print(
        f"{result['refutations_exact']} of {result['refutations']} refutations hold in rational "
        f"arithmetic; {result['failed_certificates']} certificates failed their check"
    )
    if options.scaling:
        print("scaling, one process:")
        result["scaling"] = scaling()
    return Report(rows, result)


if __name__ == "__main__":
    main()

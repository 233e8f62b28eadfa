"""No public function escapes the trial of odd arguments without a reason, and the trial can fail."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_inputs import Case, defects

import flatness
from flatness.experiments.registry import EXPERIMENTS

GROUPS = [importlib.import_module(path.stem) for path in sorted(Path(__file__).parent.glob("test_bad_inputs_*.py")) if path != Path(__file__)]
COVERED = {re.sub(r" \(.*\)$", "", case.name) for group in GROUPS for case in group.CASES}

RESULT = "a record of results, made by the package"
UNITS = "takes a frozen configuration, and data that the package loads"
LEDGER = "takes names of recorded results, whose absence is told by RecordError; tested in test_claims"
SUMMARY = "takes the tables that the experiment recorded"
COMMAND = "a command line: argparse refuses"
NETWORK = "talks to a mirror or a package client; tested with mirrors that fail in test_fetch"
ERROR = "an exception"
STEP = "a step of pair_verdicts on a PolicyCone, which checks its points"
FIGURE = "draws what chapters computed"
FILES = "files and their damages: tested in test_fetch, test_idx, test_records, test_experiments_runner"

MODULES = {  # whole modules
    **{f"flatness.{name}": "what is tried here" for name in ("arguments", "checks", "rules")},
    "flatness.figures": FIGURE, "flatness.sources": NETWORK, "flatness.abstracts": "data",
    "flatness.published": "data", **{f"flatness.experiments.{name}": UNITS for name in (
        "factorial", "full_extension", "head_to_head", "noise_divergence", "part1", "probe_sets", "region_selection", "registry", "splits")},
    **{f"flatness.experiments.{name}": SUMMARY for name in ("confounds", "part1_summary", "vanishing_correlations", "vanishing_summary")}}

CONTRACT = ("units", "compute", "finish", "summarise", "data_hashes")  # what the runner calls, with a configuration from the registry


def contract():
    """The functions of that kind, and the configurations, of every experiment."""
    for experiment in EXPERIMENTS.values():
        module = experiment.module
        if module.__name__ not in MODULES:
            for name in (*filter(lambda name: hasattr(module, name), CONTRACT), *(type(c).__name__ for c in experiment.scales.values())):
                yield f"{module.__name__.removeprefix('flatness.')}.{name}"


EXEMPT = {
    "comparisons.shown": SUMMARY,
    **dict.fromkeys(contract(), UNITS),
    **{name: RESULT for name in (
        "adversary.Adversary", "balancing.OrbitMinimum", "bounds.Certificate", "certificates.Check", "certificates.Farkas",
        "claims.Finding", "claims.Claim", "comparisons.Estimate", "curvature.BlockTrace", "curvature.TraceEstimate", "experiments.verify.Comparison",
        "extension.Count", "extension.Estimate", "feasibility.PairVerdicts", "feasibility.EnsembleVerdicts", "flattest.Flattest",
        "images.Points", "images.Split", "images.Pool", "language.Language", "measures.Measure", "measures.Subject", "pacbayes.GaussianBound",
        "point_demands.Estimate", "point_demands.DemandModel", "pooling.Pooled", "population.PopulationLoss", "ranks.RankCorrelation",
        "records.Record", "spectrum.Eigenvalue", "targets.DataSet", "tasks.Task", "unlearned.UnlearnedBound", "training.Trained", "fetch.Archive")},
    **{name: ERROR for name in (
        "experiments.checkpoints.CheckpointError", "fetch.FetchError", "fetch.IntegrityError", "idx.IDXError", "images.MissingImages",
        "labelled_points.TrainingPolicyInfeasible", "language.ClashError", "polish.InterpolationError", "records.RecordError")},
    **{name: COMMAND for name in ("embed.main", "fetch.main", "experiments.runner.main_list", "experiments.runner.main_show",
                                  "experiments.runner.main_run", "experiments.verify.main")},
    **{name: STEP for name in ("feasibility.training_layer", "refutations.two_class", "refutations.many_class", "refutations.linear_program")},
    **{name: LEDGER for name in (
        "claims.correlation_claim", "claims.null_claim", "claims.rival_claim", "claims.adversary_claim", "claims.flattest_claim",
        "claims.divergence_claim", "claims.pooled_claim", "claims.pooled_null_claim", "claims.dependence_claim", "claims.vanishing_claim",
        "claims.chapter_state", "claims.ledger", "claims.markdown", "claims.short_markdown")},
    **{name: UNITS for name in (
        "experiments.pair_proxy.train_networks", "experiments.pair_proxy.certify", "experiments.pair_proxy.measure", "experiments.vanishing.train_networks", "experiments.vanishing.measure", "experiments.vanishing.finite_trace", "experiments.scheduling.compute_unit", "experiments.scheduling.run_units", "experiments.runner.default_workers")},
    **{name: SUMMARY for name in ("experiments.pair_proxy.correlations", "experiments.pair_proxy.beside_published",
                                  "playground.interpolators_data")},
    **{name: FILES for name in (
        "experiments.checkpoints.Checkpoints", "experiments.runner.run_and_record", "experiments.verify.verify", "embed.embed", "fetch.fetch",
        "fetch.find", "fetch.install", "fetch.locate", "fetch.read", "fetch.verified", "images.load_pool", "records.provenance",
        "records.save_record", "records.write_atomically")},
    "device.default_dtype": "takes a torch.device",
    "measures.measure_all": "takes a Subject: each measure refuses by itself, and is tried where it is defined",
    "playground.movable": "writes a figure into a page",
    "point_demands.mixed_points": "takes two functions",
    "processes.single_threaded": "takes nothing",
    "tasks.is_child": "takes two tasks, which are checked when made",
}


def public():
    """Names of the public functions and classes of the package."""
    for info in pkgutil.walk_packages(flatness.__path__, "flatness."):
        if info.name.endswith("__main__") or info.name in MODULES:
            continue
        for name, value in vars(importlib.import_module(info.name)).items():
            made_here = not name.startswith("_") and getattr(value, "__module__", "") == info.name
            if made_here and (inspect.isclass(value) or callable(value) and inspect.isfunction(inspect.unwrap(value))):
                yield f"{info.name.removeprefix('flatness.')}.{name}"


def test_every_public_function_is_tried_or_exempt_with_a_reason():
    names = set(public())
    tried = {name for name in names if any(case == name or case.startswith(name + ".") for case in COVERED)}
    forgotten, gone, twice = names - tried - EXEMPT.keys(), EXEMPT.keys() - names, EXEMPT.keys() & (tried - {"images.Pool"})
    assert not forgotten, f"neither tried nor exempt: {', '.join(sorted(forgotten))}"
    assert not gone, f"exempt, but not there: {', '.join(sorted(gone))}"
    assert not twice, f"exempt, but tried: {', '.join(sorted(twice))}"
    assert not MODULES.keys() - {info.name for info in pkgutil.walk_packages(flatness.__path__, "flatness.")}


def test_every_case_names_something_public():
    names = set(public())
    assert not {case for case in COVERED if not any(case == name or case.startswith(name + ".") for name in names)}


def ones():
    return {"x": torch.ones(3, 2, dtype=torch.float64), "y": torch.arange(3.0, dtype=torch.float64)}


@pytest.mark.parametrize(("function", "build", "found"), [
    (lambda x, y: x.sum() + y.sum(), ones, "x: nan): accepted"),
    (lambda x, y: (x.sum(1) * y).sum(), ones, "y: one in axis 0): accepted"),
    (lambda x, y: (x.reshape(-1)[:3] + y).sum(), ones, "obscure RuntimeError"),
    (lambda x, y: torch.as_strided(x, (2,), (1,)) + y.sum(), ones, "x: strided): another result"),
    (lambda a: 1.0 / a if a else float("nan"), lambda: {"a": 2.0}, "a: 0.0): not finite"),
    (lambda a: a / 0 if a == 1.5 else a, lambda: {"a": 2.0}, "a: 1.5): obscure ZeroDivisionError"),
    (lambda n: n + 1, lambda: {"n": 2}, "n: 2.5): accepted"),
    (lambda word: len(str(word)), lambda: {"word": "it"}, "word: no such): accepted"),
    (lambda values: np.sum(values), lambda: {"values": np.ones(3)}, "values: inf): accepted"),
])
def test_the_trial_finds_what_is_wrong(function, build, found):
    assert any(found in defect for defect in defects(Case(function, build, "it"))[1])


def test_an_endless_call_is_found(monkeypatch):
    monkeypatch.setattr("bad_inputs.SECONDS", 1)

    def endless(n):
        while n == 0:
            pass

    assert "it(n: 0): no answer in 1 s" in defects(Case(endless, lambda: {"n": 2}, "it"))[1]


def test_the_trial_is_large():
    assert len(COVERED) > 250

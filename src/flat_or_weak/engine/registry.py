"""The experiments by name: what each is, its module, and its configuration at each scale."""

from __future__ import annotations

import dataclasses
from typing import Any

from flat_or_weak.engine.experiment import Experiment
from flat_or_weak.studies import (
    data_dependent_prior,
    factorial,
    full_extension,
    generality,
    head_to_head,
    interventions,
    noise_divergence,
    noise_draws,
    pair_proxy,
    part1,
    part1_certified,
    probe_sets,
    region_selection,
    right_answers,
    splits,
    vanishing,
)


def _pair_proxy(data: str) -> Experiment:
    config = pair_proxy.PairProxyConfig(data=data)
    return Experiment(
        f"100 networks on 250 {data} images: trace, weight norm, certified pair proxy "
        "(Paper B, 5.7-5.8)",
        pair_proxy,
        {"quick": dataclasses.replace(config, networks=10), "paper": config},
    )


def _part1(config: Any, about: str, **smaller: Any) -> Experiment:
    quick = dataclasses.replace(config, seeds=(0, 1), **smaller)
    return Experiment(about, part1, {"quick": quick, "paper": config})


def _interventions(about: str, **changes: Any) -> Experiment:
    config = dataclasses.replace(interventions.InterventionsConfig(), **changes)
    small: dict[str, Any] = {
        "splits": 1,
        "first_split": 42,
        "seeds": 2,
        "arms": interventions.ARMS[:4],
    }
    return Experiment(
        f"networks trained under a push on each ruler, or with SAM: {about} (c6)",
        interventions,
        {"quick": dataclasses.replace(config, **small), "paper": config},
    )


def _generality(about: str, **changes: Any) -> Experiment:
    small: dict[str, Any] = {"splits": 1, "networks": 4, "probes": 20} | changes
    return Experiment(
        f"the rulers of c3 on other networks and data: {about} (c7)",
        generality,
        {
            "quick": generality.EmbeddedConfig(**small),
            "paper": generality.GeneralityConfig(**changes),
        },
    )


EXPERIMENTS: dict[str, Experiment] = {
    "pair_proxy_mnist": _pair_proxy("mnist"),
    "pair_proxy_fashion": _pair_proxy("fashion-mnist"),
    "part1_interpolators": _part1(
        part1.InterpolatorsConfig(),
        "flatness and population loss of every interpolator, by target and n/d (a6, a7)",
        targets=("relu",),
        ratios=(2, 4),
        d=10,
        steps=300,
    ),
    "part1_adversary": _part1(
        part1.AdversaryConfig(),
        "the flattest badly generalising interpolator found, against n/d (a6)",
        targets=("three_relu",),
        ratios=(2, 4),
        d=10,
        steps=200,
        rounds=2,
    ),
    "part1_flattest": _part1(
        part1.FlattestConfig(),
        "population loss of the flattest interpolator found: samples, noise, input laws (a7, a8)",
        panels=tuple(
            (*panel[:3], panel[3][:1], panel[4][:1], (10,), (2, 4))
            for panel in part1.FlattestConfig.panels[:3]
        ),
        steps=300,
    ),
    "part1_certified": Experiment(
        "interpolators in three dimensions against the certified minimum of the flatness (a6, a7)",
        part1_certified,
        {
            "quick": part1_certified.CertifiedConfig(seeds=(0, 1), ratios=(2, 4)),
            "paper": part1_certified.CertifiedConfig(),
        },
    ),
    "noise_divergence": Experiment(
        "PAC-Bayes: the noise that trained weights bear, and its divergence from the start (b3)",
        noise_divergence,
        {
            "quick": noise_divergence.NoiseDivergenceConfig(
                settings=(("mnist", 250, 0),), networks=10
            ),
            "paper": noise_divergence.NoiseDivergenceConfig(),
        },
    ),
    "full_extension_mnist": Experiment(
        "joint labellings of ten probe points, estimated for the hundred MNIST networks (c4)",
        full_extension,
        {
            "quick": full_extension.FullExtensionConfig(networks=6, probes=6, runs=4),
            "paper": full_extension.FullExtensionConfig(),
        },
    ),
    "vanishing": Experiment(
        "small against large batches, 50 networks each at n = 500 and 2000 (Paper B, 5.1-5.4; b4)",
        vanishing,
        {
            "quick": vanishing.VanishingConfig(
                settings=((500, 4, (64, 0.05), (500, 0.5)),), pool="test", precision="float64"
            ),
            "paper": vanishing.VanishingConfig(settings=vanishing.VanishingConfig.settings[:2]),
        },
    ),
    "vanishing_large": Experiment(
        "the same at n = 6000 and 12,000, 50 networks each: an hour on two cores (b4)",
        vanishing,
        {
            "quick": vanishing.VanishingConfig(
                settings=((2000, 2, (64, 0.03), (2000, 0.5)),), pool="test", precision="float64"
            ),
            "paper": vanishing.VanishingConfig(settings=vanishing.VanishingConfig.settings[2:4]),
        },
    ),
    "vanishing_largest": Experiment(
        "the same at n = 24,000 and 60,000, 10 networks each: an hour on two cores (b4)",
        vanishing,
        {
            "quick": vanishing.VanishingConfig(
                settings=((2000, 2, (64, 0.03), (2000, 0.5)),), pool="test", precision="float64"
            ),
            "paper": vanishing.VanishingConfig(settings=vanishing.VanishingConfig.settings[4:]),
        },
    ),
    "splits": Experiment(
        "the hundred networks over 20 data splits of MNIST and Fashion-MNIST, every measure (c3)",
        splits,
        {"quick": splits.EmbeddedConfig(splits=1, networks=10), "paper": splits.SplitsConfig()},
    ),
    "right_answers": Experiment(
        "right answers of the splits' networks on twenty disjoint blocks of test images (c3)",
        right_answers,
        {
            "quick": right_answers.EmbeddedConfig(splits=1, networks=10),
            "paper": right_answers.RightAnswersConfig(),
        },
    ),
    "noise_draws": Experiment(
        "the noise divergence of some of the splits' networks with 30 and 200 draws (b3, c3)",
        noise_draws,
        {
            "quick": noise_draws.EmbeddedConfig(data=("mnist",), splits=1, networks=10),
            "paper": noise_draws.NoiseDrawsConfig(),
        },
    ),
    "sample_sizes": Experiment(
        "forty networks at n = 100, 500, 1000, over five splits each (c3)",
        splits,
        {
            "quick": splits.EmbeddedConfig(
                data=("mnist",), sizes=(100,), splits=1, networks=10, matched_loss=None
            ),
            "paper": splits.SplitsConfig(
                data=("mnist",), sizes=(100, 500, 1000), splits=5, networks=40, matched_loss=None
            ),
        },
    ),
    "sample_sizes_100": Experiment(
        "the hundred MNIST networks at n = 100, over the twenty splits of c3 (c3)",
        splits,
        {
            "quick": splits.EmbeddedConfig(
                data=("mnist",), sizes=(100,), splits=1, networks=10, matched_loss=None
            ),
            "paper": splits.SplitsConfig(data=("mnist",), sizes=(100,), matched_loss=None),
        },
    ),
    **{
        f"sample_sizes_{n}": Experiment(
            f"the hundred MNIST networks at n = {n}, over ten of the splits of c3 (c3)",
            splits,
            {
                "quick": splits.EmbeddedConfig(
                    data=("mnist",), sizes=(100,), splits=1, networks=10, matched_loss=None
                ),
                "paper": splits.SplitsConfig(
                    data=("mnist",), sizes=(n,), splits=10, matched_loss=None
                ),
            },
        )
        for n in (500, 1000)
    },
    "probe_sets": Experiment(
        "the pair proxy of the hundred networks on three draws of probe points (c3)",
        probe_sets,
        {
            "quick": probe_sets.ProbeSetsConfig(data=("mnist",), probe_seeds=(99, 100), networks=6),
            "paper": probe_sets.ProbeSetsConfig(),
        },
    ),
    "factorial": Experiment(
        "batch size x learning rate x stopping rule at n = 500 and 2000 (c3)",
        factorial,
        {
            "quick": factorial.FactorialConfig(
                sizes=((500, 3),), max_epochs=1500, precision="float64"
            ),
            "paper": factorial.FactorialConfig(),
        },
    ),
    "factorial_large": Experiment(
        "the same at n = 6000, three networks a cell (c3)",
        factorial,
        {
            "quick": factorial.FactorialConfig(
                sizes=((500, 2),), max_epochs=1500, precision="float64"
            ),
            "paper": factorial.FactorialConfig(sizes=((6000, 3),)),
        },
    ),
    "region_selection": Experiment(
        "300 networks 784-64-16-10 by regions, norms and trace (Paper B, 5.5-5.6; b5)",
        region_selection,
        {
            "quick": region_selection.RegionSelectionConfig(networks=50, pool="embedded"),
            "paper": region_selection.RegionSelectionConfig(),
        },
    ),
    "region_selection_fresh": Experiment(
        "900 more of them, for one test fixed beforehand (b5)",
        region_selection,
        {
            "quick": region_selection.RegionSelectionConfig(
                networks=50, first_seed=300, pool="embedded"
            ),
            "paper": region_selection.RegionSelectionConfig(networks=900, first_seed=300),
        },
    ),
    "head_to_head": Experiment(
        "twenty-one measures of the hundred networks of each data set (c2)",
        head_to_head,
        {
            "quick": head_to_head.HeadToHeadConfig(networks=10),
            "paper": head_to_head.HeadToHeadConfig(),
        },
    ),
    "interventions": _interventions("MNIST, two seeds of ten splits"),
    "interventions_fashion": _interventions(
        "Fashion-MNIST, half of the arms", data=("fashion-mnist",), arms=interventions.CORE
    ),
    "interventions_fashion_rest": _interventions(
        "Fashion-MNIST, the other arms", data=("fashion-mnist",), arms=interventions.REST
    ),
    "interventions_more": _interventions(
        "28 more seeds of both data sets",
        data=("mnist", "fashion-mnist"),
        first_seed=2,
        seeds=28,
    ),
    "generality_images": _generality("wider, deeper and convolutional networks on MNIST"),
    "generality_tables": _generality("two tables of digits", settings=generality.TABLES),
    "data_dependent_prior": Experiment(
        "a PAC-Bayes bound with a prior from half of the data, n = 10,000 (c7)",
        data_dependent_prior,
        {
            "quick": data_dependent_prior.EmbeddedConfig(n=2000, splits=1, networks=4, samples=50),
            "paper": data_dependent_prior.DataDependentPriorConfig(),
        },
    ),
}

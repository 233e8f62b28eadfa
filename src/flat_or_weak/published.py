"""The numbers that Paper B prints, for putting ours beside them. Data only, nothing here is
computed.

Source: M. T. Bennett, arXiv:2605.05209 (2026); the section is named at each table. A pair (rho, p)
is a rank correlation with test accuracy over networks and its two-sided p-value. Accuracies are
fractions of the 10,000 test images unless a name says per cent. Regimes are called "small" and
"large" after their batch size.
"""

from typing import Any

# sections 5.7 and 5.8: 100 networks 784-64-8-10 per data set
PAIR_PROXY: dict[str, dict[str, Any]] = {
    "mnist": {
        "trace": (-0.226, 0.024),
        "weight_norm": (0.019, 0.848),
        "pair_proxy": (0.374, 1.2e-4),
        "stored_mean": 0.7625,
        "stored_sd": 0.0173,
        "text_mean": 0.80,
        "pair_proxy_range": (647, 968),
    },
    "fashion-mnist": {
        "trace": (-0.241, 0.016),
        "weight_norm": (-0.226, 0.024),
        "pair_proxy": (0.384, 8.15e-5),
        "stored_mean": 0.7311,
        "stored_sd": 0.0119,
        "text_mean": 0.718,
    },
}  # stored_...: the accuracies of the single networks in the author's repository; text_mean: 5.8

VANISHING_NETWORKS = 25  # per regime and size

# sections 5.1-5.4: n -> accuracies in per cent, difference in points, mean Hutchinson traces
VANISHING = {
    500: dict(small_pct=85.3, large_pct=86.5, difference=1.2, trace_small=52.5, trace_large=20.6),
    2000: dict(small_pct=90.4, large_pct=92.0, difference=1.6, trace_small=59.5, trace_large=23.1),
    6000: dict(small_pct=94.0, large_pct=94.9, difference=1.0, trace_small=61.9, trace_large=25.9),
    12000: dict(small_pct=96.0, large_pct=96.5, difference=0.5, trace_small=44.8, trace_large=23.9),
    24000: dict(
        small_pct=97.0, large_pct=97.1, difference=0.08, trace_small=39.1, trace_large=38.2
    ),
    60000: dict(
        small_pct=98.0, large_pct=98.0, difference=0.02, trace_small=30.1, trace_large=26.0
    ),
}

VANISHING_ACCURACY = {  # summaries of the author's stored results: n -> (mean, standard deviation)
    500: {"small": (0.8530, 0.0022), "large": (0.8651, 0.0026)},
    2000: {"small": (0.9043, 0.0014), "large": (0.9200, 0.0014)},
    6000: {"small": (0.9396, 0.0013), "large": (0.9494, 0.0011)},
    12000: {"small": (0.9595, 0.0009), "large": (0.9647, 0.0011)},
    24000: {"small": (0.9700, 0.0009), "large": (0.9708, 0.0008)},
    60000: {"small": (0.9802, 0.0008), "large": (0.9804, 0.0007)},
}

LARGE_BATCH_NOT_FITTED = {
    2000: 1,
    24000: 23,
    60000: 4,
}  # of 25; stopped short of 100 % training accuracy

WELCH_P = {24000: 0.002}  # of the accuracy difference

# sections 5.2-5.4: n -> rho with test accuracy over the 50 networks of both regimes
VANISHING_RHO = {
    500: {"trace": -0.75, "layer1_patterns": 0.11, "layer2_patterns": 0.76, "agreement": -0.85},
    2000: {"trace": -0.82, "layer1_patterns": 0.08, "layer2_patterns": 0.73, "agreement": -0.88},
    6000: {"trace": -0.78, "layer1_patterns": 0.40, "layer2_patterns": 0.78, "agreement": -0.86},
    12000: {"trace": -0.84, "layer1_patterns": 0.22, "layer2_patterns": 0.77, "agreement": -0.90},
    24000: {"trace": 0.01, "layer1_patterns": 0.06, "layer2_patterns": 0.39, "agreement": -0.40},
    60000: {"trace": 0.05, "layer2_patterns": 0.05, "agreement": -0.81},  # layer 1 is not printed
}

REPARAMETRISATION = {  # App. G: network 0 trained on 6000 images; scale -> Hutchinson trace
    "T_beta": {1: 66.1, 2: 81.3, 5: 388.8, 10: 1607.1, 20: 6525.9},
    "T_gamma": {1: 62.9, 5: 255.2, 20: 3378.9},
    "test_accuracy": 0.9392,
    "layer1_patterns": 63998,
    "layer2_patterns": 51348,
    "max_inflation": 99,
}

MODEL_SELECTION_NETWORKS = 300

MODEL_SELECTION = {  # sections 5.5-5.6, App. H: 300 networks 784-64-16-10, n = 250
    "trace": (-0.079, 0.174),
    "weight_l2": (-0.061, 0.293),
    "weight_l1": (0.011, 0.845),
    "layer2_unseen_patterns": (0.113, 0.050),
    "free_parameters": (0.067, 0.249),
    "unseen_only_regions": (0.117, 0.043),
}

"""The numbers that Paper B prints, for putting ours beside them.

Source: M. T. Bennett, arXiv:2605.05209 (2026), sections 5.7 and 5.8: Spearman correlations over 100 networks per data set,
each as (rho, p), and summaries of test accuracy and pair proxy.
"""

PAIR_PROXY = {
    "mnist": {
        "trace": (-0.226, 0.024), "weight_norm": (0.019, 0.848), "pair_proxy": (0.374, 1.2e-4),
        "accuracy_mean": 0.7625, "accuracy_sd": 0.0173, "pair_proxy_range": (647, 968),
    },
    "fashion-mnist": {
        "trace": (-0.241, 0.016), "weight_norm": (-0.226, 0.024), "pair_proxy": (0.384, 8.15e-5), "accuracy_mean": 0.718,
    },
}

"""Every claim of the two abstracts, and of this book, with the function that judges it.

The abstracts of arXiv:2606.04429 (A) and arXiv:2605.05209 (B) are taken sentence by sentence, in
our words; the number after the letter counts the sentences of the abstract that make a claim.
"""

from flat_or_weak.claims import (
    Claim,
    adversary_claim,
    correlation_claim,
    dependence_claim,
    divergence_claim,
    flattest_claim,
    null_claim,
    pooled_claim,
    pooled_null_claim,
    proved,
    rival_claim,
    vanishing_claim,
)

PAPER_A = [
    Claim(
        "Symmetries make any interpolator sharper or flatter without changing a loss, which empties the heuristic that flat ones "
        "generalise",
        "A1",
        "a4_symmetry",
        proved(
            "a4_symmetry",
            "sharper: always, by any factor. Flatter: only down to the orbit minimum F*, a closed form that no "
            "rescaling lowers",
            "conditional",
        ),
    ),
    Claim(
        "For two-layer homogeneous networks and multi-index models, flatness and generalisation are connected all the same",
        "A2",
        "a5_norm",
        proved(
            "a5_norm",
            "through a norm: F* is the variation norm up to constants once n > C d; for ReLU from n = 2d on",
        ),
    ),
    Claim(
        "A natural class of interpolators that do not generalise cannot be made nearly as flat as the flattest, even by symmetries",
        "A3",
        "a6_nongeneralising",
        adversary_claim(),
    ),
    Claim(
        "For sums of single-index models, low approximation error and low noise, any flattest interpolator has small population loss",
        "A4",
        "a7_flattest",
        flattest_claim("samples"),
    ),
    Claim(
        "This holds for a large class of activations and realistic input distributions",
        "A5",
        "a7_flattest",
        proved(
            "a7_flattest",
            "theorem for every homogeneous activation of degree p and the input laws of a2, with worse sample sizes "
            "for p > 1; measured for Gaussian and product laws",
        ),
    ),
]

PAPER_B = [
    Claim(
        "A change of parameters that preserves the function inflates the Hessian of any minimum a hundredfold, and no prediction changes",
        "B1",
        "b3_invariance_pacbayes",
        proved(
            "b3_invariance_pacbayes",
            "true, by any factor, for every network with a live hidden unit",
        ),
    ),
    Claim(
        "What can be manufactured from nothing cannot be a cause: so flatness is none",
        "B2",
        "c1_invariant_flatness",
        proved(
            "c1_invariant_flatness",
            "does not follow: the smallest trace on the rescaling orbit cannot be manufactured by rescaling, "
            "and exists, unique and computable, for deep ReLU networks",
            "false",
        ),
    ),
    Claim(
        "The driver is weakness: the pair proxy adds to what simpler facts about the features tell (MNIST)",
        "B3",
        "c3_confounds",
        pooled_claim("mnist", "pair_proxy | effective_rank, active_units, train_loss", +1),
    ),
    Claim(
        "... and on Fashion-MNIST",
        "B3",
        "c3_confounds",
        pooled_claim("fashion-mnist", "pair_proxy | effective_rank, active_units, train_loss", +1),
    ),
    Claim(
        "Weakness does not change with the parametrisation, being defined by what the network does",
        "B4",
        "b3_invariance_pacbayes",
        proved(
            "b3_invariance_pacbayes",
            "true for vocabularies over input-output behaviour; the pair proxy is not one: unread units "
            "change it while the function stands still",
            "conditional",
        ),
    ),
    Claim(
        "Weakness is minimax-optimal under exchangeable demands",
        "B5",
        "b2_continuous",
        proved(
            "b2_continuous",
            "true for demands that avoid null sets; each hypothesis with a counterexample without it",
            "conditional",
        ),
    ),
    Claim(
        "PAC-Bayes bounds work because they follow weakness: given the pair proxy and the effective rank, the divergence of PAC-Bayes "
        "tells no more (MNIST)",
        "B6",
        "c3_confounds",
        pooled_null_claim("mnist", "noise_divergence | pair_proxy, effective_rank"),
    ),
    Claim(
        "... and on Fashion-MNIST",
        "B6",
        "c3_confounds",
        pooled_null_claim("fashion-mnist", "noise_divergence | pair_proxy, effective_rank"),
    ),
    Claim(
        "The advantage of large batches is 1.6 points at n = 2,000",
        "B7",
        "b4_vanishing",
        vanishing_claim(2000),
    ),
    Claim("... and has vanished at n = 60,000", "B7", "b4_vanishing", vanishing_claim(60000)),
    Claim(
        "What predicts only at some sample sizes is a confounder: the pair proxy's correlation does not depend on n",
        "B8",
        "c3_confounds",
        dependence_claim("pair_proxy", ("splits", "mnist n=250"), ("sample_sizes", "mnist n=1000")),
    ),
    Claim(
        "Weakness predicts generalisation on MNIST, rho = +0.374",
        "B9",
        "b6_pair_proxy",
        correlation_claim("pair_proxy_mnist", "mnist", "pair_proxy"),
    ),
    Claim(
        "... over new data splits", "B9", "c3_confounds", pooled_claim("mnist", "pair_proxy", +1)
    ),
    Claim(
        "Sharpness anticorrelates there, rho = -0.226",
        "B9",
        "b6_pair_proxy",
        correlation_claim("pair_proxy_mnist", "mnist", "trace"),
    ),
    Claim("... over new data splits", "B9", "c3_confounds", pooled_claim("mnist", "trace", -1)),
    Claim(
        "Simplicity, the norm of the weights, predicts nothing there (p = 0.848)",
        "B9",
        "b6_pair_proxy",
        null_claim("pair_proxy_mnist", "weight_norm"),
    ),
    Claim(
        "... over new data splits", "B9", "c3_confounds", pooled_null_claim("mnist", "weight_norm")
    ),
    Claim(
        "Weakness predicts on Fashion-MNIST, rho = +0.384",
        "B10",
        "b6_pair_proxy",
        correlation_claim("pair_proxy_fashion", "fashion-mnist", "pair_proxy"),
    ),
    Claim(
        "... over new data splits",
        "B10",
        "c3_confounds",
        pooled_claim("fashion-mnist", "pair_proxy", +1),
    ),
    Claim(
        "Simplicity predicts somewhat there, rho = -0.226",
        "B10",
        "b6_pair_proxy",
        correlation_claim("pair_proxy_fashion", "fashion-mnist", "weight_norm"),
    ),
    Claim(
        "Simplicity depends on the data set, weakness does not: the pair proxy's correlation is the same on both",
        "B11",
        "c3_confounds",
        dependence_claim(
            "pair_proxy", ("splits", "mnist n=250"), ("splits", "fashion-mnist n=250")
        ),
    ),
    Claim(
        "... and that of the weight norm differs",
        "B11",
        "c3_confounds",
        dependence_claim(
            "weight_norm",
            ("splits", "mnist n=250"),
            ("splits", "fashion-mnist n=250"),
            claimed=True,
        ),
    ),
    Claim(
        "Flat minima were never the answer: given the training loss, the trace tells nothing (MNIST)",
        "B12",
        "c3_confounds",
        pooled_null_claim("mnist", "trace | train_loss"),
    ),
    Claim(
        "... and the orbit-minimal trace tells nothing (MNIST)",
        "B12",
        "c3_confounds",
        pooled_null_claim("mnist", "orbit_trace | train_loss"),
    ),
    Claim(
        "... and neither on Fashion-MNIST: the trace",
        "B12",
        "c3_confounds",
        pooled_null_claim("fashion-mnist", "trace | train_loss"),
    ),
    Claim(
        "... the orbit-minimal trace",
        "B12",
        "c3_confounds",
        pooled_null_claim("fashion-mnist", "orbit_trace | train_loss"),
    ),
]

OURS = [
    Claim(
        "The trace of the Hessian of a ReLU network is a closed form",
        "ours",
        "a3_trace",
        proved(
            "a3_trace",
            "equal to the dense Hessian in every block; it does not depend on the labels",
        ),
    ),
    Claim(
        "A3 holds for every interpolator of a network target (p = 1, no noise)",
        "ours",
        "a6_nongeneralising",
        proved(
            "a6_nongeneralising",
            "F* ratio at least of order (n/d)^(1/4), proved; (n/d)^(1/2) up to logarithms by a cited theorem",
        ),
    ),
    Claim(
        "A4 fails when the target is far from the class (three tanh links)",
        "ours",
        "a7_flattest",
        flattest_claim("approximation"),
    ),
    Claim(
        "With biases, or with n < 2d, memorising every sample is a flattest solution",
        "ours",
        "a8_limits",
        proved("a8_limits", "the memoriser attains the lower bound on F*"),
    ),
    Claim(
        "The weakest correct policy is the most likely to survive further demands (finite case)",
        "Paper B",
        "b1_language",
        proved(
            "b1_language",
            "true for exchangeable demands if surviving means that the demands are completions of the policy; "
            "exceptions are shown where they are not exchangeable",
            "conditional",
        ),
    ),
    Claim(
        "The effective rank of the features, which counts no completions, does at least as well as the pair proxy (MNIST)",
        "ours",
        "c2_head_to_head",
        rival_claim("pair_proxy_mnist", "effective_rank", "pair_proxy"),
    ),
    Claim(
        "... and on Fashion-MNIST",
        "ours",
        "c2_head_to_head",
        rival_claim("pair_proxy_fashion", "effective_rank", "pair_proxy"),
    ),
    Claim(
        "The effective rank adds to the pair proxy, over new splits (MNIST)",
        "ours",
        "c3_confounds",
        pooled_claim("mnist", "effective_rank | pair_proxy", +1),
    ),
    Claim(
        "... and on Fashion-MNIST",
        "ours",
        "c3_confounds",
        pooled_claim("fashion-mnist", "effective_rank | pair_proxy", +1),
    ),
    Claim(
        "The divergence of the noise that trained weights bear, a PAC-Bayes flatness, correlates with test accuracy",
        "ours",
        "b3_invariance_pacbayes",
        divergence_claim(),
    ),
    Claim(
        "... over new splits (MNIST)",
        "ours",
        "c3_confounds",
        pooled_claim("mnist", "noise_divergence", -1),
    ),
    Claim(
        "... and on Fashion-MNIST",
        "ours",
        "c3_confounds",
        pooled_claim("fashion-mnist", "noise_divergence", -1),
    ),
]

CLAIMS = [*PAPER_A, *PAPER_B, *OURS]

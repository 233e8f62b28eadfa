"""The rows of this book's own claims."""

from flat_or_weak.rulebook.elsewhere import elsewhere, of_the_bound
from flat_or_weak.rulebook.estimates import (
    BATCH_EFFECT,
    DIVERGENCE,
    among_measures,
    flattest_loss,
    matched_pairs,
    pushed,
)
from flat_or_weak.rulebook.over_splits import over_splits, stronger
from flat_or_weak.rulebook.row import (
    Row,
    above,
    driven,
    named,
    negative,
    present,
    stronger_than,
    theorem,
)
from flat_or_weak.rulebook.rules import POINTS_MARGIN

C2, C3, C5 = "c2_head_to_head", "c3_confounds", "c5_verdict"
C6, C7 = "c6_interventions", "c7_generality"


def _intervention(arm: str) -> Row:
    return driven("ours", C6, pushed(arm), "interventions")


OURS = named(
    {
        "The trace of the Hessian of a ReLU network is a closed form": theorem(
            "ours",
            "a3_trace",
            "true",
            "equal to the dense Hessian in every block; it does not depend on the labels",
            "np.allclose(exact, dense, rtol=1e-10)",
            "np.isclose(sum(dense), sum(other), rtol=1e-10)",
        ),
        "A3 holds for every interpolator of a network's noiseless labels (degree 1)": theorem(
            "ours",
            "a6_nongeneralising",
            "true",
            "F* ratio at least of order (n/d)^(1/4), proved; (n/d)^(1/2) up to logarithms by a "
            "cited theorem. With the proved constants it exceeds 1 only at astronomical n/d",
            "(implied * implied.index**0.5 <= 32 * 8 / 3 * 7**0.5).all()",
        ),
        "A4 fails when the target is far from the class (three tanh links)": above(
            "ours", "a7_flattest", flattest_loss("approximation"), "ledger", form=".2g", found=True
        ),
        "With biases on a sphere, or n <= d, memorising each sample is a flattest choice": theorem(
            "ours",
            "a8_limits",
            "true under conditions",
            "the memoriser attains the lower bound on F* (for d < n < 2d too, where every sample "
            "has a private neuron); that it does not learn is proved for the "
            "input laws that a8 names",
            "(abs(exists.memoriser - 1) < 1e-9).all() and (exists.teacher > 1).all()",
            "abs(over.item() - 1) < 1e-9 and residual.item() < 1e-18",
        ),
        "Neither ruler bounds the other: at one function F* moves while the count of completions "
        "stands, and the other way round": theorem(
            "ours",
            C5,
            "true",
            "two-layer ReLU networks; both parts fix the function, a relation across functions is "
            "open",
            "pair[2].total == base[2].total and base[2].total < 2**k",
            "abs(unread[1] - base[1]) < 1e-12 * base[1] and unread[2].total == 2**k",
        ),
        "The effective rank, which counts no completions, predicts better than the pair proxy": (
            stronger_than("ours", C3, stronger("effective_rank", "pair_proxy", signs=(1, 1)))
        ),
        "The noise divergence, a PAC-Bayes flatness, goes with test accuracy in every setting": (
            negative("ours", "b3_invariance_pacbayes", DIVERGENCE, "ledger")
        ),
        "The noise divergence goes with test accuracy over new splits": (
            negative("ours", C3, over_splits("noise_divergence"), "plan")
        ),
        "Adaptive sharpness, a flatness that no rescaling changes, goes with test accuracy": (
            negative("ours", C2, among_measures("adaptive_trace"))
        ),
        "The weight norm tells more than the number of epochs, a clock": (
            negative("ours", C3, over_splits("weight_norm", "epochs"))
        ),
        "The number of epochs tells more than the weight norm": (
            negative("ours", C3, over_splits("epochs", "weight_norm"))
        ),
        "At equal learning rate the large batch is the less accurate one, at every n tried": (
            negative("ours", C3, BATCH_EFFECT, limit=POINTS_MARGIN)
        ),
        "Training that raises the effective rank of the features raises accuracy": (
            _intervention("effective_rank up")
        ),
        "Training that lowers the effective rank of the features costs accuracy": (
            _intervention("effective_rank down, gently")
        ),
        "Training that raises the pair proxy raises accuracy": (
            _intervention("pair_proxy up, strongly")
        ),
        "Training that lowers the pair proxy costs accuracy": _intervention("pair_proxy down"),
        "Training that lowers the trace raises accuracy": _intervention("trace down"),
        "Training that raises the trace costs accuracy": _intervention("trace up"),
        "Training that lowers the orbit-minimal trace raises accuracy": (
            _intervention("orbit_trace down")
        ),
        "Training that lowers the noise divergence raises accuracy": (
            _intervention("noise_divergence down, strongly")
        ),
        "Training that lowers the weight norm raises accuracy": _intervention("weight_norm down"),
        "Training that raises the weight norm costs accuracy": _intervention("weight_norm up"),
        "Of two networks with equal rank and loss, the one with more feasible pairs is more "
        "accurate": present("ours", C6, matched_pairs("pair_proxy"), limit=POINTS_MARGIN),
        "Of two networks with equally many feasible pairs and equal loss, the one of higher "
        "rank is more accurate": (
            present("ours", C6, matched_pairs("effective_rank"), limit=POINTS_MARGIN)
        ),
        "In other networks and on other data the pair proxy goes with test accuracy": (
            present("ours", C7, elsewhere("pair_proxy"), "generality")
        ),
        "In other networks and on other data the read proxy, a count that belongs to the "
        "function, goes with test accuracy": (
            present("ours", C7, elsewhere("read_proxy"), "generality")
        ),
        "In other networks and on other data the effective rank goes with test accuracy": (
            present("ours", C7, elsewhere("effective_rank"), "generality")
        ),
        "In other networks and on other data the noise divergence goes with test accuracy": (
            negative("ours", C7, elsewhere("noise_divergence"), "generality")
        ),
        "In other networks and on other data the trace goes with test accuracy": (
            negative("ours", C7, elsewhere("trace"), "generality")
        ),
        "In other networks and on other data the orbit-minimal trace goes with test accuracy": (
            negative("ours", C7, elsewhere("orbit_trace"), "generality")
        ),
        "In other networks and on other data the weight norm goes with test accuracy": (
            negative("ours", C7, elsewhere("weight_norm"), "generality")
        ),
        "A PAC-Bayes bound that is not vacuous, with a prior from half of the data, orders "
        "networks": negative("ours", C7, of_the_bound("bound"), "generality"),
        "The empirical term of that bound orders networks beyond it": (
            negative("ours", C7, of_the_bound("empirical | bound"))
        ),
        "That bound orders networks beyond its empirical term": (
            negative("ours", C7, of_the_bound("bound | empirical"), "generality")
        ),
    },
    {
        "A4 fails": "A4 fails when the target is far from the class",
        "Neither": "Neither ruler bounds the other",
        "Training that raises the effective": "Training for a higher effective rank gains accuracy",
        "Training that raises the pair": "Training for a higher pair proxy gains accuracy",
        "Training that lowers the trace": "Training for a smaller trace gains accuracy",
        "The effective rank": "The effective rank predicts better than the pair proxy",
        "The noise divergence goes": "The noise divergence, a PAC-Bayes flatness, predicts",
        "At equal": "At equal learning rate the large batch is worse",
    },
)

"""The rows of Paper A's abstract (arXiv:2606.04429), A1 to A5 sentence by sentence, in our words,
and of the premise that both papers start from.
"""

from flat_or_weak.rulebook.estimates import SHARPNESS_AWARE, adversary_slopes, flattest_loss
from flat_or_weak.rulebook.over_splits import at_matched_loss
from flat_or_weak.rulebook.row import below, named, negative, present, theorem
from flat_or_weak.rulebook.rules import POINTS_MARGIN

C3, C6 = "c3_confounds", "c6_interventions"
A6, A7 = "a6_nongeneralising", "a7_flattest"

PREMISE = named(
    {
        "Training that seeks flat regions (sharpness-aware) is more accurate": (
            present("both", C6, SHARPNESS_AWARE, "interventions", limit=POINTS_MARGIN)
        ),
        "At one training loss, a smaller trace goes with better accuracy": (
            negative("both", C3, at_matched_loss("matched_trace"), "plan")
        ),
        "At one training loss, a smaller orbit-minimal trace goes with better accuracy": (
            negative("both", C3, at_matched_loss("matched_orbit_trace"), "plan")
        ),
    },
    {
        "At one training loss, a smaller trace": "At one training loss, flatter is better (trace)",
    },
)

PAPER_A = named(
    {
        "Symmetries make any interpolator sharper or flatter at the same loss, which empties the "
        "heuristic that flat ones generalise": theorem(
            "A1",
            "a4_symmetry",
            "true under conditions",
            "sharper by any factor; flatter only down to the orbit minimum F*, a closed form that "
            "no rescaling lowers",
            "traces.max() / traces.min() > 1e4 and max(changes) == 0.0",
            "traces.min() >= start * (1 - 1e-12)",
        ),
        "For two-layer homogeneous networks and multi-index models, flatness and generalisation "
        "are connected all the same": theorem(
            "A2",
            "a5_norm",
            "true under conditions",
            "through a norm: F* is the variation norm up to constants once n > C d (ReLU: from "
            "n = 2d on); as a ratio for noiseless labels of a network and degree 1",
            "all(low * 0.999 <= v.min() and v.max() <= top for v in values.values())",
        ),
        "Interpolators that do not generalise cannot be made nearly as flat as the flattest: the "
        "ratio of their F* grows with n/d": (
            present("A3", A6, adversary_slopes(), "ledger", limit=0.1, found=True)
        ),
        "For sums of single-index models, low noise and approximation error, a flattest "
        "interpolator has small population loss": (
            below("A4", A7, flattest_loss("samples"), "ledger", form=".2g", found=True)
        ),
        "This holds for a large class of activations and realistic input distributions": theorem(
            "A5",
            A7,
            "true under conditions",
            "small loss: every homogeneous activation and the input laws of a2, with worse sample "
            "sizes above degree 1; the ratio of A3: degree 1",
            "(both.relative < 0.02).all() and (activations.over_teacher < 1.2).all()",
        ),
    },
    {
        "Symmetries": "Symmetries make any solution sharper or flatter",
        "For two-layer": "Flatness and generalisation are connected all the same",
        "Interpolators": "Bad interpolators cannot be made nearly as flat as the flattest",
        "For sums": "The flattest interpolators have small population loss",
        "This holds": "A3 and A4 hold for many activations and input laws",
    },
)

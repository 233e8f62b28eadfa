"""The rows of Paper B's abstract (arXiv:2605.05209), B1 to B12 sentence by sentence, in our words,
with the inferences that its text draws.
"""

from flat_or_weak.rulebook.estimates import PRINTED_P, gap, hundred
from flat_or_weak.rulebook.over_splits import (
    at_sizes,
    between_data_sets,
    over_sizes,
    over_splits,
    stronger,
)
from flat_or_weak.rulebook.row import (
    absent,
    arithmetic,
    either_sign,
    inference,
    named,
    negative,
    present,
    replicated,
    stronger_than,
    theorem,
)
from flat_or_weak.rulebook.rules import POINTS_MARGIN

C1, C3, C5 = "c1_invariant_flatness", "c3_confounds", "c5_verdict"
B1, B2, B3, B4, B6 = (
    "b1_language",
    "b2_continuous",
    "b3_invariance_pacbayes",
    "b4_vanishing",
    "b6_pair_proxy",
)
MNIST, FASHION = ("MNIST",), ("Fashion-MNIST",)

THEORY = {
    "A change of parameters that keeps the function inflates the Hessian of any minimum a "
    "hundredfold, and no prediction changes": theorem(
        "B1",
        B3,
        "true under conditions",
        "by any factor, for a network with a unit of the last hidden layer that is live on the "
        "data (where that layer is dead, live units below it do not help)",
        "max(errors) < 1e-10 and min(rows['T_beta', 20]) > 50",
        "all(flips == 0 for flips, _, _ in changed.values())",
    ),
    "What can be manufactured from nothing cannot be a cause: so flatness is none": inference(
        "B2",
        C5,
        "does not follow",
        "the same step would remove the pair proxy: units that nothing reads manufacture its "
        "count, as a cancelling pair manufactures any F*, at a fixed function. It touches neither "
        "the infimum of F* over all representations nor weakness over behaviour",
        "pair[1] > 1000 * base[1]",
        "unread[2].total == 2**k",
        (C1, "cancelling.max() > 1.01"),
    ),
    "Flat is simple, and simplicity depends on the encoding: so neither explains": inference(
        "B2",
        B1,
        "does not follow",
        "weakness depends on its vocabulary too: a synonym, which changes nothing that can be "
        "said, reverses the order by weakness. The step removes all three or none",
        "sings in selection.weakest(same_child)",
        "statement(lang, ['flies', 'lays']) in selection.weakest(child)",
    ),
    "Weakness does not change with the parametrisation: it is defined by behaviour": theorem(
        "B4",
        B3,
        "true under conditions",
        "for vocabularies over input-output behaviour; the pair proxy is not one: units that "
        "nothing reads change it while the function stands still",
        "spreads['weakness, programs over behaviour'] == 0",
        "[v.pair_proxy for v in verdicts.values()] == [1, 1, 2]",
    ),
    "Weakness is minimax-optimal under exchangeable demands": theorem(
        "B5",
        B2,
        "true under conditions",
        "if a weakest policy exists and demands avoid null sets. Without a bound on the mean "
        "number of demands the value is 0, and every policy short of full measure attains it; with "
        "one, only the weakest do. Without exchangeability, or with unequal atoms, it can lose",
        "G.min(axis=1).max() == G.max(axis=0).min()",
        "(best == 'q2') == law.exchangeable",
        "broken[1, 1, 1, 1] == 0",
    ),
    "The weakest correct policy is the most likely to survive demands (finite case)": theorem(
        "B5",
        B1,
        "true under conditions",
        "for exchangeable demands, if surviving means that the demands are completions of the "
        "policy, which is the paper's definition",
        "n_exact == n_policies and n_best_are_weakest == n_tasks",
        "(max(s) == 1) == (name != 'not exchangeable')",
    ),
}

DRIVER = {
    "The driver is weakness: the pair proxy tells more than the effective rank does": (
        present("B3", C3, over_splits("pair_proxy", "effective_rank"), "plan")
    ),
    "... and the other way round: the effective rank tells more than the pair proxy does": (
        present("B3", C3, over_splits("effective_rank", "pair_proxy"), "plan")
    ),
    "... the pair proxy given effective rank and training loss": (
        present("B3", C3, over_splits("pair_proxy", "effective_rank", "train_loss"))
    ),
    "... the effective rank given pair proxy and training loss": (
        present("B3", C3, over_splits("effective_rank", "pair_proxy", "train_loss"))
    ),
    "... the pair proxy given the number of active units (the two correlate at .83 to .86)": (
        present("B3", C3, over_splits("pair_proxy", "active_units"), "plan")
    ),
    "... the number of active units given the pair proxy": (
        present("B3", C3, over_splits("active_units", "pair_proxy"))
    ),
    "... the pair proxy given effective rank, active units and training loss": present(
        "B3", C3, over_splits("pair_proxy", "effective_rank", "active_units", "train_loss"), "plan"
    ),
    "... the effective rank given pair proxy, active units and training loss": (
        present("B3", C3, over_splits("effective_rank", "pair_proxy", "active_units", "train_loss"))
    ),
    "... the pair proxy given the training loss": (
        present("B3", C3, over_splits("pair_proxy", "train_loss"), "plan")
    ),
    "... the training loss given the pair proxy": (
        either_sign("B3", C3, over_splits("train_loss", "pair_proxy"))
    ),
    "... the pair proxy given the trace": (present("B3", C3, over_splits("pair_proxy", "trace"))),
    "... the trace given the pair proxy": (
        negative("B3", C3, over_splits("trace", "pair_proxy"), "plan")
    ),
    "PAC-Bayes works because it follows weakness: given pair proxy and effective rank, the noise "
    "divergence tells nothing more": absent(
        "B6", C3, over_splits("noise_divergence", "pair_proxy", "effective_rank"), "results"
    ),
    "... the pair proxy given noise divergence and effective rank": (
        present("B6", C3, over_splits("pair_proxy", "noise_divergence", "effective_rank"))
    ),
    "... the pair proxy given the noise divergence": (
        present("B6", C3, over_splits("pair_proxy", "noise_divergence"), "plan")
    ),
    "... the noise divergence given the pair proxy": (
        negative("B6", C3, over_splits("noise_divergence", "pair_proxy"))
    ),
}

SIZES = {
    "The advantage of large batches is 1.6 points at n = 2,000": (
        replicated("B7", B4, gap(2000), "paper")
    ),
    "... and has vanished at n = 60,000": (
        absent("B7", B4, gap(60000), "paper", limit=POINTS_MARGIN)
    ),
    "What predicts at some sample sizes only is a confounder": inference(
        "B8",
        C5,
        "does not follow",
        "a cause whose effect shrinks as the error does loses its correlation as n grows, and "
        "stays the cause",
        "shrinking[100].rho > 0.5 and abs(shrinking[100_000].rho) < 0.1",
        "np.allclose(gained, 10 / 100_000)",
    ),
    "... held against weakness: the pair proxy predicts at every n tried (MNIST)": (
        present("B8", C3, at_sizes("pair_proxy"))
    ),
    "... and its correlation does not change with n (MNIST)": (
        absent("B8", C3, over_sizes("pair_proxy"), "results")
    ),
}

NUMBERS = {
    "Weakness predicts generalisation on MNIST, rho = +0.374": (
        replicated("B9", B6, hundred("mnist", "pair_proxy"), "paper")
    ),
    "... weakness on MNIST, over new splits": (
        present("B9", C3, over_splits("pair_proxy", on=MNIST), "plan")
    ),
    "Sharpness anticorrelates on MNIST, rho = -0.226": (
        replicated("B9", B6, hundred("mnist", "trace"), "paper")
    ),
    "... sharpness on MNIST, over new splits": (
        negative("B9", C3, over_splits("trace", on=MNIST), "plan")
    ),
    "Simplicity, the norm of the weights, predicts nothing on MNIST, rho = +0.019": (
        replicated("B9", B6, hundred("mnist", "weight_norm"), "paper")
    ),
    "... nothing on MNIST, over new splits": (
        absent("B9", C3, over_splits("weight_norm", on=MNIST), "results")
    ),
    "Weakness predicts on Fashion-MNIST, rho = +0.384": (
        replicated("B10", B6, hundred("fashion-mnist", "pair_proxy"), "paper")
    ),
    "... weakness on Fashion-MNIST, over new splits": (
        present("B10", C3, over_splits("pair_proxy", on=FASHION), "plan")
    ),
    "Sharpness anticorrelates on Fashion-MNIST, rho = -0.241": (
        replicated("B10", B6, hundred("fashion-mnist", "trace"))
    ),
    "... sharpness on Fashion-MNIST, over new splits": (
        negative("B10", C3, over_splits("trace", on=FASHION), "plan")
    ),
    "Simplicity predicts somewhat on Fashion-MNIST, rho = -0.226": (
        replicated("B10", B6, hundred("fashion-mnist", "weight_norm"), "paper")
    ),
    "... simplicity on Fashion-MNIST, over new splits": (
        negative("B10", C3, over_splits("weight_norm", on=FASHION), "plan")
    ),
    "The six printed p-values belong to the printed correlations of a hundred networks": (
        arithmetic("B9, B10", B6, PRINTED_P)
    ),
    "Weakness predicts better than sharpness by the trace": (
        stronger_than("B9, B10", C3, stronger("pair_proxy", "trace", signs=(1, -1)))
    ),
    "Weakness predicts better than sharpness by the orbit-minimal trace": (
        stronger_than("B9, B10", C3, stronger("pair_proxy", "orbit_trace", signs=(1, -1)))
    ),
    "Weakness predicts better than sharpness by the noise divergence": (
        stronger_than("B9, B10", C3, stronger("pair_proxy", "noise_divergence", signs=(1, -1)))
    ),
    "Weakness predicts better than simplicity by the weight norm": (
        stronger_than("B9, B10", C3, stronger("pair_proxy", "weight_norm", signs=(1, -1)))
    ),
    "Weakness does not depend on the data set: its correlation is the same on both": (
        absent("B11", C3, between_data_sets("pair_proxy"), "ledger")
    ),
    "Simplicity does: the weight norm predicts on Fashion-MNIST better than on MNIST": (
        present("B11", C3, between_data_sets("weight_norm"), "results")
    ),
    "Flat minima were never the answer: the orbit-minimal trace tells nothing": (
        absent("B12", C3, over_splits("orbit_trace"), "plan")
    ),
    "... the trace, given the training loss, tells nothing": (
        absent("B12", C3, over_splits("trace", "train_loss"), "results")
    ),
    "... the training loss given the trace": (
        either_sign("B12", C3, over_splits("train_loss", "trace"), "plan")
    ),
    "... the orbit-minimal trace, given the training loss, tells nothing": (
        absent("B12", C3, over_splits("orbit_trace", "train_loss"), "results")
    ),
    "... the training loss given the orbit-minimal trace": (
        either_sign("B12", C3, over_splits("train_loss", "orbit_trace"))
    ),
    "... the trace, given the number of epochs, tells nothing": (
        absent("B12", C3, over_splits("trace", "epochs"), "epochs")
    ),
    "... the number of epochs given the trace": (
        either_sign("B12", C3, over_splits("epochs", "trace"), "epochs")
    ),
    "... the orbit-minimal trace, given the number of epochs, tells nothing": (
        absent("B12", C3, over_splits("orbit_trace", "epochs"), "epochs")
    ),
    "... the number of epochs given the orbit-minimal trace": (
        either_sign("B12", C3, over_splits("epochs", "orbit_trace"), "epochs")
    ),
    "... the noise divergence, given the training loss, tells nothing": (
        absent("B12", C3, over_splits("noise_divergence", "train_loss"), "plan")
    ),
    "... the training loss given the noise divergence": (
        either_sign("B12", C3, over_splits("train_loss", "noise_divergence"))
    ),
}

SHORT = {
    "A change of parameters": "The Hessian can be inflated a hundredfold at no change of function",
    "What can be manufactured": "What can be manufactured cannot be a cause",
    "Weakness does not change with": "Weakness is invariant under reparametrisation",
    "Weakness is minimax": "Weakness is minimax-optimal",
    "The driver": "The pair proxy knows more than the effective rank of the features",
    "... and the other way": "The effective rank knows more than the pair proxy",
    "PAC-Bayes works": "PAC-Bayes flatness works because it follows weakness",
    "... and has vanished": "The advantage of large batches vanishes with n",
    "What predicts at some": "What predicts at some sample sizes only is a confounder",
    "... weakness on MNIST": "Weakness, by its pair proxy, predicts on MNIST",
    "... weakness on Fashion": "Weakness, by its pair proxy, predicts on Fashion-MNIST",
    "... sharpness on MNIST": "Sharpness, by the raw trace, predicts on MNIST",
    "... sharpness on Fashion": "Sharpness, by the raw trace, predicts on Fashion-MNIST",
    "... nothing on MNIST": "Simplicity, by the weight norm, predicts nothing on MNIST",
    "Weakness predicts better than sharpness by the trace": (
        "The pair proxy predicts better than the trace"
    ),
    "Weakness predicts better than sharpness by the noise": (
        "The pair proxy predicts better than the noise divergence"
    ),
    "Weakness does not depend": "Weakness predicts equally on both data sets",
    "Flat minima": "The orbit-minimal trace, given nothing else, tells nothing",
    "... the trace, given the training": "The trace tells nothing given the training loss",
    "... the trace, given the number": "The trace tells nothing given the number of epochs",
}

PAPER_B = sorted(
    named(THEORY | DRIVER | SIZES | NUMBERS, SHORT),
    key=lambda row: int(row.source[1:].split(",")[0]),
)

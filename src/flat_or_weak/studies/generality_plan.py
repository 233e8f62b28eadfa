"""The plan of the study on other networks and other data (c7_generality), fixed before its first
recorded network.

Everything above the line of amendments is frozen: `fingerprint` is its SHA-256, the configuration
of every record carries it with the date, and the study refuses to compute under another plan.

**Question.** Chapter c3 correlates each ruler with test accuracy over networks 784-64-8-10 on
MNIST and Fashion-MNIST. Do these correlations hold for other networks and other data?

**Settings.** Six: MNIST with 16 and with 32 features (784-64-16-10, 784-64-32-10), with a third
hidden layer (784-64-32-8-10), with a small convolutional network (two strided convolutions, then
8 features); and the network of c3 (d-64-8-10) on two other tables of digits, ``digits`` (8 x 8
ink) and ``pen-digits`` (the pen's way). Ten splits each, none in an earlier record or a pilot, of
250 training samples, 100 probe points and the rest (10,000 test images on MNIST) as test set; 50
networks a split, that differ in their seed; minibatches of 64, rate 0.1, stopped at a training
accuracy of 1, looked at every tenth epoch, as in Paper B (at most 500 epochs on MNIST, 3,000 on
the tables).

**Rulers.** Those of c3: pair proxy, effective rank, trace, orbit-minimal trace, weight norm,
noise divergence; the convolutional network has no orbit minimum and no noise divergence here.
New: the *read proxy*, the pair proxy of the features as far as the last layer reads them
(`flatness.networks.features.read_features`). It depends on the network's function alone, and
differs from the pair proxy only where the last layer leaves directions unread, as with more than
K - 1 = 9 features.

**Outcome.** Spearman's correlation of a ruler with test accuracy within a split, pooled over the
ten splits (random effects, Student's interval, as in c3). Signs claimed: `CLAIMED`. Each (ruler,
setting) is read by the rule book's rule of presence with its margin; p is corrected by Holm over
the settings of a ruler. A ruler *generalises* if it holds in all settings where it can be read,
*partly* if in some, *not shown* if in none.

**Saturation.** In a split where all networks have the same pair proxy it has no correlation. A
setting with such a split is *saturated*: its pair proxy is not read. What share of pairs is
feasible, and how many values the proxy takes within a split, is shown for every setting.

**Secondary.** Pair proxy given effective rank, effective rank given pair proxy, and the same of
the read proxy; read likewise, and said to be secondary.

**Exclusions.** As in c3: a network without a satisfiable training policy did not fit its training
set; it is left out of every analysis and counted. Diverged networks count as unfitted.

**Sample size.** With 50 networks a split and ten splits the pooled correlation has a standard
error of about 0.05 if the splits agree: 0.15 is found with power 0.8.

**Looked at before.** All of c3. Pilots on split 7000 (not recorded): four networks of each of
three MNIST settings (pair proxy 997 to 1000 of 1000 with 16 features, 1000 with 32, 719 to 941
with three hidden layers; read proxy about 950), and twelve each on both tables at rates 0.1 and
0.3 (all fitted; rank correlation of pair proxy and accuracy 0.54 and 0.38 on ``digits``, 0.41 and
-0.43 on ``pen-digits``). Two other tables (Landsat pixels, letters) were not fitted within 2,000
epochs at this rate and dropped.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

FROZEN = "2026-11-28"
CLAIMED = {  # ruler -> the sign of its correlation with accuracy, by the claim made for it
    "pair_proxy": +1,
    "read_proxy": +1,
    "effective_rank": +1,
    "trace": -1,
    "orbit_trace": -1,
    "noise_divergence": -1,
    "weight_norm": -1,
}


def fingerprint() -> str:
    """SHA-256 of this module above the line of amendments."""
    text = Path(__file__).read_text(encoding="utf-8")
    return hashlib.sha256(text.split("# ---- amendments")[0].encode()).hexdigest()


# ---- amendments: (date and time in UTC, what, why, and what was known then)

AMENDMENTS: tuple[tuple[str, str], ...] = ()

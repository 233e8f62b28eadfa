import pytest
import torch
from scipy import stats

from flatness.feasibility.pairs import pair_verdicts
from flatness.networks.features import effective_rank, read_features
from flatness.networks.mlp import MLPEnsemble
from flatness.symmetry.rescaling import add_unread_units


def test_effective_rank_is_scale_free_and_bounded():
    g = torch.Generator().manual_seed(0)
    features = torch.randn(3, 40, 6, generator=g, dtype=torch.float64)
    torch.testing.assert_close(effective_rank(features), effective_rank(7 * features))
    assert (effective_rank(features) <= 6).all() and (effective_rank(features) >= 1).all()
    values = torch.linalg.svdvals(features[0])
    assert effective_rank(features)[0].item() == pytest.approx(
        float(torch.exp(torch.tensor(stats.entropy(values)))), rel=1e-10
    )


def problem(width, classes=4, members=3, n=14):
    g = torch.Generator().manual_seed(width)
    networks = MLPEnsemble.from_seeds([5, 9, width, classes], range(members)).map(lambda p: 3 * p)
    return networks, torch.randn(n, 5, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("width", [2, 3, 7])
def test_read_features_and_outputs_are_affine_images_of_each_other(width):
    networks, x = problem(width)
    read = read_features(networks.features(x), networks.weights[-1])
    outputs = networks(x)
    outputs = outputs - outputs.mean(-1, keepdim=True)
    ones = torch.ones(len(networks), len(x), 1, dtype=torch.float64)
    for one, other in ((read, outputs), (outputs, read)):
        basis = torch.cat([one, ones], -1)
        fitted = basis @ torch.linalg.pinv(basis, rtol=1e-10) @ other
        torch.testing.assert_close(fitted, other, rtol=0, atol=1e-7)
    assert read.shape == (3, 14, min(width, 3))


def test_read_features_do_not_see_what_no_output_reads():
    networks, x = problem(3)
    g = torch.Generator().manual_seed(1)
    wide = add_unread_units(networks, torch.randn(4, 9, generator=g, dtype=torch.float64))
    one, other = (read_features(n.features(x), n.weights[-1]) for n in (networks, wide))
    torch.testing.assert_close(one @ one.mT, other @ other.mT)  # one Gram matrix: rotated
    assert wide.features(x).shape[-1] == 7 and other.shape[-1] == 3


def test_the_count_of_the_read_features_is_a_count_of_the_function():
    """Directly: class scores in the span of the centred outputs and the constant, by their own
    coordinates, against the read features; and never more than with all features.
    """
    networks, x = problem(7, members=2, n=20)
    labels = networks(x[:12]).argmax(-1).numpy()
    for m in range(2):
        features, weight = networks.features(x)[m : m + 1], networks.weights[-1][m : m + 1]
        read = read_features(features, weight)[0].numpy()
        outputs = networks(x)[m]
        own = (outputs - outputs.mean(-1, keepdim=True))[:, :-1].numpy()
        found = [
            pair_verdicts(f[:12], labels[m], f[12:], 4).verdict == 1
            for f in (read, own, features[0].numpy())
        ]
        assert (found[0] == found[1]).all() and (found[0] <= found[2]).all()
        assert found[0].sum() < found[2].sum()


def test_where_the_last_layer_has_full_rank_the_two_counts_are_one():
    networks, x = problem(3, members=2, n=20)
    labels = networks(x[:12]).argmax(-1).numpy()
    for m in range(2):
        features, weight = networks.features(x)[m : m + 1], networks.weights[-1][m : m + 1]
        read = read_features(features, weight)[0].numpy()
        one, other = (
            pair_verdicts(f[:12], labels[m], f[12:], 4) for f in (read, features[0].numpy())
        )
        assert (one.verdict == other.verdict).all() and 0 < one.pair_proxy < one.verdict.size


def test_a_layer_that_reads_nothing_leaves_zeros():
    features = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    same = torch.ones(1, 4, 3, dtype=torch.float64)  # all outputs alike
    assert (read_features(features, same) == 0).all()
    rows = torch.tensor([0.1, 0.7, 0.3], dtype=torch.float64).expand(1, 7, 3)
    assert (read_features(features, rows) == 0).all()  # alike up to rounding of their mean
    with pytest.raises(ValueError, match="weight"):
        read_features(features, same[:, :1])

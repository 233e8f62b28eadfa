import pytest
import torch
from scipy import stats

from flatness.networks.features import effective_rank


def test_effective_rank_is_scale_free_and_bounded():
    g = torch.Generator().manual_seed(0)
    features = torch.randn(3, 40, 6, generator=g, dtype=torch.float64)
    torch.testing.assert_close(effective_rank(features), effective_rank(7 * features))
    assert (effective_rank(features) <= 6).all() and (effective_rank(features) >= 1).all()
    values = torch.linalg.svdvals(features[0])
    assert effective_rank(features)[0].item() == pytest.approx(
        float(torch.exp(torch.tensor(stats.entropy(values)))), rel=1e-10
    )

import pytest
import torch

from flatness.networks.device import default_device, default_dtype


def test_environment_decides(monkeypatch):
    monkeypatch.setenv("FLATNESS_DEVICE", "cpu")
    assert default_device() == torch.device("cpu")
    monkeypatch.setenv("FLATNESS_DEVICE", "meta")
    assert default_device().type == "meta"


@pytest.mark.parametrize("name", ["warp", "cuda:99"])
def test_unusable_device_is_named(monkeypatch, name):
    monkeypatch.setenv("FLATNESS_DEVICE", name)
    with pytest.raises(ValueError, match=f"FLATNESS_DEVICE: cannot use '{name}'"):
        default_device()


def test_picks_something_that_exists(monkeypatch):
    monkeypatch.delenv("FLATNESS_DEVICE", raising=False)
    assert (
        torch.zeros(1, device=default_device(), dtype=default_dtype(default_device())).item() == 0
    )


def test_single_precision_only_where_needed():
    assert (
        default_dtype(torch.device("mps")) == torch.float32
        and default_dtype(torch.device("cuda")) == torch.float64
    )

"""Where torch computes: the variable first, then the best device of the machine."""

import subprocess
import sys

import pytest
import torch

from recsys_lab import device


@pytest.fixture
def machine(monkeypatch):
    """A machine with the given devices."""

    def build(cuda=0, mps=False, variable=None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.delenv(device.VARIABLE, raising=False)
        if variable is not None:
            monkeypatch.setenv(device.VARIABLE, variable)

    return build


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(0, False, "cpu"), (0, True, "mps"), (1, False, "cuda"), (1, True, "cuda")],
)
def test_best_device_first(machine, cuda, mps, expected):
    machine(cuda, mps)
    assert device.pick() == torch.device(expected)


@pytest.mark.parametrize("variable", ["cpu", " CPU ", "cuda", "cuda:1"])
def test_variable_wins(machine, variable):
    machine(cuda=2, variable=variable)
    assert device.pick() == torch.device(variable.strip().lower())


def test_empty_variable_is_no_choice(machine):
    machine(variable="")
    assert device.pick() == torch.device("cpu")


@pytest.mark.parametrize("variable", ["cuda", "cuda:0", "mps", "gpu", "tpu:3", "cpu:0"])
def test_wrong_variable_names_what_is_available(machine, variable):
    machine(variable=variable)
    with pytest.raises(ValueError, match=rf"{variable}.*not available.*choose from cpu, or unset"):
        device.pick()


def test_numbered_device_that_is_not_there(machine):
    machine(cuda=1, variable="cuda:1")
    with pytest.raises(ValueError, match="choose from cuda, cuda:0, cpu"):
        device.pick()


def test_importing_it_does_not_import_torch():
    code = "import sys; import recsys_lab.device; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_tensor_goes_where_pick_says(monkeypatch):
    monkeypatch.delenv(device.VARIABLE, raising=False)
    assert torch.ones(2, device=device.pick()).is_cuda

"""The loss that a student learns from a teacher's scores by."""

import math

import pytest
import torch
from torch.nn import functional

from recsys_lab.limits.distillation import distillation_loss


@pytest.fixture
def scores() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(5, 20, generator=generator, dtype=torch.float64) for _ in range(2))


def test_on_paper():
    teacher, student = torch.tensor([[2.0, 1, 1]]).log(), torch.tensor([[1.0, 1, 2]]).log()
    assert math.isclose(distillation_loss(student, teacher), math.log(2) / 4, rel_tol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_torch_agrees(scores, temperature):
    student, teacher = scores
    theirs = functional.kl_div(
        (student / temperature).log_softmax(1),
        (teacher / temperature).log_softmax(1),
        log_target=True,
        reduction="batchmean",
    )
    ours = distillation_loss(student, teacher, temperature)
    assert torch.isclose(ours, temperature**2 * theirs)
    assert ours > 0 and distillation_loss(teacher, teacher, temperature).abs() < 1e-12


def test_a_shift_of_a_list_changes_nothing(scores):
    student, teacher = scores
    shift = torch.arange(5.0)[:, None]
    one, other = distillation_loss(student, teacher), distillation_loss(student + shift, teacher)
    assert torch.isclose(one, other)


def test_hot_it_is_the_squared_difference_cold_the_first_place(scores):
    student, teacher = scores
    apart = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    hot = distillation_loss(student, teacher, 1e4)
    assert torch.isclose(hot, (apart**2).mean(1).mean() / 2, rtol=1e-3)
    cold = 1e-3 * functional.cross_entropy(student / 1e-3, teacher.argmax(1))
    assert torch.isclose(distillation_loss(student, teacher, 1e-3) / 1e-3, cold, rtol=1e-3)


def test_the_slope_at_temperature_one_is_the_difference_of_probabilities(scores):
    student, teacher = scores[0].clone().requires_grad_(), scores[1]
    distillation_loss(student, teacher).backward()
    assert torch.allclose(student.grad, (student.softmax(1) - teacher.softmax(1)) / 5)


def test_bad_input_is_named(scores):
    student, teacher = scores
    with pytest.raises(ValueError, match="shape"):
        distillation_loss(student, teacher[:, 1:])
    with pytest.raises(ValueError, match="shape"):
        distillation_loss(student[0], teacher[0])
    with pytest.raises(ValueError, match="temperature is 0"):
        distillation_loss(student, teacher, 0)
    with pytest.raises(ValueError, match="no_grad"):
        distillation_loss(student, teacher.clone().requires_grad_())

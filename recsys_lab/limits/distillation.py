"""A small model learns from a large one's scores, not from the data's answers alone.

Derived in chapters/7_limitations/2_smaller.
"""

from __future__ import annotations

import torch


def distillation_loss(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """T^2 times the KL divergence of the student's list from the teacher's, nats: a scalar.

    Both scores are divided by T and become probabilities over a list; T^2 keeps the slopes of one
    size. T towards 0: only the teacher's first place counts. T large: half the mean squared
    difference of centred scores, over the list's length. Hinton et al. (2015). Derived in
    chapters/7_limitations/2_smaller.

    Args:
        student: (n_lists, n) scores, with gradients.
        teacher: (n_lists, n) scores of the same candidates, without.
        temperature: T, above 0.

    Raises:
        ValueError: shapes that differ, T not above 0, or a teacher that asks for gradients.
    """
    if student.shape != teacher.shape or student.ndim != 2:
        raise ValueError(f"scores of shape {tuple(student.shape)} and {tuple(teacher.shape)}.")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: it must be above 0.")
    if teacher.requires_grad:
        raise ValueError("the teacher asks for gradients: compute it under torch.no_grad().")
    told = (teacher / temperature).log_softmax(1)
    said = (student / temperature).log_softmax(1)
    return temperature**2 * (told.exp() * (told - said)).sum(1).mean()

"""The training loop: it learns, keeps the best, stops, resumes, and says what is wrong."""

import itertools
import math

import pytest
import torch
from torch import nn

from recsys_lab.training import train


def make(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.Linear(8, 1))


def batches(epoch: int):
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(4):
        x = torch.randn(16, 3, generator=generator)
        yield x, x.sum(1, keepdim=True)


def squared_error(model: nn.Module):
    return lambda batch: ((model(batch[0]) - batch[1]) ** 2).mean()


def run(model: nn.Module, n_epochs: int, **options):
    return train(model, batches, squared_error(model), n_epochs=n_epochs, lr=0.01, **options)


def test_the_loss_falls_and_the_history_has_a_row_an_epoch():
    model = make()
    history = run(model, 20)
    assert list(history.columns) == ["epoch", "loss", "validation", "seconds"]
    assert list(history.epoch) == list(range(1, 21))
    assert history.loss.iloc[-1] < 0.5 * history.loss.iloc[0]
    assert history.validation.isna().all()
    assert history.seconds.is_monotonic_increasing
    assert not model.training


def test_the_best_weights_are_put_back():
    model, seen = make(), []
    qualities = iter([1.0, 3.0, 2.0, 2.5])

    def validate() -> float:
        assert not model.training
        seen.append(model[0].weight.detach().clone())
        return next(qualities)

    history = run(model, 4, validate=validate)
    assert list(history.validation) == [1.0, 3.0, 2.0, 2.5]
    assert torch.equal(model[0].weight, seen[1])


def test_patience_counts_validations_without_a_new_best():
    qualities = iter([1.0, 2.0, 1.9, 2.0, 1.8, 9.0])
    history = run(make(), 12, validate=lambda: next(qualities), every=2, patience=3)
    assert len(history) == 10  # best at epoch 4, then three validations without a better one
    assert history.validation.notna().sum() == 5


def test_the_last_epoch_is_validated():
    history = run(make(), 5, validate=lambda: 1.0, every=3)
    assert list(history.epoch[history.validation.notna()]) == [3, 5]


def test_a_resumed_run_ends_as_one_without_a_break(tmp_path):
    def weights_after(*stops: int, checkpoint=None):
        better = itertools.count()  # each epoch is the best so far: the last weights are kept
        for stop in stops:
            model = make()
            history = run(model, stop, checkpoint=checkpoint, validate=better.__next__, patience=99)
            torch.manual_seed(99)  # whatever happens between the runs
        return [*model.state_dict().values()], history

    whole, _ = weights_after(6)
    parts, history = weights_after(2, 4, 6, checkpoint=tmp_path / "deep" / "run.pt")
    assert list(history.epoch) == list(range(1, 7))
    assert all(torch.equal(a, b) for a, b in zip(whole, parts))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["run.pt"]


def test_a_checkpoint_of_something_else_is_one_clear_error(tmp_path):
    other = nn.Linear(2, 1)
    path = tmp_path / "run.pt"
    train(
        other,
        lambda _: [torch.ones(1, 2)],
        lambda batch: other(batch).sum(),
        n_epochs=1,
        checkpoint=path,
    )
    with pytest.raises(ValueError, match=r"run\.pt is no checkpoint of this model.*Delete it"):
        run(make(), 2, checkpoint=path)
    path.write_bytes(b"half a file")
    with pytest.raises(ValueError, match="Delete it"):
        run(make(), 2, checkpoint=path)
    assert path.read_bytes() == b"half a file"  # nothing is thrown away


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_epochs": 0}, "start at 1"),
        ({"n_epochs": 2, "every": 0}, "start at 1"),
        ({"n_epochs": 2, "patience": 1}, "patience needs validate"),
    ],
)
def test_settings_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        run(make(), **options)


def test_a_loss_that_explodes_stops_the_run():
    with pytest.raises(FloatingPointError, match=r"training, epoch 1: the loss is inf.*smaller lr"):
        train(
            model := make(),
            batches,
            lambda batch: model(batch[0]).sum() * math.inf,
            n_epochs=1,
        )


def test_a_validation_that_is_no_number_stops_the_run():
    with pytest.raises(FloatingPointError, match="training, epoch 2: validation is not a number"):
        run(make(), 4, validate=lambda: math.nan, every=2)


def test_an_epoch_without_batches_is_an_error():
    model = make()
    with pytest.raises(ValueError, match="no batch"):
        train(model, lambda _: [], squared_error(model), n_epochs=1)


def test_clipping_bounds_the_step():
    model = nn.Linear(1, 1, bias=False)
    norms = []
    model.weight.register_post_accumulate_grad_hook(lambda w: norms.append(w.grad.norm().item()))
    train(
        model,
        lambda _: [torch.full((1, 1), 1e3)],
        lambda batch: model(batch).sum(),
        n_epochs=1,
        clip=1.0,
    )
    assert norms == [1e3]  # before clipping
    assert model.weight.grad.norm().item() == pytest.approx(1.0, rel=1e-4)

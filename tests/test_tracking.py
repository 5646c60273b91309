"""Logs of a training run: every step, the right place after a kill, and a clear error."""

import sys

import pytest
import torch
from torch import nn

from recsys_lab import tracking
from recsys_lab.tracking import Tracker
from recsys_lab.training import train


def one_run(folder, n_epochs, stop_at=None, n_batches=lambda epoch: 3, **options):
    """The history of a logged run; with `stop_at` it is killed in that batch, counted from 1."""
    torch.manual_seed(0)
    model, seen = nn.Linear(2, 1), 0

    def batches(epoch):
        generator = torch.Generator().manual_seed(epoch)
        for _ in range(n_batches(epoch)):
            yield torch.randn(8, 2, generator=generator)

    def loss(batch):
        nonlocal seen
        seen += 1
        if seen == stop_at:
            raise KeyboardInterrupt
        return (model(batch) - 1).square().mean()

    with Tracker(folder) as log:
        return train(
            model,
            log.batches(batches),
            log.loss(loss),
            validate=log.validate(lambda: -model.weight.norm().item()),
            n_epochs=n_epochs,
            **options,
        )


def values(folder, name):
    log = tracking.read(folder)
    return dict(log.loc[log["name"] == name, ["step", "value"]].values.tolist())


def test_every_loss_and_validation_is_there(tmp_path):
    history = one_run(tmp_path, 4)
    losses, validation = values(tmp_path, "loss"), values(tmp_path, "validation")
    assert list(losses) == list(range(1, 13)) and list(validation) == [3, 6, 9, 12]
    of_epoch = [sum(list(losses.values())[i : i + 3]) / 3 for i in range(0, 12, 3)]
    assert of_epoch == pytest.approx(history["loss"], rel=1e-5)
    assert list(validation.values()) == pytest.approx(history["validation"], rel=1e-5)
    assert values(tmp_path, "epoch") == {1: 1, 4: 2, 7: 3, 10: 4}


def test_training_is_not_changed_by_being_watched(tmp_path):
    plain, watched = nn.Linear(2, 1), nn.Linear(2, 1)
    watched.load_state_dict(plain.state_dict())
    x = torch.randn(8, 2)
    train(plain, lambda _: [x] * 3, lambda b: plain(b).square().mean(), n_epochs=2)
    with Tracker(tmp_path) as log:
        batches, loss = log.batches(lambda _: [x] * 3), lambda b: watched(b).square().mean()
        train(watched, batches, log.loss(loss), n_epochs=2)
    assert torch.equal(plain.weight, watched.weight)


@pytest.mark.parametrize("n_batches", [lambda epoch: 3, lambda epoch: epoch + 1])
def test_a_killed_run_goes_on_at_the_right_step(tmp_path, n_batches, capfd):
    whole, parts, file = tmp_path / "whole", tmp_path / "parts", tmp_path / "run.pt"
    one_run(whole, 4, n_batches=n_batches)
    with pytest.raises(KeyboardInterrupt):  # in the middle of the third epoch
        stop_at = n_batches(0) + n_batches(1) + 2
        one_run(parts, 4, stop_at=stop_at, n_batches=n_batches, checkpoint=file)
    assert max(values(parts, "loss")) == stop_at - 1
    one_run(parts, 4, n_batches=n_batches, checkpoint=file)
    for name in ("loss", "validation", "epoch"):
        assert values(parts, name) == values(whole, name), name
        log = tracking.read(parts)
        assert log.loc[log["name"] == name, "step"].is_unique
    assert "Purging" not in capfd.readouterr().err


def test_a_run_that_is_over_writes_nothing(tmp_path):
    logs, file = tmp_path / "logs", tmp_path / "run.pt"
    one_run(logs, 2, checkpoint=file)
    before = sorted(logs.iterdir())
    one_run(logs, 2, checkpoint=file)
    assert sorted(logs.iterdir()) == before


def test_a_run_from_the_start_replaces_what_is_in_the_folder(tmp_path):
    one_run(tmp_path, 5)
    one_run(tmp_path, 2)
    assert list(values(tmp_path, "loss")) == list(range(1, 7))


def test_a_resumed_run_in_another_folder_is_refused(tmp_path):
    one_run(tmp_path / "a", 1, checkpoint=tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"goes on at epoch 2, which .* has no trace of"):
        one_run(tmp_path / "b", 2, checkpoint=tmp_path / "run.pt")


def test_other_numbers_and_a_thinner_log(tmp_path):
    with Tracker(tmp_path, every=2) as log:
        batches, loss = log.batches(lambda _: range(5)), log.loss(torch.tensor)
        for i in batches(0):
            log.scalars(margin=i / 2)
            loss(float(i))
    assert list(values(tmp_path, "loss")) == [2, 4]
    assert values(tmp_path, "margin") == {i + 1: i / 2 for i in range(5)}


def test_what_makes_no_sense_is_named(tmp_path):
    with pytest.raises(ValueError, match="every is 0"):
        Tracker(tmp_path, every=0)
    with pytest.raises(RuntimeError, match=r"Tracker\.batches"):
        Tracker(tmp_path).scalars(loss=1.0)
    with pytest.raises(FileNotFoundError, match="holds no logs"):
        tracking.read(tmp_path)


def test_without_tensorboard_the_error_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        Tracker(tmp_path)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        tracking.read(tmp_path)

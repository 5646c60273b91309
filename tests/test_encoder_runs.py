"""The stored runs of section 5.3: made by the present code, complete, and coherent."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from recsys_lab.data import load_movielens

SECTION = Path(__file__).parents[1] / "chapters" / "5_llm_finetuning"
sys.path.insert(0, str(SECTION))
import encoder_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


@pytest.fixture(scope="module")
def examples() -> pd.DataFrame:
    return runs.examples()


@pytest.fixture(scope="module")
def minilm() -> tuple:
    return runs.load()


def test_every_kind_of_run_is_stored(stored):
    wanted = list(runs.runs(stored))
    assert {run.group for run in wanted} == {"tune", "curve", "film only"}


def test_what_is_stored_is_coherent(stored, examples):
    test = examples[examples["part"] == "test"]
    for key, run in stored.items():
        assert len(run["logits"]) == len(test), key
        settings = run["settings"]
        n_points = -(-settings["n_epochs"] // settings["every"])
        assert len(run["train"]) == len(run["validation"]) == n_points, key
        assert 0.6 < min(run["validation"]) < 1.2, key  # a coin has ln 2
        assert (run["moved"] == 0) == ("/head/" in key), key
    best = stored["curve/full/10000/0"]["logits"]
    assert roc_auc_score(test["label"], best) > 0.58


def test_no_person_and_no_new_film_leaks(examples):
    parts = dict(list(examples.groupby("part")))
    people = [set(part["user"]) for part in parts.values()]
    assert len(people) == 3 and len(set.union(*people)) == sum(map(len, people))
    assert not parts["train"]["new"].any() and 200 < parts["test"]["new"].sum() < 500
    films = {kind: set(parts["test"].loc[parts["test"]["new"] == kind, "item"]) for kind in (0, 1)}
    assert not films[1] & (set(parts["train"]["item"]) | films[0])
    for part in parts.values():
        assert part["label"].mean() == 0.5


def test_labels_are_the_ratings(examples):
    data = load_movielens()
    rating = dict(zip(zip(data.users, data.items), data.ratings))
    for row in examples.iloc[::97].itertuples():
        assert (rating[row.user, row.item] >= 4) == row.label


def test_examples_do_not_depend_on_the_order_of_the_catalogue_text(examples):
    again = runs.make_examples(load_movielens())
    pd.testing.assert_frame_equal(again, examples)
    other = runs.make_examples(load_movielens(), seed=1)
    assert set(other.loc[other["part"] == "test", "user"]) != set(
        examples.loc[examples["part"] == "test", "user"]
    )


def test_a_smaller_draw_is_part_of_a_larger(examples):
    small, large = runs.draw(examples, 32, 1), runs.draw(examples, 512, 1)
    assert len(small) == 32 and small["label"].mean() == 0.5
    assert set(small.index) < set(large.index)
    assert set(small.index) != set(runs.draw(examples, 32, 2).index)


@pytest.mark.parametrize("first", [4, 6])
def test_frozen_vectors_give_the_same_logits(minilm, first):
    encoder, tokenizer = minilm
    pairs = [("Heat; Speed", "Casino (1995). Drama."), ("", "Alien (1979)."), ("Fargo", "X. " * 30)]
    texts = runs.Texts(tokenizer, pairs)
    torch.manual_seed(0)
    whole = runs.Classifier(encoder).to(encoder.device)
    torch.nn.init.normal_(whole.head.weight, std=0.05)
    part = runs.Classifier(encoder, first).to(encoder.device)
    part.head.load_state_dict(whole.head.state_dict())
    rows = np.arange(3)
    expected = runs.score(whole, texts, rows)
    found = runs.score(part, runs.read_frozen(encoder, texts, first), rows)
    np.testing.assert_allclose(found, expected, atol=0.05)
    alone = [runs.score(whole, texts, rows[[i]])[0] for i in rows]  # padding changes nothing
    np.testing.assert_allclose(alone, expected, atol=0.05)


def test_a_folder_is_loaded_like_the_pinned_model(minilm, tmp_path):
    encoder, tokenizer = minilm
    encoder.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, _ = runs.load(tmp_path)
    for a, b in zip(encoder.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_loss_is_that_of_torch():
    logits, labels = np.array([-3.0, 0.0, 40.0]), np.array([0, 1, 1])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(logits), torch.tensor(labels, dtype=torch.float64)
    )
    assert runs.log_loss(logits, labels) == pytest.approx(expected.item())


def test_frozen_layers_stay_and_the_loss_falls(examples, monkeypatch):
    monkeypatch.setitem(runs.EPOCHS, "head", {32: 5})
    few = pd.concat(part.iloc[:400] for _, part in examples.groupby("part"))
    result = runs.one_run(runs.Run("curve", "head", 32, 0, 1e-2), few)
    assert result["moved"] == 0 and result["train"][-1] < result["train"][0]

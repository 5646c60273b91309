"""The stored runs of section 7.2: by the present code, complete, plausible, partly made again."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_lab.data.assets import causal_lm_file

SECTION = Path(__file__).parents[1] / "chapters" / "7_limitations"
sys.path.insert(0, str(SECTION))
import smaller_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


def test_the_store_is_small():
    assert runs.STORE.stat().st_size < 1_000_000


def test_each_variant_has_makers_of_its_own():
    known = [
        next(kind for kind in runs.MAKERS if kind in n) for n in (*runs.VARIANTS, *runs.TAUGHT)
    ]
    assert set(known) == set(runs.MAKERS)
    assert known[list(runs.VARIANTS).index("int8, layers only")] == "int8"
    assert "words" in known[-1]


def test_the_original_is_itself(stored):
    run = stored["encoder/float32"]
    assert run["cosine"] == 1 and set(run["kept"]) == {10}
    auc = np.array(run["auc"], dtype=float)
    seventh = np.array(runs.cost.load_runs()["reading/MiniLM"]["auc"], dtype=float)
    assert abs(np.nanmean(auc) - np.nanmean(seventh)) < 0.02  # section 7.1's, other ridges tried


def test_bytes_are_those_of_the_formats(stored):
    n_matrix = sum(p.numel() for p in runs.original().model.parameters() if p.ndim > 1)
    n_vector = sum(p.numel() for p in runs.original().model.parameters() if p.ndim == 1)
    for name, bits_a_weight in {"4 bits, blocks": 5, "8 bits, blocks": 8.5, "float32": 32}.items():
        expected = n_matrix * bits_a_weight / 8 + 4 * n_vector
        assert 0 <= stored[f"encoder/{name}"]["bytes"]["file"] - expected < 30_000  # the header
    pruned = stored["encoder/half pruned"]["bytes"]
    assert pruned["file"] == stored["encoder/float32"]["bytes"]["file"] > pruned["bitmap"]
    ours = stored["reads/4 bits, blocks"]["bytes"]
    assert 0.95 < ours / causal_lm_file().stat().st_size < 1  # the rest is its tokenizer


def test_fewer_bits_keep_fewer_neighbours(stored):
    names = [f"encoder/{bits} bits, blocks" for bits in (8, 6, 4, 3, 2)]
    kept = [np.mean(stored[name]["kept"]) for name in names]
    assert (np.diff(kept) < 0).all()
    pruned, chance = (stored[f"encoder/half pruned{how}"] for how in ("", ", at random"))
    assert np.mean(pruned["kept"]) > np.mean(chance["kept"]) + 1


def test_what_is_on_the_levels_of_the_file_is_read_alike(stored):
    same, original = stored["reads/4 bits, blocks"], stored["reads/float32"]
    assert np.allclose(same["films"], original["films"], atol=0.05)
    assert np.mean(stored["reads/2 bits, blocks"]["films"]) > np.mean(original["films"]) + 1
    small = np.concatenate(list(stored["orders/4 bits, blocks"]["scores"].values()))
    for seed in runs.SEEDS:
        own = runs.asked.load_runs()[f"likelihood/seed {seed}/0"]
        part = stored["orders/4 bits, blocks"]["scores"][str(seed)]
        assert np.abs(np.array(own)[: len(part)] - part).max() < 2e-3
    assert small.shape[1] == 20


def test_students_never_meet_what_they_are_examined_on():
    for seed in runs.SEEDS:
        exam = runs.cost.draws()[0][seed]
        assert not set(runs.old_films(seed)) & set(exam.new.tolist())
        assert len(runs.lessons(seed)) == 2 * len(exam.old)
    taught = set(runs.teaching().users.tolist())
    groups = ("tuning", "seed 0", "seed 1", "seed 2")
    assert not any(taught & set(runs.asked.users_of(group).tolist()) for group in groups)


def test_a_lesson_of_the_teacher_is_the_stored_one(stored):
    said = runs.lesson(runs.asked.language_model(), 41)
    assert np.abs(np.array(said) - stored["teacher/1"]["scores"][1]).max() < 2e-3


def test_three_layers_learn_from_the_right_goals_and_not_from_others(monkeypatch):
    texts = [text[:24] for text in runs.cost.texts()[:8]]
    monkeypatch.setattr(runs, "lessons", lambda seed: texts)
    monkeypatch.setattr(runs, "LR", 1e-3)
    goals, cosines = runs.original().compute(texts), {}
    for shuffled in (False, True):
        read, _ = runs.taught_layers(0, n_epochs=4, shuffled=shuffled)
        cosines[shuffled] = (read(texts) * goals).sum(1).mean()
    dropped = (runs.fewer_layers((0, 2, 4))[0](texts) * goals).sum(1).mean()
    assert cosines[False] > max(cosines[True], dropped) + 0.02, (cosines, dropped)


def test_squeezing_leaves_vectors_alone_and_the_table_in_eight_bits():
    torch.manual_seed(0)
    parts = {"embed": torch.nn.Embedding(64, 32), "layer": torch.nn.Linear(32, 32)}
    model = torch.nn.ModuleDict(parts)
    before = {name: part.clone() for name, part in model.named_parameters()}
    n_bytes = runs.squeeze(model, 2, 32, False, table="embed")
    moved = {
        n: float((part - before[n]).detach().abs().max()) for n, part in model.named_parameters()
    }
    assert moved["layer.bias"] == 0 and 0 < moved["embed.weight"] < 0.02
    assert moved["layer.weight"] > 0.03  # three steps from -0.18 to 0.18
    weights = 64 * 32 * 8.5 / 8 + 32 * 32 * 3 / 8 + 4 * 32
    assert 0 < n_bytes - weights < 700  # the file's header
    assert runs.fresh() is not runs.original().model


def test_a_static_reader_takes_the_mean_of_known_tokens():
    tokens, table = np.array([7592, 2088]), np.array([[3.0, 0.0], [1.0, 4.0]])  # hello, world
    reader = runs.Static(tokens, table)
    found = reader.compute(["hello world", "world", "hello zebra", "zebra"])
    assert np.allclose(found[0], np.array([2, 2]) / 8**0.5)
    assert np.allclose(found[1], np.array([1, 4]) / 17**0.5) and np.allclose(found[2], [1, 0])
    assert np.isfinite(found).all()
    assert np.allclose(reader.bag(["hello world hello"]), [[2 / 3, 1 / 3]])

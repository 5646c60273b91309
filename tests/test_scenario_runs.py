"""The stored runs of section 6.4: made by the present code, complete, resumable, without leaks."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_lab.data import load_movielens

SECTION = Path(__file__).parents[1] / "chapters" / "6_fusion"
sys.path.insert(0, str(SECTION))
import scenario_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


@pytest.fixture(scope="module")
def exam() -> runs.Exam:
    return runs.halves(0)["test"]


def test_the_grades_are_one_a_user_of_the_scenario(stored):
    for draw in runs.DRAWS:
        n = {name: len(users) for name, users in stored[f"linear/all/{draw}"]["users"].items()}
        found = [*stored[f"linear/all/{draw}"]["models"].values()]
        found += [stored[f"net/{name}/{draw}"] for name in runs.STRUCTURES]
        for entry in found:
            assert {name: len(grades) for name, grades in entry["grades"].items()} == n
        for pair, entry in stored[f"map/all/{draw}"]["pairs"].items():
            assert len(entry["grades"]) == n[pair.split(" > ")[1]]


def test_every_film_is_in_one_scenario():
    groups = runs.scenarios()
    films = np.concatenate(list(groups.values()))
    assert np.array_equal(np.sort(films), np.arange(load_movielens().n_items))
    genres = load_movielens().item_table["genres"]
    assert all("Documentary" in genres[film] for film in groups["documentary"])
    assert not any("Horror" in genres[film] for film in groups["drama"])


def test_chimeras_keep_each_scenario_and_lose_the_person(exam):
    people = runs.Chimeras(exam.train, 0)
    real, mixed = exam.train.matrix().toarray(), people.train.matrix().toarray()
    for name, films in runs.scenarios().items():
        back = people.give_back({name: mixed[:, films]})[name]
        assert np.array_equal(back, real[:, films])
        moved = people.origin[name] != np.arange(len(real))
        assert moved.mean() > 0.9
        n = real.sum(axis=1)
        assert np.corrcoef(n, n[people.origin[name]])[0, 1] > 0.95  # of like activity


def test_a_model_of_its_own_reads_nothing_else(exam):
    """Other ratings outside the scenario, the same scores inside it."""
    films = runs.scenarios()["documentary"]
    here = np.isin(exam.train.items, films)
    only = exam._replace(train=exam.train.select(here))
    a = runs.ease_separate(exam, 450.0)["documentary"]
    assert np.array_equal(a, runs.ease_separate(only, 450.0)["documentary"])
    rows = torch.from_numpy(exam.train.matrix()[:9].toarray()).float()
    less = torch.zeros_like(rows)
    less[:, films] = rows[:, films]
    last = list(runs.SCENARIOS).index("documentary")
    for structure, same in (("own", True), ("separate", False), ("experts", False)):
        net = runs.ScenarioNet(structure, 4, exam.train)
        assert torch.equal(net(rows)[last], net(less)[last]) is same


def test_separate_networks_share_no_parameter_and_a_shared_bottom_does(exam):
    rows = torch.from_numpy(exam.train.matrix()[:9].toarray()).float()
    for structure, shares in (("separate", False), ("shared", True), ("experts", True)):
        net = runs.ScenarioNet(structure, 4, exam.train)
        reached = []
        for logits in net(rows)[:2]:
            net.zero_grad()
            logits.sum().backward(retain_graph=True)
            reached.append(net.bottom.weight.grad.abs().sum(dim=1) > 0)
        assert bool((reached[0] & reached[1]).any()) is shares


def test_a_ridge_without_end_is_popularity_and_a_film_never_explains_itself(exam):
    train, groups = exam.train, runs.scenarios()
    for source in ("horror", "documentary"):
        scores = runs.ridge_map(train, groups[source], groups["documentary"], 1e12)
        share = train.counts("items")[groups["documentary"]] / train.n_users
        assert np.allclose(scores, share, atol=1e-6)
    films = groups["documentary"]
    x = train.matrix()[:, films].toarray()
    x = x - x.mean(axis=0)
    scores = runs.ridge_map(train, films, films, 100.0) - train.matrix()[:, films].mean(axis=0)
    others = np.arange(len(films)) != 3
    gram = x[:, others].T @ x[:, others] + 100.0 * np.eye(others.sum())
    by_hand = x[:, others] @ np.linalg.solve(gram, x[:, others].T @ x[:, 3])
    assert np.allclose(np.asarray(scores)[:, 3], by_hand, atol=1e-4)


def test_transfer_to_an_unseen_scenario_knows_no_rating_of_it(exam):
    films = runs.scenarios()["documentary"]
    others = exam.train.select(~np.isin(exam.train.items, films))
    assert others.counts("items")[films].sum() == 0
    thin = runs.thinned(exam.train, films, 0.05, 0)
    assert 0 < thin.counts("items")[films].sum() < 0.2 * exam.train.counts("items")[films].sum()
    rest = np.setdiff1d(np.arange(exam.train.n_items), films)
    assert np.array_equal(thin.counts("items")[rest], exam.train.counts("items")[rest])


def test_no_row_of_the_exam_reaches_a_choice(exam):
    """Another exam, the same choices."""
    rng = np.random.default_rng(0)
    other = exam._replace(relevant=exam.relevant[:, rng.permutation(exam.train.n_items)].tocsr())
    other = other._replace(relevant=other.relevant - other.relevant.multiply(exam.seen > 0))
    other.relevant.eliminate_zeros()
    inner = runs.halves(0)["validation"]
    found = [
        runs.choose(lambda half, l2: runs.ease_separate(half, l2), [150.0, 4000.0], both)
        for both in ({"validation": inner, "test": exam}, {"validation": inner, "test": other})
    ]
    assert found[0]["chosen"] == found[1]["chosen"]
    assert found[0]["validation"] == found[1]["validation"]
    assert found[0]["grades"] != found[1]["grades"]

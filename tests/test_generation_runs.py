"""The stored runs of section 5.7: by the present code, complete, and what they say they are."""

import sys
from pathlib import Path

import numpy as np
import pytest

SECTION = Path(__file__).parents[1] / "chapters" / "5_llm_finetuning"
sys.path.insert(0, str(SECTION))
import generation_runs as runs  # noqa: E402  it stands beside its page, not in a package

GROUPS = [f"seed {seed}" for seed in runs.SEEDS]


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


def test_every_kind_of_run_is_stored(stored):
    wanted = list(runs.runs(stored))
    assert len(wanted) == len(runs.PROMPTS) + len(runs.EXPERIMENTS) * len(runs.SEEDS)


def test_nobody_who_is_reported_chose_the_wording():
    users = {group: set(runs.users_of(group)) for group in ("tuning", *GROUPS)}
    assert sum(map(len, users.values())) == len(set.union(*users.values()))


def test_no_prompt_holds_the_held_out_film():
    titles = runs.movielens()[1]
    for group in GROUPS:
        test = runs.zero_shot.split_of(int(group.split()[1])).test
        held_out = dict(zip(test.users.tolist(), test.items.tolist()))
        for user in runs.users_of(group):
            assert held_out[user] not in runs.seen_by(group, user)
            history = runs.zero_shot.history_of(group, user)
            seen = {titles[item] for item in runs.seen_by(group, user)}
            assert 5 <= len(history) <= 8 and set(history) <= seen


def test_lists_are_of_new_films_each_once(stored):
    titles = runs.movielens()[1]
    for experiment in ("greedy", "beam", "exact"):
        for group in GROUPS:
            lists = stored[f"{experiment}/{group}"]["lists"]
            assert len(lists) == runs.N_USERS
            for user, items in zip(runs.users_of(group), lists):
                assert len({titles[item] for item in items}) == len(items) == runs.N_LIST
                assert not set(items) & set(runs.seen_by(group, user))


def test_the_exact_ten_are_at_least_as_likely_as_the_beams(stored):
    for group in GROUPS:
        exact, beam = (np.array(stored[f"{kind}/{group}"]["log_p"]) for kind in ("exact", "beam"))
        assert (np.diff(exact) <= 1e-6).all() and (exact >= beam - 1e-3).all()


def test_reasons_are_for_the_first_of_the_exact_ten(stored):
    for group in GROUPS:
        told, exact = stored[f"reasons/{group}"], stored[f"exact/{group}"]
        assert told["films"] == [items[0] for items in exact["lists"]]
        for row, user in enumerate(runs.users_of(group)):
            n = len(runs.zero_shot.history_of(group, user))
            assert 0 <= told["named"][row] < n and len(told["scores"][row]) == n + 1
            assert abs(told["scores"][row][0] - exact["log_p"][row][0]) < 1e-3
        assert set(told["genres"]) <= set(runs.genres())


@pytest.mark.parametrize(
    ("name", "titles"),
    [
        ("the SHINING (1980)", ["The Shining"]),
        ("Seven", ["Seven (Se7en)"]),
        ("La Femme Nikita", ["Nikita (La Femme Nikita)"]),
        ("Sabrina", ["Sabrina", "Sabrina"]),  # of two years
        ("Les Misérables", ["Les Misérables"]),
        ("The Big Apple", []),
        ("E", []),
        ("", []),
        ("...", []),
    ],
)
def test_which_film_a_name_means(name, titles):
    assert [runs.movielens()[1][item] for item in runs.films_meant(name)] == titles


def test_every_title_means_its_film():
    for item, title in enumerate(runs.movielens()[1]):
        assert item in runs.films_meant(title)


def test_a_slip_is_nearly_the_title_and_another_name_is_not():
    assert runs.nearly("The Shawshank Redemtion") == runs.films_meant("The Shawshank Redemption")
    assert runs.nearly("Zzyzx Qwertyuiop") == ()


def test_names_are_what_stands_between_quotation_marks():
    assert runs.named('- "Heat"\n1. "Ed" (1996)\n"never closed\n- bare') == ["Heat", "Ed"]


def test_useful_films_are_new_to_the_user_and_count_once():
    user, titles = runs.users_of("tuning")[0], runs.movielens()[1]
    seen = runs.seen_by("tuning", user)
    new = next(i for i in range(len(titles)) if not set(runs.films_meant(titles[i])) & set(seen))
    text = f'- "{titles[new]}"\n- "{titles[new]}"\n- "{titles[seen[0]]}"\n- "Zzyzx Qwertyuiop"\n'
    assert runs.useful(text, "tuning", user) == 1


def test_a_stopped_script_goes_on_where_it_was(monkeypatch, tmp_path):
    done = []
    monkeypatch.setattr(runs, "STORE", tmp_path / "generation_runs.json")
    work = {"store": runs.STORE, "code": lambda run: "one", "wanted": runs.runs}

    def perform(run, stored):
        done.append(run.key)
        return {"texts": ["-"] * runs.N_TUNING, "lists": [[0]] * runs.N_USERS}

    with pytest.raises(FileNotFoundError, match=r"Make it: python generation_runs\.py"):
        runs.load_runs()
    assert runs.stored_runs.work_through(**work, perform=perform, minutes=-1) == 1
    assert runs.stored_runs.work_through(**work, perform=perform, only="wording viewer") == 0
    assert runs.stored_runs.work_through(**work, perform=perform) == 0
    assert len(done) == len(set(done)) == len(runs.load_runs())
    assert done.index("exact/seed 0") < done.index("reasons/seed 0")

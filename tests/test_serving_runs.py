"""The stored runs of section 7.3's second half: made by the present code, complete, plausible."""

import sys
from pathlib import Path

import numpy as np
import pytest

from recsys_lab.limits.neighbours import exact_top_k, recall

SECTION = Path(__file__).parents[1] / "chapters" / "7_limitations"
sys.path.insert(0, str(SECTION))
import serving_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


def test_the_store_is_small():
    assert runs.STORE.stat().st_size < 1_000_000


@pytest.mark.parametrize("draw", runs.DRAWS)
def test_recall_grows_with_the_cells_and_two_programs_agree(stored, draw):
    run = stored[f"ann/curve/{draw}"]
    for name in ("ours ip", "ours l2", "faiss cells", "shapeless ours ip"):
        shares = [share for _, share in run[name]]
        assert len(shares) == len(runs.PROBES) and shares == sorted(shares) and shares[-1] <= 1
    ours, theirs = (np.array(run[name])[:, 1] for name in ("ours ip", "faiss cells"))
    assert np.abs(ours - theirs).max() < 0.005  # ties in float32


def test_grown_vectors_lie_between_real_ones(monkeypatch):
    rng = np.random.default_rng(0)
    real = np.vstack([rng.normal(0, 0.01, (20, 4)), rng.normal(9, 0.01, (20, 4))])
    real = real.astype(np.float32)
    made = runs.grown(real, 500, 0)
    assert made.dtype == np.float32 and made.shape == (500, 4)
    spread = 0.1 * real.std(0)  # of the noise; the two groups stay apart
    assert (np.minimum(np.abs(made), np.abs(made - 9)) < 0.1 + 6 * spread).all()
    assert (made == runs.grown(real, 500, 0)).all()
    assert not (made == runs.grown(real, 500, 1)).all()


def test_shapeless_vectors_have_the_moments_of_the_real_ones():
    rng = np.random.default_rng(1)
    real = rng.normal(0, 1, (300, 3)) @ np.array([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 2]]) + 3
    made = runs.shapeless(real, 40_000, 0)
    assert np.allclose(made.mean(0), real.mean(0), atol=0.1)
    assert np.allclose(np.cov(made.T), np.cov(real.T), atol=0.15)


def test_points_reports_recall():
    items = np.eye(6, dtype=np.float32) * np.arange(1, 7, dtype=np.float32)[:, None]
    queries = np.ones((3, 6), np.float32)
    true = exact_top_k(queries, items, 2)
    half = np.array([[true[0, 0], -1]])
    seconds, share = runs.points(lambda query: half, queries, true)
    assert share == 0.5 == recall(half, true[:1])[0] and seconds >= 0


def test_places_of_the_cascade():
    """The film stands at 3 of EASE's list; the second model likes what comes later."""
    head = np.arange(200)[None]
    second = np.arange(200.0)[None]  # the last is best
    found = runs.places(head, second, np.array([2]))
    assert found == {"0": [3], "10": [8], "50": [48], "200": [198]}
    assert runs.places(head, second, np.array([999])) == {key: [0] for key in found}
    assert runs.places(head, second, np.array([30]))["10"] == [31], "what is not ordered anew stays"


@pytest.mark.parametrize("draw", runs.DRAWS)
def test_under_load_answers_and_refusals_add_up(stored, draw):
    run = stored[f"load/elsewhere/{draw}"]
    rows = run["rows"]
    for share, row in rows.items():
        assert set(row["status"]) <= {"200", "503"}, "an error that is not clean"
        assert len(row["answered"]) == row["status"]["200"]
        asked = sum(row["status"].values())
        want = float(share) * run["capacity"] * run["settings"]["seconds"]
        assert asked == max(20, round(want)) or abs(asked - want) < 1
    assert rows["2.0"]["status"]["503"] > 0.3 * sum(rows["2.0"]["status"].values())
    assert rows["0.1"]["status"].keys() == {"200"}


def test_without_a_bound_the_wait_grows_with_the_run(stored):
    for draw in runs.TWO:
        run = stored[f"longer/elsewhere/{draw}"]
        wait = [np.percentile(run[f"open 0/{s}"]["answered"], 99) for s in runs.LENGTHS]
        bound = [np.percentile(run[f"open {runs.LIMIT}/{s}"]["answered"], 99) for s in runs.LENGTHS]
        assert wait[-1] > 2 * wait[0] and max(bound) < wait[-1] / 2
        assert run["open 0/8"]["status"].keys() == {"200"}


def test_the_cascade_is_stored_for_every_user_and_timed(stored):
    base = stored["behind/MiniLM/0"]["places"]["0"]
    for key in [run.key for run in runs.runs(stored) if run.group == "behind"]:
        run = stored[key]
        n = runs.N_READ if "SmolLM2" in key else 943
        assert all(len(place) == n for place in run["places"].values())
        mine = dict(zip(run["users"], run["places"]["0"]))
        assert all(base[user] == place for user, place in mine.items()), "EASE's own places"
        found = np.array(list(run["places"].values())) > 0
        assert (found == found[0]).all(), "an order anew neither finds nor loses a film"
        assert {*run["seconds"]} == {"0", *map(str, runs.TOPS)}


def test_a_shared_request_gives_what_one_process_gives():
    """Half the titles each: the sums add up; half the films each: the best are among the two."""
    read = runs.work_of("MiniLM")
    assert np.allclose(read(3, 0, 1), read(3, 0, 2) + read(3, 1, 2), atol=1e-4)
    best = runs.work_of("stored")
    whole, first, second = best(3, 0, 1), best(3, 0, 2), best(3, 1, 2) + 841
    assert set(whole) <= {*first, *second}

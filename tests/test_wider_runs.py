"""The stored runs of section 7.3, first half: made by the present code, complete, consistent."""

import sys
from pathlib import Path

import numpy as np
import pytest

SECTION = Path(__file__).parents[1] / "chapters" / "7_limitations"
sys.path.insert(0, str(SECTION))
import wider_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


def curves(stored, *, wrong: bool):
    for key, run in stored.items():
        if key.startswith("curve/") and ("mean of means" in key) == wrong:
            yield run, stored[f"curve/one/{run['settings']['seed']}"]


def test_every_exact_way_gives_the_curve_of_one_process(stored):
    ways = list(curves(stored, wrong=False))
    assert len(ways) >= 12
    for run, one in ways:
        assert len(run["losses"]) == runs.STEPS
        assert np.abs(np.subtract(run["losses"], one["losses"])).max() < 1e-4


def test_the_mean_of_means_does_not(stored):
    for run, one in curves(stored, wrong=True):
        assert np.abs(np.subtract(run["losses"], one["losses"])).max() > 1e-3


def test_shards_add_up_to_what_one_process_finds(stored):
    for run in (run for key, run in stored.items() if key.startswith("curve/")):
        total, n = np.sum(run["shards"], axis=0)
        assert n == run["alone"][1] == 943
        assert abs(total / n - run["alone"][0] / n) < 1e-12
        if "per_user" in run:
            assert abs(np.mean(run["per_user"]) - total / n) < 1e-4


def test_the_killed_run_went_on_from_its_checkpoint(stored):
    killed, more = stored["curve/killed/0"], stored["curve/two then four/0"]
    assert killed["resumed"] == runs.KILL_AT // 8 * 8 and more["resumed"] == runs.KILL_AT
    assert len(more["shards"]) == 4


def test_clocks_are_plausible(stored):
    one, two = stored["time/one"], stored["time/two"]
    for key in [f"128 {batch}" for batch in runs.BATCHES] + [f"{w} 96" for w in runs.WIDTHS]:
        (work, _, move), (half, talk, both) = one[key], two[key]
        assert 0.3 * work < half < 0.9 * work, "two processes share the work"
        assert 0.5 * move < both < 2 * move, "each moves all weights"
        assert talk > 0
    assert one["128 96"][0] < one["128 384"][0] < one["128 768"][0]
    assert two["32 96"][1] < two["512 96"][1], "more weights, more to send"

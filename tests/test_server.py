"""The endpoint: clean answers and errors, a bound that holds, a stop that loses nobody."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from recsys_lab.data import load_movielens
from recsys_lab.limits import load, server
from recsys_lab.limits.served import serving
from recsys_lab.models import Popularity

START = [sys.executable, "-m", "recsys_lab.limits.server", "--port", "0"]


def get(url: str) -> tuple[int, dict, dict]:
    """Status, JSON, headers; errors too."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, json.loads(answer.read()), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), dict(error.headers)


@pytest.fixture(scope="module")
def url():
    options = ["--model", "popularity", "--pause", "0.2", "--limit", "3", "--deadline", "5"]
    with serving(*options) as address:
        yield address


# ---- over the wire -----------------------------------------------------------------------------
def test_the_answer_is_the_models(url):
    status, said, headers = get(f"{url}/recommend?user=7&k=20")
    data = load_movielens()
    scores = Popularity().fit(data).score(np.array([7]))[0]
    scores = np.where(data.matrix()[7].toarray()[0] > 0, -np.inf, scores)
    assert status == 200 and said["user"] == 7 and len(set(said["items"])) == 20
    assert (scores[said["items"]] == np.sort(scores)[::-1][:20]).all()
    assert headers["Content-Type"].startswith("application/json")
    assert len(get(f"{url}/recommend?user=7")[1]["items"]) == 10


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("recommend", 400, "user is missing"),
        ("recommend?k=5", 400, "user is missing"),
        ("recommend?user=943", 400, "user must be a whole number, 0 to 942"),
        ("recommend?user=-1", 400, "user must be"),
        ("recommend?user=", 400, "user must be"),
        ("recommend?user=1.5", 400, "user must be"),
        ("recommend?user=%D9%A3", 400, "user must be"),  # an Arabic three
        ("recommend?user=%FF", 400, "Bad Request"),  # no letter at all
        ("recommend?user=" + "9" * 50, 400, "user must be"),
        ("recommend?user=1&k=0", 400, "k must be a whole number, 1 to 1682"),
        ("recommend?user=1&k=ten", 400, "k must be"),
        ("recommend?user=1&k=1683", 400, "k must be"),
        ("", 404, "nothing here"),
        ("../../etc/passwd", 404, "nothing here"),
    ],
)
def test_errors_are_json_with_a_remedy(url, path, status, words):
    code, said, headers = get(f"{url}/{path}")
    assert (code, set(said)) == (status, {"error"}) and words in said["error"]
    assert headers["Content-Type"].startswith("application/json")


def test_only_get_is_served(url):
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"{url}/recommend?user=1", data=b"user=2", timeout=20)
    assert error.value.code == 405 and json.loads(error.value.read())["error"]


def test_too_many_are_turned_away_at_once_and_the_others_answered(url):
    found = load.open_loop([f"{url}/recommend?user={u}" for u in range(12)], np.zeros(12))
    assert (found.status == 200).sum() >= 3 and set(found.status.tolist()) == {200, 503}
    turned = ~found.answered
    assert turned.sum() >= 6  # three inside at 0.2 s each; the twelve come within one of them
    assert found.latency[turned].min() < found.latency[found.answered].max()
    assert get(f"{url}/recommend?user=1")[0] == 200, "room again afterwards"


def test_who_is_turned_away_hears_when_to_come_back(url):
    with ThreadPoolExecutor(12) as pool:
        said = list(pool.map(lambda user: get(f"{url}/recommend?user={user}"), range(12)))
    turned = [one for one in said if one[0] == 503]
    assert turned and all(headers["Retry-After"] == "1" for _, _, headers in turned)
    assert all(body == {"error": "too many requests"} for _, body, _ in turned)


def test_health_answers_while_the_model_works(url):
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(get, f"{url}/recommend?user=1")
        seen = []
        while not busy.done():
            seen.append(get(f"{url}/health")[1])
        assert busy.result()[0] == 200
    assert any(one == {"status": "ok", "inside": 1} for one in seen)


def test_it_listens_on_this_machine_only(url):
    assert url.startswith("http://127.0.0.1:")
    with socket.socket() as probe:  # some other address of this machine
        probe.settimeout(2)
        assert probe.connect_ex(("127.0.0.2", int(url.rsplit(":", 1)[1]))) != 0


def test_sigterm_finishes_what_is_inside_and_leaves_nobody():
    command = [*START, "--model", "popularity", "--pause", "0.5", "--processes", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        where = json.loads(process.stdout.readline())["url"]
        family = _children(process.pid)
        with ThreadPoolExecutor(1) as pool:
            last = pool.submit(get, f"{where}/recommend?user=3")
            while get(f"{where}/health")[1]["inside"] == 0 and not last.done():
                pass
            process.send_signal(signal.SIGTERM)
            assert last.result()[0] == 200
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0 and not out and "Traceback" not in err
    end = time.monotonic() + 20
    while any(map(_alive, family)) and time.monotonic() < end:
        time.sleep(0.1)
    assert family and not any(map(_alive, family))


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(one) for one in file.read().split()]


def test_a_bad_command_line_says_what_is_wrong():
    for options, words in (
        (["--limit", "-1"], "0 or more"),
        (["--deadline", "0"], "positive"),
        (["--port", "70000"], "65535"),
        (["--model", "GPT"], "invalid choice"),
    ):
        with pytest.raises(SystemExit) as error, pytest.MonkeyPatch.context() as patch:
            said = []
            patch.setattr(sys.stderr, "write", said.append)
            server.parse(options)
        assert error.value.code == 2 and words in "".join(said)


def test_a_server_that_does_not_start_says_why():
    with pytest.raises(RuntimeError, match="invalid choice"), serving("--model", "GPT"):
        pass

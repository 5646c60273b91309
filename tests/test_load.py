"""Arrivals, queues, percentiles, and a client that does not wait for a slow server."""

import asyncio
import threading
import time
from fractions import Fraction as F

import numpy as np
import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from recsys_lab.limits import load


def test_arrivals_are_a_poisson_stream():
    times = load.arrivals(50, 20_000, seed=1)
    gaps = np.diff(times)
    assert (gaps > 0).all() and gaps.mean() == pytest.approx(1 / 50, rel=0.05)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # as of an exponential
    assert (times == load.arrivals(50, 20_000, seed=1)).all()
    for bad in ((0, 5), (-1, 5), (1, 0), (float("nan"), 5)):
        with pytest.raises(ValueError, match="positive rate"):
            load.arrivals(*bad)


def test_lindley_is_exact_on_fractions():
    arrive, service = [F(0), F(1, 2), F(1), F(4)], [F(3, 4)] * 4
    waits = load.lindley(arrive, service)
    assert waits == [0, F(1, 4), F(1, 2), 0] and all(isinstance(w, F) for w in waits)
    assert load.lindley([], []) == []
    with pytest.raises(ValueError, match="in order of time"):
        load.lindley([1, 0], [1, 1])
    with pytest.raises(ValueError, match="one service time"):
        load.lindley([0, 1], [1])


def test_lindley_is_a_queue_served_in_turn():
    rng = np.random.default_rng(0)
    arrive, service = load.arrivals(1, 500, 2), rng.exponential(0.8, 500)
    free, waits = 0.0, []
    for start, busy in zip(arrive, service):
        begin = max(start, free)
        waits.append(begin - start)
        free = begin + busy
    assert np.allclose(load.lindley(arrive, service), waits)


@pytest.mark.parametrize("rho", [0.3, 0.6])
def test_mean_waits_are_those_of_the_formulas(rho):
    n, rng = 200_000, np.random.default_rng(4)
    arrive = load.arrivals(rho, n, 5)
    same, varied = np.ones(n), rng.exponential(1, n)
    assert np.mean(load.lindley(arrive, same)) == pytest.approx(rho / 2 / (1 - rho), rel=0.1)
    assert np.mean(load.lindley(arrive, varied)) == pytest.approx(rho / (1 - rho), rel=0.15)


def test_percentiles_and_their_intervals():
    x = np.random.default_rng(0).exponential(1, 2000)
    found = load.percentile(x, 95)
    assert found.mean == np.percentile(x, 95) and found.n == 2000
    assert found.low < -np.log(0.05) < found.high
    assert found == load.percentile(x, 95)
    for bad in (([], 50), ([1.0], 101), ([1.0], -1)):
        with pytest.raises(ValueError, match="percentile"):
            load.percentile(*bad)
    with pytest.raises(ValueError, match="blocks of 3"):
        load.percentile([1.0, 2.0], 50, block=3)


def test_blocks_widen_the_interval_where_neighbours_are_alike():
    waits = np.array(load.lindley(load.arrivals(0.9, 4000, 0), np.ones(4000)))
    one, block = load.percentile(waits, 95), load.percentile(waits, 95, block=200)
    assert block.high - block.low > 2 * (one.high - one.low)
    whole = load.percentile(waits, 95, block=4000)  # one block is the series itself
    assert whole.low == whole.high == whole.mean


# ---- a server that this test holds in its hands -------------------------------------------------
class Slow(RequestHandler):
    async def get(self):
        await asyncio.sleep(float(self.get_argument("wait", "0")))
        self.set_status(int(self.get_argument("status", "200")))
        self.finish("done")


@pytest.fixture(scope="module")
def url():
    ready, stop, address = threading.Event(), [], []

    async def serve():
        end = asyncio.Event()
        server = HTTPServer(Application([("/", Slow)], log_function=lambda _: None))
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        address.append(f"http://127.0.0.1:{sockets[0].getsockname()[1]}")
        stop.extend([asyncio.get_running_loop(), end])
        ready.set()
        await end.wait()
        server.stop()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield address[0]
    stop[0].call_soon_threadsafe(stop[1].set)
    thread.join(10)


def test_an_open_loop_does_not_wait_for_answers(url):
    """Eighty requests of half a second each, all sent in the first tenth of a second."""
    starts, begin = np.linspace(0, 0.1, 80), time.perf_counter()
    found = load.open_loop([f"{url}/?wait=0.5"] * 80, starts)
    assert time.perf_counter() - begin < 3, "ten at a time they take four seconds"
    assert (found.intended == starts).all() and found.answered.all()
    assert (found.sent >= found.intended).all() and (found.latency > 0.49).all()


def test_a_closed_loop_waits(url):
    begin = time.perf_counter()
    found = load.closed_loop([f"{url}/?wait=0.1"] * 10, 2)
    assert time.perf_counter() - begin > 0.45 and len(found.status) == 10
    assert (found.intended == found.sent).all()


def test_latency_counts_from_the_intended_start():
    found = load.Outcomes(*map(np.array, ([0.0, 1], [0.5, 1], [0.75, 3], [200, 503])))
    assert found.latency.tolist() == [0.75, 2.0]
    assert found.answered.tolist() == [True, False] and found.throughput == 1 / 3


def test_errors_and_silence_are_outcomes_not_exceptions(url):
    found = load.open_loop([f"{url}/?status=503", f"{url}/?wait=3"], np.zeros(2), timeout=0.5)
    assert found.status.tolist() == [503, load.NO_ANSWER]
    nobody = load.open_loop(["http://127.0.0.1:9/"], np.zeros(1), timeout=2)
    assert nobody.status.tolist() == [load.NO_ANSWER]
    with pytest.raises(ValueError, match="2 requests and 1 starts"):
        load.open_loop(["a", "b"], np.zeros(1))

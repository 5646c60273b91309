"""The bounded queue by itself, and the models that stand behind it."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from recsys_lab.limits import server
from recsys_lab.limits.desk import Desk, Refused
from recsys_lab.limits.served import Ranker
from recsys_lab.models import EASE


# ---- the desk alone ----------------------------------------------------------------------------
def at_desk(visit, answer, **settings):
    """Run visit(desk) in a loop of its own."""

    async def run():
        with ThreadPoolExecutor(4) as pool:
            desk = Desk(answer, pool, **settings)
            desk.start()
            try:
                return await visit(desk)
            finally:
                for worker in desk.workers:
                    worker.cancel()

    return asyncio.run(run())


def test_a_late_request_is_refused_and_no_work_is_done_for_it():
    asked = []

    def slow(users, k):
        asked.extend(users)
        time.sleep(0.4)
        return [[user] * k for user in users]

    async def visit(desk):
        found = await asyncio.gather(
            *(desk.ask(user, 2) for user in range(4)), return_exceptions=True
        )
        inside = desk.inside
        await asyncio.sleep(0.6)
        return found, inside, await desk.ask(9, 1)

    found, inside, later = at_desk(visit, slow, deadline=0.6)
    assert found[0] == [0, 0] and all(isinstance(one, Refused) for one in found[1:])
    assert inside == 0 and later == [9]
    assert asked[:2] == [0, 1] and 3 not in asked, "worked for somebody who had gone"


def test_a_bound_of_nought_is_no_bound():
    async def visit(desk):
        return await asyncio.gather(*(desk.ask(user, 1) for user in range(500)))

    assert len(at_desk(visit, lambda users, k: [[u] for u in users], limit=0, deadline=30)) == 500


def test_those_who_wait_are_answered_together_each_with_its_own_k():
    sizes, gate = [], threading.Event()

    def answer(users, k):
        sizes.append(len(users))
        if len(sizes) == 1:
            gate.wait(10)
        return [list(range(user, user + k)) for user in users]

    async def visit(desk):
        tasks = [asyncio.create_task(desk.ask(u, u + 1)) for u in range(6)]
        while not sizes:
            await asyncio.sleep(0.01)
        gate.set()
        return await asyncio.gather(*tasks)

    found = at_desk(visit, answer, batch=4, deadline=20)
    assert found == [list(range(u, 2 * u + 1)) for u in range(6)]
    assert sum(sizes) == 6 and max(sizes) <= 4 and len(sizes) < 6


def test_a_failure_of_the_model_reaches_its_own_requests_and_no_later_one():
    def fragile(users, k):
        if 13 in users:
            raise KeyError("secret")
        return [[user] for user in users]

    async def visit(desk):
        with pytest.raises(KeyError):
            await desk.ask(13, 1)
        return await desk.ask(1, 1), desk.inside

    assert at_desk(visit, fragile) == ([1], 0)


def test_a_failure_of_the_model_says_nothing_of_its_inside():
    """Through HTTP: 500, and not a word of the exception."""

    def broken(users, k):
        raise RuntimeError("secret path /srv/model")

    async def visit(desk):
        sockets = bind_sockets(0, "127.0.0.1")
        web = HTTPServer(server.application(desk, 5, 5))
        web.add_sockets(sockets)
        where = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/recommend?user=1&k=2"
        answer = await AsyncHTTPClient(force_instance=True).fetch(where, raise_error=False)
        desk.open = False
        stopping = await AsyncHTTPClient(force_instance=True).fetch(where, raise_error=False)
        web.stop()
        return answer, stopping

    answer, stopping = at_desk(visit, broken)
    assert answer.code == 500 and json.loads(answer.body) == {"error": "Internal Server Error"}
    assert stopping.code == 503 and b"stopping" in stopping.body


# ---- what is served ----------------------------------------------------------------------------
def test_a_batch_gives_the_lists_of_single_requests():
    ranker = Ranker("EASE")
    together = ranker([3, 700, 3], 12)
    assert together == [ranker([user], 12)[0] for user in (3, 700, 3)]
    assert together[0] == together[2]
    assert not set(together[0]) & set(ranker.data.matrix()[3].indices)
    model = EASE(400).fit(ranker.data)  # of the course, by its own way
    assert together == model.recommend(np.array([3, 700, 3]), k=12).tolist()


def test_more_than_is_left_is_what_is_left():
    ranker = Ranker("popularity")
    unseen = ranker.data.n_items - ranker.data.matrix()[0].nnz
    assert len(ranker([0], ranker.data.n_items)[0]) == unseen


def test_an_unknown_model_is_refused():
    with pytest.raises(ValueError, match="choose popularity"):
        Ranker("GPT")
    with pytest.raises(ValueError, match="pause -1"):
        Ranker("EASE", -1)

"""Requests at the times they are meant to start, and how sure a percentile of their latency is.

Derived in chapters/7_limitations/3_wider.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from tornado.httpclient import HTTPError
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from recsys_lab.evaluation import Estimate, interval

NO_ANSWER = 599  # no answer in time, or no connection


class Outcomes(NamedTuple):
    """What became of n requests, in the order in which they were meant to start."""

    intended: np.ndarray  # (n,) seconds since the run began
    sent: np.ndarray  # (n,) when it was sent
    done: np.ndarray  # (n,) when its answer, or its failure, was known
    status: np.ndarray  # (n,) of HTTP; 599 where none came

    @property
    def latency(self) -> np.ndarray:
        """Seconds from the intended start: what a user waits."""
        return self.done - self.intended

    @property
    def answered(self) -> np.ndarray:
        return self.status == 200

    @property
    def throughput(self) -> float:
        """Answers a second, from the first intended start to the last answer."""
        return float(self.answered.sum() / (self.done.max() - self.intended.min()))


def arrivals(rate: float, n: int, seed: int = 0) -> np.ndarray:
    """(n,) times of a Poisson stream: the gaps are exponential with mean 1 / rate."""
    if not rate > 0 or n < 1:
        raise ValueError(f"rate={rate}, n={n}: a positive rate and at least one request.")
    return np.random.default_rng(seed).exponential(1 / rate, n).cumsum()


def lindley(arrive: Sequence[Any], service: Sequence[Any]) -> list[Any]:
    """Time that each request waits for one server that takes them in turn; exact on fractions.

    Lindley (1952): the next wait is what is left of this one's wait and service when the next
    arrives, or nothing.

    Raises:
        ValueError: other lengths, or times that run backwards.
    """
    gaps = [late - early for early, late in pairwise(arrive)]
    if len(arrive) != len(service) or any(gap < 0 for gap in gaps):
        raise ValueError("one service time for each arrival, and arrivals in order of time.")
    waits = [0 * one for one in service[:1]]
    for gap, busy in zip(gaps, service):
        waits.append(max(waits[-1] + busy - gap, 0 * gap))
    return waits


def open_loop(urls: Sequence[str], starts: np.ndarray, timeout: float = 60) -> Outcomes:
    """Send request j at starts[j], whether or not earlier ones are answered.

    Args:
        urls: (n,) what is asked.
        starts: (n,) seconds from now, ascending.
        timeout: seconds after which a request counts as not answered.
    """
    if len(urls) != len(starts):
        raise ValueError(f"{len(urls)} requests and {len(starts)} starts.")

    async def run(ask: Callable[[str], Awaitable[int]], begin: float) -> list[tuple]:
        async def one(url: str, start: float) -> tuple:
            await asyncio.sleep(max(0.0, start - (time.perf_counter() - begin)))
            sent = time.perf_counter() - begin
            status = await ask(url)
            return start, sent, time.perf_counter() - begin, status

        return await asyncio.gather(*map(one, urls, starts))

    return _outcomes(run, timeout)


def closed_loop(urls: Sequence[str], n_clients: int = 1, timeout: float = 60) -> Outcomes:
    """Each client sends its next request when its last is answered: slow answers slow it down.

    Here a request is "meant to start" when it is sent: that is the mistake which
    chapters/7_limitations/3_wider shows (coordinated omission).
    """

    async def run(ask: Callable[[str], Awaitable[int]], begin: float) -> list[tuple]:
        left, found = iter(urls), []

        async def client() -> None:
            for url in left:
                sent = time.perf_counter() - begin
                status = await ask(url)
                found.append((sent, sent, time.perf_counter() - begin, status))

        await asyncio.gather(*(client() for _ in range(n_clients)))
        return found

    return _outcomes(run, timeout)


def _outcomes(run: Callable[..., Awaitable[list[tuple]]], timeout: float) -> Outcomes:
    """In a thread with a loop of its own: a notebook has one that runs already."""

    async def session() -> list[tuple]:
        # The library's default is ten requests at a time: the eleventh would wait in the client.
        client = SimpleAsyncHTTPClient(force_instance=True, max_clients=100_000)

        async def ask(url: str) -> int:
            wait = {"connect_timeout": timeout, "request_timeout": timeout}
            try:
                return (await client.fetch(url, raise_error=False, **wait)).code
            except (OSError, HTTPError):  # a timeout is an error, whatever raise_error says
                return NO_ANSWER

        return await run(ask, time.perf_counter())

    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(asyncio.run, session()).result()
    return Outcomes(*(np.array(part) for part in zip(*found)))


def percentile(
    x: np.ndarray, level: float, block: int = 1, n_boot: int = 1000, seed: int = 0
) -> Estimate:
    """A percentile (0..100) with its 95 % bootstrap interval; `block` neighbours drawn together.

    Requests in one queue wait for each other, so neighbours are alike, and drawing them one by one
    gives intervals that are too short. Blocks: Künsch (1989).
    """
    x = np.asarray(x, dtype=float)
    if not len(x) or not 0 <= level <= 100 or not 1 <= block <= len(x):
        raise ValueError(f"{len(x)} values, percentile {level}, blocks of {block}.")
    rng, n_blocks = np.random.default_rng(seed), -(-len(x) // block)
    draws = np.empty(n_boot)
    for draw in range(n_boot):
        first = rng.integers(len(x) - block + 1, size=n_blocks)
        draws[draw] = np.percentile(x[(first[:, None] + np.arange(block)).ravel()], level)
    return Estimate(float(np.percentile(x, level)), *interval(draws), len(x))

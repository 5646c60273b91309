"""A bounded queue in front of a model: as many requests inside as it can serve in time, no more.

Derived in chapters/7_limitations/3_wider.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from tornado.web import HTTPError

Answer = Callable[[Sequence[int], int], list[list[int]]]  # users, k -> their k best items


class Refused(HTTPError):
    """An error whose words are meant for the client."""

    def __init__(self, status: int, words: str):
        super().__init__(status)
        self.words = words


class Desk:
    """Takes requests one by one, answers up to `batch` at once, turns away what is too much.

    Args:
        answer: (users, k) -> lists of items; called in the executor.
        limit: requests inside at a time; 0 for no bound.
        deadline: seconds that a request may be inside.
        batch: the most users in one call of `answer`: those that wait already, no one else.
        n_calls: calls at a time.
    """

    def __init__(
        self,
        answer: Answer,
        executor: Executor,
        limit: int = 64,
        deadline: float = 1.0,
        batch: int = 1,
        n_calls: int = 1,
    ):
        self.answer, self.executor, self.limit = answer, executor, limit
        self.deadline, self.batch, self.n_calls = deadline, batch, n_calls
        self.inside, self.open = 0, True
        self.waiting: asyncio.Queue = asyncio.Queue()

    def start(self) -> None:
        self.workers = [asyncio.create_task(self.work()) for _ in range(self.n_calls)]

    async def ask(self, user: int, k: int) -> list[int]:
        """One request; Refused(503) if there is no room or no time."""
        if not self.open or (self.limit and self.inside >= self.limit):
            raise Refused(503, "too many requests" if self.open else "the server is stopping")
        self.inside += 1
        result = asyncio.get_running_loop().create_future()
        self.waiting.put_nowait((user, k, result))
        try:
            return await asyncio.wait_for(result, self.deadline)
        except TimeoutError:
            raise Refused(503, f"no answer within {self.deadline:g} s") from None
        finally:
            self.inside -= 1

    async def work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            asked = [await self.waiting.get()]
            while len(asked) < self.batch and not self.waiting.empty():
                asked.append(self.waiting.get_nowait())
            asked = [one for one in asked if not one[2].done()]  # nobody waits for the others
            if not asked:
                continue
            users, ks = [one[0] for one in asked], [one[1] for one in asked]
            try:
                found = await loop.run_in_executor(self.executor, self.answer, users, max(ks))
            except Exception as error:
                found = [error] * len(asked)
            for (_, k, result), items in zip(asked, found):
                if result.done():
                    continue
                if isinstance(items, Exception):
                    result.set_exception(items)
                else:
                    result.set_result(items[:k])

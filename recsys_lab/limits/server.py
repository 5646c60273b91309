"""A small endpoint that recommends: python -m recsys_lab.limits.server --model EASE

    GET /recommend?user=7&k=10    {"user": 7, "items": [...]}; 400 for a request that makes no sense
    GET /health                   {"status": "ok", "inside": 3}

A request too many, or one that has waited too long, gets 503 and Retry-After (limits/desk.py).
Errors are JSON and say nothing of the program's inside. SIGTERM: finish what is inside, then stop.
Derived in chapters/7_limitations/3_wider.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from http.client import responses
from multiprocessing import get_context
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from recsys_lab.limits import served
from recsys_lab.limits.desk import Desk, Refused


class Page(RequestHandler):
    """JSON, errors too."""

    def initialize(self, desk: Desk, n_users: int, n_items: int) -> None:
        self.desk, self.sizes = desk, {"user": range(n_users), "k": range(1, n_items + 1)}

    def write_error(self, status_code: int, **about: Any) -> None:
        error = about["exc_info"][1] if "exc_info" in about else None
        if status_code == 503:
            self.set_header("Retry-After", "1")
        self.finish({"error": getattr(error, "words", responses.get(status_code, "error"))})

    def whole(self, name: str, default: str | None = None) -> int:
        """A whole number from the address, in its range."""
        text, allowed = self.get_query_argument(name, default), self.sizes[name]
        if text is None:
            raise Refused(400, f"{name} is missing: /recommend?user=7&k=10")
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) in allowed):
            raise Refused(400, f"{name} must be a whole number, {allowed[0]} to {allowed[-1]}")
        return int(text)


class Recommend(Page):
    async def get(self) -> None:
        user, k = self.whole("user"), self.whole("k", "10")
        self.finish({"user": user, "items": await self.desk.ask(user, k)})


class Health(Page):
    def get(self) -> None:
        self.set_status(200 if self.desk.open else 503)
        self.finish({"status": "ok" if self.desk.open else "stopping", "inside": self.desk.inside})


class Unknown(Page):
    def prepare(self) -> None:
        raise Refused(404, "nothing here: ask /recommend?user=7&k=10 or /health")


def application(desk: Desk, n_users: int, n_items: int) -> Application:
    about = {"desk": desk, "n_users": n_users, "n_items": n_items}
    pages = [("/recommend", Recommend, about), ("/health", Health, about)]
    return Application(
        pages,
        default_handler_class=Unknown,
        default_handler_args=about,
        log_function=lambda _: None,
    )


async def serve(desk: Desk, options: argparse.Namespace, sizes: tuple[int, int]) -> None:
    """Until SIGTERM or Ctrl-C; then what is inside is finished, and nothing new is taken."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    desk.start()
    server = HTTPServer(application(desk, *sizes))
    sockets = bind_sockets(options.port, options.host, backlog=1024)
    server.add_sockets(sockets)
    host, port = sockets[0].getsockname()[:2]
    print(json.dumps({"url": f"http://{host}:{port}", "model": options.model}), flush=True)
    await stop.wait()
    desk.open = False
    server.stop()
    while desk.inside:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)  # the last answers leave
    await server.close_all_connections()


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--model", choices=list(served.MODELS), default="EASE")
    add("--host", default="127.0.0.1", help="other machines can ask only if you change this")
    add("--port", type=int, default=8080, help="0: any free one; it is printed")
    add("--limit", type=int, default=64, help="requests inside at a time; 0: no bound")
    add("--deadline", type=float, default=1.0, help="seconds that a request may be inside")
    add("--batch", type=int, default=1, help="requests that the model answers at once")
    add("--processes", type=int, default=0, help="for the model; 0: a thread of the server")
    add("--pause", type=float, default=0.0, help="seconds that each call of the model sleeps")
    options = parser.parse_args(arguments)
    if options.limit < 0 or options.deadline <= 0 or options.batch < 1 or options.processes < 0:
        parser.error("limit and processes are 0 or more, deadline is positive, batch 1 or more")
    if not 0 <= options.port < 65536 or not 0 <= options.pause < 3600:
        parser.error("port is 0 to 65535, pause 0 or more")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    logging.getLogger("tornado.access").setLevel(logging.ERROR)
    served.one_thread()
    data = served.load_movielens()
    about = (options.model, options.pause)
    if options.processes:
        given = {"initializer": served.load_worker, "initargs": (*about, os.getpid())}
        executor = ProcessPoolExecutor(options.processes, get_context("spawn"), **given)
        answer = served.answer_worker
        ready = [executor.submit(answer, [0], 10) for _ in range(4 * options.processes)]
        [one.result() for one in ready]  # the models are made before anybody can ask
    else:
        executor, answer = ThreadPoolExecutor(1), served.Ranker(*about)
        answer([0], 10)
    desk = Desk(
        answer, executor, options.limit, options.deadline, options.batch, options.processes or 1
    )
    try:
        asyncio.run(serve(desk, options, (data.n_users, data.n_items)))
    finally:
        executor.shutdown(cancel_futures=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Show the built site at an address on this machine: ``python -m tools.serve``.

Only this machine can reach it. Stop it with Ctrl+C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SITE = Path(__file__).resolve().parent.parent / "_build" / "html"
HOST = "127.0.0.1"


class Quiet(SimpleHTTPRequestHandler):
    """Serve files, keep the terminal free, and let no page go stale while one writes."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()


def open_server(folder: Path, port: int = 8000) -> ThreadingHTTPServer:
    """A server for ``folder`` on the first free port of the twenty from ``port``; 0: any.

    Raises:
        FileNotFoundError: the folder holds no site.
        OSError: all twenty ports are taken.
    """
    if not (folder / "index.html").is_file():
        raise FileNotFoundError(f"no site in {folder}: build it first with `make book`")
    handler = partial(Quiet, directory=str(folder))
    for candidate in [port] if port == 0 else range(port, min(port + 20, 65536)):
        try:
            return ThreadingHTTPServer((HOST, candidate), handler)
        except OSError:
            continue
    raise OSError(f"ports {port} to {port + 19} are taken: name another with --port")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.serve", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="first port to try (8000)")
    parser.add_argument("--folder", type=Path, default=SITE, help="the site (_build/html)")
    options = parser.parse_args(arguments)
    try:
        server = open_server(options.folder, options.port)
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    with server:
        print(f"The book: http://{HOST}:{server.server_port}/  (Ctrl+C stops it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Check the stored outputs, then build the site: ``python -m tools.book``.

The site is built from nothing, with every warning an error: on top of an older build Sphinx would
stay silent about a page it does not read again. ``--no-check`` builds without the first step,
``--check`` stops after it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHOWN = 40  # problems printed before the rest is only counted


class BookError(Exception):
    """The book cannot be built; the message says why and what to do."""


# What makes a browser fetch something by itself. A link that a reader may follow is no source.
_SOURCES = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "embed": ("src",),
    "object": ("data",),
}
_LOADED_LINKS = {
    "stylesheet",
    "preload",
    "modulepreload",
    "icon",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "manifest",
}
_REMOTE = re.compile(r"(?:https?:)?//", re.I)
_REMOTE_IN_CODE = re.compile(
    r"""(?:\bimport\s*\(?|\bfrom\s|\bfetch\()\s*["'`](?:https?:)?//[^"'`\s]+""", re.I
)
_REMOTE_IN_STYLE = re.compile(r"""(?:@import\s*|\burl\()\s*["']?(?:https?:)?//[^"')\s]+""", re.I)
_STYLE_COMMENT = re.compile(r"/\*.*?\*/", re.S)
# Content networks by name, wherever a script mentions one.
_NETWORKS = re.compile(r"[\w.-]*(?:jsdelivr|unpkg|cdnjs|googleapis|esm\.sh|skypack)[\w./@-]*", re.I)


class _Sources(HTMLParser):
    """Collects the remote sources of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.inside = tag if tag in ("script", "style") else ""
        names = _SOURCES.get(tag, ())
        if tag == "link" and set(given.get("rel", "").lower().split()) & _LOADED_LINKS:
            names = ("href",)
        self.found += [given[n] for n in names if _REMOTE.match(given.get(n, "").strip())]
        self.found += remote_in_style(given.get("style", ""))

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.found += _REMOTE_IN_CODE.findall(data) + _NETWORKS.findall(data)
        elif self.inside == "style":
            self.found += remote_in_style(data)


def remote_in_style(css: str) -> list[str]:
    """What a style sheet loads from elsewhere; comments do not count."""
    return _REMOTE_IN_STYLE.findall(_STYLE_COMMENT.sub("", css))


def remote_sources(html: str) -> list[str]:
    """What a browser would fetch from elsewhere while it shows the page."""
    parser = _Sources()
    parser.feed(html)
    return parser.found


def offline_problems(site: Path) -> Iterator[str]:
    """Built pages and style sheets that would need the network."""
    for path in sorted(site.rglob("*.html")):
        for source in dict.fromkeys(remote_sources(path.read_text(encoding="utf-8"))):
            yield f"{path.relative_to(site)}: loads {source} from the network"
    for path in sorted(site.rglob("*.css")):
        for source in remote_in_style(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)}: loads {source} from the network"


def missing_pages(root: Path = ROOT) -> list[str]:
    """Pages that _toc.yml names and that have no file."""
    names = re.findall(
        r"^\s*-?\s*(?:file|root):\s*(\S+)", (root / "_toc.yml").read_text("utf-8"), re.M
    )
    return [
        f"_toc.yml names {name}, but there is no {name}.md or {name}.ipynb"
        for name in names
        if not any((root / f"{name}{suffix}").is_file() for suffix in (".md", ".ipynb"))
    ]


def stored_problems() -> list[str]:
    """What the rules say of every page and of the findings that it stores."""
    from tools import rules  # only a check needs the notebook libraries

    book = [rules.load(path) for path in rules.pages()]
    return [problem for page in book for problem in rules.check(page)] + rules.findings_unique(book)


def build(root: Path = ROOT, log: Path | None = None) -> Path:
    """Build the site from nothing and return its folder.

    Raises:
        BookError: Jupyter Book is missing, or the build warned; the message holds the warnings.
    """
    target = root / "_build"
    for name in ("html", ".doctrees", "jupyter_execute"):
        shutil.rmtree(target / name, ignore_errors=True)
    target.mkdir(exist_ok=True)
    log = log or target / "book.log"
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build"]
    command += [str(root), "-W", "--keep-going", "-n"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=root)
    output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    log.write_text(output, encoding="utf-8")
    if "No module named 'jupyter_book'" in output:
        raise BookError("Jupyter Book is not installed here. Run `make setup`, then `make book`.")
    if done.returncode:
        lines = output.splitlines()
        told = [line for line in lines if re.search(r"\b(?:WARNING|ERROR|CRITICAL)\b", line)]
        told = [_readable(line, root) for line in dict.fromkeys(told)] or lines[-15:]
        raise BookError("\n".join(_short(told)) + f"\nEverything that was said: {log}")
    site = target / "html"
    remote = list(offline_problems(site))
    if remote:
        raise BookError("\n".join(_short(remote)))
    return site


def _readable(line: str, root: Path) -> str:
    """A warning with a short path; MyST-NB counts 10,000 lines to a cell, we name the cell."""

    def place(match: re.Match[str]) -> str:
        cell, rest = divmod(int(match[2]), 10_000)
        return f"{match[1]}: cell {cell}, line {rest}" if cell else match[0]

    return re.sub(r"(\.ipynb):(\d+)", place, line.replace(f"{root}/", ""))


def _short(lines: Sequence[str]) -> list[str]:
    rest = len(lines) - SHOWN
    return [*lines[:SHOWN], *([f"... and {rest} more"] if rest > 0 else [])]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.book", description=__doc__)
    only = parser.add_mutually_exclusive_group()
    only.add_argument(
        "--check", action="store_true", help="check the stored outputs, build nothing"
    )
    only.add_argument("--no-check", action="store_true", help="build without checking first")
    options = parser.parse_args(arguments)

    missing = missing_pages()
    if missing:
        print("\n".join(["The book is incomplete:", *missing]), file=sys.stderr)
        return 1
    if not options.no_check:
        print("Checking the stored outputs ...", flush=True)
        problems = stored_problems()
        if problems:
            print("\n".join(_short(problems)), file=sys.stderr)
            print(
                f"{len(problems)} problems, and nothing was built. "
                "`make execute` runs what is stale; each line says the rest.",
                file=sys.stderr,
            )
            return 1
    if options.check:
        print("The stored outputs are in order.")
        return 0
    print("Building the site ...", flush=True)
    start = time.perf_counter()
    try:
        site = build()
    except BookError as error:
        print(f"The site was not built:\n{error}", file=sys.stderr)
        return 1
    seconds = time.perf_counter() - start
    print(f"Done in {seconds:.0f} s. Open the book: {(site / 'index.html').as_uri()}")
    print("Or run `make serve`.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

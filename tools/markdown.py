"""Reading MyST Markdown line by line: which lines are prose, which are code, which directives stand
where. Enough for the rules on prose; the site itself is built by MyST."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

FENCE = re.compile(r"^\s*(?P<fence>`{3,}|~{3,}|:{3,})\s*(?:\{(?P<kind>[^}]+)\})?(?P<rest>.*)$")
VERBATIM = {"code", "code-block", "code-cell", "sourcecode", "literalinclude", "math", "mermaid"}
VERBATIM |= {"raw", "eval-rst", "bibliography", "include", "toctree", "tableofcontents"}
_INLINE = re.compile(
    r"(?:\{(?P<role>[\w:.+-]+)\})?(?<!`)(?P<ticks>`+)(?!`)"
    r"(?P<content>(?:(?!\n\n).)+?)(?<!`)(?P=ticks)(?!`)",
    re.S,
)
_PROSE_OPTIONS = {"alt", "caption"}
_NO_PROSE_ARGUMENT = {"figure", "image", "solution", "solution-start", "exercise-start"}


def lines(text: str) -> Iterator[tuple[int, str, str, str]]:
    """(line number, line, what it is, directive): text, code, open, option or close."""
    stack: list[tuple[str, str]] = []  # (fence, directive or "" for code)
    options = False
    for number, line in enumerate(text.split("\n"), start=1):
        inside = stack[-1] if stack else ("", None)
        match = FENCE.match(line)
        closes = match and stack and not match["kind"] and not match["rest"].strip()
        if closes and match["fence"].startswith(inside[0]):
            stack.pop()
            yield number, line, "close", inside[1] or ""
            continue
        verbatim = stack and (inside[1] == "" or inside[1] in VERBATIM)
        if match and not verbatim:
            kind = (match["kind"] or "").strip()
            if match["fence"][0] != ":" or kind:
                stack.append((match["fence"], kind))
                options = bool(kind)
                yield number, line, "open", kind
                continue
        option = options and re.match(r"^\s*:[\w-]+:", line)
        options = bool(option)
        if option:
            yield number, line, "option", str(inside[1])
        else:
            yield number, line, "code" if verbatim else "text", str(inside[1] or "")


def directives(text: str) -> Iterator[tuple[str, str, dict[str, str], int]]:
    """(directive, argument, options, line number) of every directive."""
    current: tuple[str, str, dict[str, str], int] | None = None
    for number, line, what, kind in lines(text):
        if what == "option" and current is not None:
            name, _, value = line.strip()[1:].partition(":")
            current[2][name] = value.strip()
            continue
        if current is not None:
            yield current
            current = None
        if what == "open" and kind:
            match = FENCE.match(line)
            current = (kind, match["rest"].strip() if match else "", {}, number)
    if current is not None:
        yield current


def blank(match: re.Match[str]) -> str:
    """What stands in for a removed piece: its line breaks, so that line numbers stay right."""
    return " " + "\n" * match[0].count("\n")


def without_code(text: str) -> str:
    """The text without code blocks, mathematics, inline code and roles."""
    text = _INLINE.sub(blank, _outside_fences(text))
    text = re.sub(r"\$\$.*?\$\$", blank, text, flags=re.S)
    text = re.sub(r"\\begin\{(\w+\*?)\}.*?\\end\{\1\}", blank, text, flags=re.S)
    return re.sub(r"(?<!\\)\$(?:(?!\n\n)[^$])+?(?<!\\)\$", blank, text, flags=re.S)


def roles(text: str) -> Iterator[tuple[str, str]]:
    """(role, content) of every role in the text; one that stands in code or a comment is none."""
    for match in _INLINE.finditer(_outside_fences(text)):
        if match["role"]:
            yield match["role"], match["content"]


def _outside_fences(text: str) -> str:
    """The text without code blocks, what steers directives, and comments."""
    kept = []
    for _, line, what, kind in lines(text):
        if what == "text":
            kept.append(line)
        elif what == "open" and kind and kind not in VERBATIM | _NO_PROSE_ARGUMENT:
            match = FENCE.match(line)
            kept.append("" if kind.startswith("glue") or not match else match["rest"])
        elif what == "option" and line.strip()[1:].partition(":")[0] in _PROSE_OPTIONS:
            kept.append(line.strip()[1:].partition(":")[2])
        else:
            kept.append("")
    return re.sub(r"<!--.*?-->", blank, "\n".join(kept), flags=re.S)


def prose(text: str) -> str:
    """What a reader reads as sentences; as many lines as the source."""
    text = without_code(text)
    text = re.sub(r"\]\([^)]*\)", blank, text)
    text = re.sub(r"^\([^()\n]*\)=$", "", text, flags=re.M)
    text = re.sub(r"^\[[^\]]+\]: .*$", "", text, flags=re.M)
    text = re.sub(r"<[^<>]+>|https?://\S+", blank, text)
    return re.sub(r"\{[^{}\n]*=[^{}\n]*\}", " ", text)


def front_matter(text: str) -> tuple[dict[str, Any], str]:
    """(Metadata, body) of a Markdown file; the body has as many lines as the file."""
    match = re.match(r"^---\n(.*?)\n---\n", text, re.S)
    if not match:
        return {}, text
    front = yaml.safe_load(match[1])
    body = "\n" * match[0].count("\n") + text[match.end() :]
    return (front if isinstance(front, dict) else {}), body

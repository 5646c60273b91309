"""Write appendix/claims.md and appendix/coverage.md: each claim with its verdict, each item with
the pages that teach it.

The claims, with the findings that decide them and the tests that these have to pass, stand in
appendix/claims.toml; what the articles name stands in appendix/inventory.tsv. Numbers come from the
findings stored in the notebooks, never from a keyboard.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recsys_lab.results import collect
from tools import markdown
from tools import notebooks as nbs
from tools.notebooks import ROOT

CLAIMS, INVENTORY = Path("appendix") / "claims.toml", Path("appendix") / "inventory.tsv"
CLAIMS_PAGE, COVERAGE_PAGE = Path("appendix") / "claims.md", Path("appendix") / "coverage.md"
COUNTS = Path("appendix") / "ledger.json"
VERDICTS = ("supported", "refuted", "depends", "not testable here")
TESTS = ("above", "below", "within", "equal")
ARTICLES = {
    "A0": "LLaMA as a recommender: evaluation and limits",
    "A1": "Language models in recommenders and their long-term effect",
    "A2": "Many scenarios learnt together",
    "A3": "Limits: engineering and cost",
}
CHAPTERS = (
    "Recommender basics",
    "Self-attention",
    "The Transformer layer",
    "Matrix factorisation",
    "Fine-tuning language models",
    "Fusion",
    "Limitations",
)
LISTS = {
    "Sentences corrected": "corrections",
    "Promises of the articles, and where they are kept": "promises",
    "Worked examples, computed anew": "examples",
}
_WRITTEN = "<!-- Written by python -m tools.ledger; do not edit. -->"
_HOLE = re.compile(r"\{(c\d[\w.]*?)(\.low|\.high|\.n)?(?::([^{}]*))?\}")


class LedgerError(ValueError):
    """The claims, the inventory and the book do not fit together; the message says where."""


@dataclass(frozen=True)
class Section:
    """A page that can teach: ``number`` is 4.5, or the name of an appendix."""

    number: str
    path: str
    title: str
    covers: tuple[str, ...]
    words: Mapping[str, frozenset[str]]  # claim -> the verdict words of its admonition
    text: str


@dataclass(frozen=True)
class Book:
    """What the pages hold, the claims, and the inventory."""

    sections: Mapping[str, Section]
    findings: Mapping[str, Mapping[str, Any]]
    claims: Mapping[str, Mapping[str, Any]]
    disputes: Mapping[str, Mapping[str, Any]]
    inventory: Mapping[str, Mapping[str, str]]
    lists: Mapping[str, Mapping[str, Sequence[str]]]
    taught: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def load(root: Path = ROOT) -> Book:
    """Read claims, inventory, and every page of chapters and appendix."""
    with (root / CLAIMS).open("rb") as handle:
        entries = tomllib.load(handle)
    with (root / INVENTORY).open(encoding="utf-8", newline="") as handle:
        inventory = {row["id"]: row for row in csv.DictReader(handle, delimiter="\t")}
    sections = {s.number: s for s in _sections(root)}
    folders = [root / f for f in nbs.FOLDERS if (root / f).is_dir()]
    findings = {
        name: finding | {"name": name, "notebook": nbs.relative(Path(finding["notebook"]), root)}
        for name, finding in collect(folders).items()
    }
    taught: dict[str, tuple[str, ...]] = {}
    for number, section in sections.items():
        for identity in section.covers:
            taught[identity] = (*taught.get(identity, ()), number)
    return Book(
        sections,
        findings,
        {k: v for k, v in entries.items() if re.fullmatch(r"C\d\d", k)},
        {k: v for k, v in entries.items() if re.fullmatch(r"X-\d+", k)},
        inventory,
        {table: entries[table] for table in LISTS.values()},
        taught,
    )


# ---- rules ---------------------------------------------------------------------------------


def outcome(part: Mapping[str, Any], book: Book) -> str:
    """*holds*, *fails* or *open*: the test of one part, on the interval of its finding.

    ``above = x`` holds if the whole interval lies above x, fails if none of it does, and is open
    otherwise; ``below`` likewise. ``within = [x, y]`` holds if the interval lies inside and fails
    if it lies outside. ``equal = x`` compares the value. A finding without an interval counts as
    one of no width; x may be the name of another finding, whose value is meant.

    Raises:
        LedgerError: an unknown finding, claim or test.
    """
    if "claim" in part:
        other = book.claims.get(part["claim"])
        if other is None:
            raise LedgerError(f"unknown claim {part['claim']!r}")
        return {"supported": "holds", "refuted": "fails"}.get(other.get("verdict", ""), "open")
    found = _finding(part.get("finding", ""), book)
    low = found["value"] if found["low"] is None else found["low"]
    high = found["value"] if found["high"] is None else found["high"]
    tests = [name for name in TESTS if name in part]
    if len(tests) != 1:
        raise LedgerError(f"{part.get('finding')}: one test of {', '.join(TESTS)}, got {tests}")
    limit = part[tests[0]]
    if isinstance(limit, str):
        limit = _finding(limit, book)["value"]
    if tests[0] == "equal":
        return "holds" if found["value"] == limit else "fails"
    if tests[0] == "within":
        inside, outside = limit[0] <= low and high <= limit[1], high < limit[0] or low > limit[1]
    elif tests[0] == "above":
        inside, outside = low > limit, high <= limit
    else:
        inside, outside = high < limit, low >= limit
    return "holds" if inside else "fails" if outside else "open"


def follows(claim: Mapping[str, Any], book: Book) -> str:
    """The verdict that follows from the claim's parts, by its ``need``."""
    parts = [outcome(part, book) for part in claim["parts"]]
    need = claim.get("need", "each")
    if need not in ("each", "all", "any"):
        raise LedgerError(f"need is each, all or any, got {need!r}")
    every = {"holds": all(p == "holds" for p in parts), "fails": all(p == "fails" for p in parts)}
    if every["holds"] or (need == "any" and "holds" in parts):
        return "supported"
    if every["fails"] or (need == "all" and "fails" in parts):
        return "refuted"
    return "depends"


def problems(book: Book) -> list[str]:
    """Everything that does not fit: names, ids, verdicts, and the words on the pages."""
    found = []
    for name, claim in book.claims.items():
        try:
            found += [f"{name}: {text}" for text in _claim_problems(name, claim, book)]
        except LedgerError as error:
            found.append(f"{name}: {error}")
    for name, dispute in book.disputes.items():
        ids = [i for side in dispute["where"] for i in side]
        found += [f"{name}: unknown id {i!r}" for i in ids if i not in book.inventory]
        found += [f"{name}: unknown claim {c!r}" for c in dispute["claims"] if c not in book.claims]
    for identity, row in book.inventory.items():
        if identity not in book.taught and not row["section"]:
            found.append(f"{identity}: taught nowhere, and no section is planned for it")
        elif identity not in book.taught and row["section"] in book.sections:
            found.append(f"{identity}: section {row['section']} is written and does not cover it")
    return found


def _claim_problems(name: str, claim: Mapping[str, Any], book: Book) -> Iterator[str]:
    yield from (f"unknown id {i!r}" for i in claim["where"] if i not in book.inventory)
    judged = "verdict" in claim
    for number, section in book.sections.items():
        if name in section.words and number not in claim["section"]:
            yield f"section {number} judges it and is not named"
    if not judged:
        if claim["section"][0] in book.sections:
            yield f"section {claim['section'][0]} is written, and there is no verdict"
        return
    yield from (f"section {s} is not written" for s in claim["section"] if s not in book.sections)
    for key, _, form in _holes(claim["found"]):
        _show(key, form, book)
    verdict = claim["verdict"]
    if verdict not in VERDICTS:
        yield f"{verdict!r} is no verdict"
    elif verdict == "not testable here":
        if claim.get("parts") or not claim.get("needs"):
            yield "not testable here: name the data that it needs, and no parts"
    elif claim.get("parts"):
        if (due := follows(claim, book)) != verdict:
            yield f"says {verdict}, but {due} follows from its findings"
    elif not claim.get("sources"):
        yield "judged without a finding and without a source"
    for position, number in enumerate(claim["section"]):
        words = book.sections[number].words.get(name) if number in book.sections else None
        if words and not agree(verdict, words) and number not in claim.get("others", {}):
            if position == 0 or verdict != "depends":
                yield f"says {verdict}, section {number} says {' and '.join(sorted(words))}"


def agree(verdict: str, words: frozenset[str]) -> bool:
    """Whether a verdict fits the words of a page; parts judged differently make a *depends*."""
    return verdict in words or (verdict == "depends" and len(words) > 1)


def counts(book: Book) -> dict[str, int]:
    """How many claims there are, are judged, and rest on own measurements; and the items taught."""
    judged = [c for c in book.claims.values() if "verdict" in c]
    return {
        "claims": len(book.claims),
        "judged": len(judged),
        "measured": sum(bool(c.get("parts")) for c in judged),
        **{word.replace(" ", "_"): sum(c["verdict"] == word for c in judged) for word in VERDICTS},
        "items": len(book.inventory),
        "taught": sum(i in book.taught for i in book.inventory),
    }


# ---- reading the pages ---------------------------------------------------------------------


def verdict_words(text: str) -> dict[str, frozenset[str]]:
    """Claim -> the verdict words in bold type, out of *What the articles say* of a page."""
    words: dict[str, frozenset[str]] = {}
    for box in re.findall(
        r"^(:{3,}|`{3,})\{admonition\} What the articles say(.*?)^\1\s*$", text, re.S | re.M | re.I
    ):
        for entry in re.split(r"^(?=(?:[-*] )?`[A-Z])", box[1], flags=re.M):
            if start := re.match(r"(?:[-*] )?`(C\d\d)`", entry):
                bold = " ".join(re.findall(r"\*\*(.+?)\*\*", entry, re.S)).lower()
                said = {word for word in VERDICTS if word in bold}
                if said:
                    words[start[1]] = words.get(start[1], frozenset()) | said
    return words


def _sections(root: Path) -> Iterator[Section]:
    for path in sorted((root / "chapters").glob("*/*.ipynb")):
        nb = json.loads(path.read_text(encoding="utf-8"))
        if "run" not in nb["metadata"].get("recsys_lab", {}):
            continue  # still being written: it teaches nobody yet
        cells = [c for c in nb["cells"] if c["cell_type"] == "markdown"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells)
        covers = nb["metadata"].get("recsys_lab", {}).get("covers", [])
        number = f"{path.parent.name.split('_')[0]}.{path.name.split('_')[0]}"
        yield _section(number, path, text, covers, root)
    for path in sorted((root / "appendix").glob("*.md")):
        front, text = markdown.front_matter(path.read_text(encoding="utf-8"))
        covers = (front.get("recsys_lab") or {}).get("covers", [])
        if covers:
            yield _section(path.stem, path, text, covers, root)


def _section(number: str, path: Path, text: str, covers: Sequence[str], root: Path) -> Section:
    title = re.search(r"^# (.+)$", text, re.M)
    shown = title[1].strip() if title else number
    return Section(
        number, nbs.relative(path, root), shown, tuple(covers), verdict_words(text), text
    )


def _finding(name: str, book: Book) -> Mapping[str, Any]:
    if name not in book.findings:
        raise LedgerError(f"no page records a finding {name!r}")
    return book.findings[name]


# ---- pages ---------------------------------------------------------------------------------


def claims_page(book: Book) -> str:
    """Markdown of *Every claim, judged*."""
    n = counts(book)
    rows = [f"| **{word}** | {n[word.replace(' ', '_')]} |" for word in VERDICTS]
    lines = [
        "# Every claim, judged",
        "",
        _WRITTEN,
        "",
        f"The four articles make {n['claims']} claims that can be told apart. Each stands here in "
        "our words, with the experiment, the figures that decide, and the verdict that follows "
        "from them by a rule that was written down beside it.",
        "",
        "| Verdict | Claims |",
        "|---|--:|",
        *rows,
        *([f"| to come | {n['claims'] - n['judged']} |"] if n["judged"] < n["claims"] else []),
        f"| **all** | **{n['claims']}** |",
        "",
        f"Judged: {n['judged']} of {n['claims']} ({_percent(n['judged'], n['claims'])}). "
        f"By this book's own measurements: {n['measured']} "
        f"({_percent(n['measured'], n['claims'])} of all); the rest by reading sources, or not "
        "testable with the data here.",
        "",
        "**How to read it.** A claim needs its *parts*. A part is one finding and one test: "
        "`above 0` *holds* when the whole interval lies above nought, *fails* when none of it "
        "does, and is *open* when nought lies inside. Intervals are those of the page, mostly "
        "95 % over users; a count or a time has none, and its value is tested. All parts hold: "
        "supported. All fail: refuted. Some of each, or open: depends. Where a claim says *and*, "
        "one part that fails refutes it; that is noted. A smallest effect of interest (half a "
        "hundredth of nDCG or AUC) stands in the test where absence is to be shown. The verdicts "
        "are about the data and the small models of this book; each page says how far they reach.",
        "",
    ]
    for chapter, title in enumerate(CHAPTERS, start=1):
        lines += [f"## Chapter {chapter}: {title}", ""]
        here = [k for k, c in book.claims.items() if c["section"][0].startswith(f"{chapter}.")]
        for name in sorted(here):
            lines += [*_claim_lines(name, book.claims[name], book), ""]
    lines += ["## Where the articles disagree", ""]
    lines += ["With one another, or with themselves.", ""]
    for name, dispute in book.disputes.items():
        lines += [*_dispute_lines(name, dispute, book), ""]
    return "\n".join(lines).rstrip() + "\n"


def _claim_lines(name: str, claim: Mapping[str, Any], book: Book) -> Iterator[str]:
    yield f"`{name}` {claim['says']}"
    said = ", ".join(f"`{i}`" for i in claim["where"])
    if "verdict" not in claim:
        section = claim["section"][0]
        yield f": **To come**, in section {section}. *Said in* {said}."
        yield f": *Experiment.* {claim['experiment']}"
        return
    yield f": **{claim['verdict'].capitalize()}.** {_filled(claim['found'], book)}"
    places = ", ".join(_place(number, book) for number in claim["section"])
    word = "Section" if len(claim["section"]) == 1 else "Sections"
    yield f": *Experiment.* {claim['experiment']} *{word}* {places}. *Said in* {said}."
    if claim.get("parts"):
        needs = {"all": " Every part must hold.", "any": " One part is enough."}
        yield f": *Decided by.*{needs.get(claim.get('need', ''), '')}"
        yield ""
        for part in claim["parts"]:
            yield f"  - {part['part']}: {_measured(part, book)} **{outcome(part, book)}**"
    if claim.get("sources"):
        yield f": *Decided by* {{cite}}`{','.join(claim['sources'])}`."
    if claim.get("needs"):
        yield f": *It would need* {claim['needs']}."
    for number, reason in claim.get("others", {}).items():
        yield f": *Another word* stands in section {_place(number, book)}: {reason}."
    if claim.get("awaits") and claim["awaits"] not in book.sections:
        yield f": *More to come* in section {claim['awaits']}."


def _dispute_lines(name: str, dispute: Mapping[str, Any], book: Book) -> Iterator[str]:
    yield f"`{name}` {dispute['about']}"
    for side, ids in zip(dispute["sides"], dispute["where"], strict=True):
        yield f": {side} ({', '.join(f'`{i}`' for i in ids)})."
    settled = []
    for claim in dispute["claims"]:
        verdict = book.claims[claim].get("verdict", "to come")
        settled.append(f"`{claim}` {verdict}")
    by = f" *Settled by* {', '.join(settled)}." if settled else ""
    yield f": **Measured.** {_filled(dispute['say'], book)}{by}"


def coverage_page(book: Book) -> str:
    """Markdown of *Coverage*."""
    n = counts(book)
    lines = [
        "# Coverage",
        "",
        _WRITTEN,
        "",
        f"The articles name {n['items']} things: ideas, methods, formulas, listings, claims, "
        "books, promises. Each has an id and is taught, run or corrected on the pages named here; "
        "the pages say so themselves, in their metadata.",
        "",
        f"Taught: {n['taught']} of {n['items']} ({_percent(n['taught'], n['items'])}).",
        "",
        "| Article | Things | Taught |",
        "|---|--:|--:|",
    ]
    for article, title in ARTICLES.items():
        ids = [i for i in book.inventory if i.startswith(article)]
        lines.append(f"| {article}: {title} | {len(ids)} | {sum(i in book.taught for i in ids)} |")
    missing = {i: row for i, row in book.inventory.items() if i not in book.taught}
    if missing:
        lines += ["", "## To come", "", "| Section | Things |", "|---|---|"]
        planned = Counter(row["section"] for row in missing.values())
        for number in sorted(planned):
            ids = ", ".join(f"`{i}`" for i, row in missing.items() if row["section"] == number)
            lines.append(f"| section {number} | {ids} |")
    for article, title in ARTICLES.items():
        lines += ["", f"## {article}: {title}", "", "| Id | What | Where |", "|---|---|---|"]
        for identity, row in book.inventory.items():
            if identity.startswith(article):
                places = [_place(number, book) for number in book.taught.get(identity, ())]
                where = ", ".join(places) or f"section {row['section']}, to come"
                lines.append(f"| `{identity}` | {row['about']} | {where} |")
    for title, table in LISTS.items():
        lines += ["", f"## {title}", "", "| Id | What | Where |", "|---|---|---|"]
        for name, (text, *numbers) in book.lists[table].items():
            lines.append(f"| `{name}` | {text} | {', '.join(_place(n, book) for n in numbers)} |")
    return "\n".join(lines) + "\n"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part // whole} %"


def _place(number: str, book: Book) -> str:
    """A link to a section, or the section to come."""
    if number not in book.sections:
        return f"section {number}, to come"
    path = book.sections[number].path.rpartition(".")[0]
    near = path.removeprefix("appendix/")
    return f"{{doc}}`{number} <{near if near != path else '../' + path}>`"


def _holes(text: str) -> Iterator[tuple[str, str, str]]:
    for match in _HOLE.finditer(text):
        yield match[1] + (match[2] or ""), match[0], match[3] or ".3f"


def _filled(text: str, book: Book) -> str:
    for key, hole, form in _holes(text):
        text = text.replace(hole, _show(key, form, book))
    return text


def _show(key: str, form: str, book: Book) -> str:
    """The role that prints a finding, or its ``.low``, ``.high``, ``.n``, on another page."""
    name = re.sub(r"\.(low|high|n)$", "", key) if key not in book.findings else key
    found = _finding(name, book)
    number = found["value" if key == name else key.removeprefix(f"{name}.")]
    if number is None:
        raise LedgerError(f"{key}: the finding has no such number")
    format(number, form)
    return f"{{glue:text}}`../{found['notebook']}::{key}:{form}`"


def _measured(part: Mapping[str, Any], book: Book) -> str:
    if "claim" in part:
        verdict = book.claims[part["claim"]].get("verdict", "to come")
        return f"`{part['claim']}`, {verdict};"
    name = part["finding"]
    found = _finding(name, book)
    test = next(t for t in TESTS if t in part)
    limit = part[test]
    form = _format(found)
    text = f"`{name}` {_show(name, form, book)}"
    if found["low"] is not None and found["low"] != found["high"]:
        low, high = (_show(f"{name}.{end}", form, book) for end in ("low", "high"))
        text += f" ({low} to {high})"
    if isinstance(limit, str):
        return f"{text}, `{test}` {_show(limit, _format(_finding(limit, book)), book)}:"
    ends = " to ".join(str(x) for x in limit) if isinstance(limit, list) else limit
    return f"{text}, `{test} {ends}`:"


def _format(found: Mapping[str, Any]) -> str:
    """Whole numbers as they are; else enough digits for the smallest end, a sign if one is < 0."""
    if isinstance(found["value"], int):
        return ",d"
    numbers = [x for x in (found["value"], found["low"], found["high"]) if x]
    small, large = (f(map(abs, numbers), default=0) for f in (min, max))
    digits = 0 if large >= 100 else 1 if large >= 10 else 4 if small < 0.002 else 3
    return f"{'+' if min(numbers, default=0) < 0 or '_minus_' in found['name'] else ''},.{digits}f"


# ---- command line --------------------------------------------------------------------------


def written(root: Path = ROOT) -> dict[Path, str]:
    """Path -> text of everything that the command writes.

    Raises:
        LedgerError: claims, inventory and book do not fit together.
    """
    book = load(root)
    if found := problems(book):
        raise LedgerError("\n".join(found))
    return {
        CLAIMS_PAGE: claims_page(book),
        COVERAGE_PAGE: coverage_page(book),
        COUNTS: json.dumps(counts(book), indent=1) + "\n",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 1 if something does not fit, or with --check if a page is out of date."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.ledger",
        description="Write appendix/claims.md and appendix/coverage.md from appendix/claims.toml, "
        "appendix/inventory.tsv and the findings stored in the notebooks.",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")
    options = parser.parse_args(arguments)
    try:
        pages = written()
    except LedgerError as error:
        print(error, file=sys.stderr)
        return 1
    stale = 0
    for name, text in pages.items():
        path = ROOT / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if options.check:
            print(f"{name.as_posix()}: out of date; run `python -m tools.ledger`")
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name.as_posix()}")
    return int(bool(stale) and options.check)


if __name__ == "__main__":
    sys.exit(main())

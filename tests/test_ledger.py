"""Every claim is judged by what was measured, and everything that the articles name is taught."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from test_notebooks_static import COMPLETE_CHAPTERS

from tools import ledger, rules
from tools.ledger import Book, LedgerError

ROOT = Path(__file__).resolve().parents[1]

# Claims without a verdict, by the section that will judge them. Empty once its chapter is complete.
TO_COME: dict[str, set[str]] = {}
# What no data here can test, with a word of what would be needed.
UNTESTABLE = {
    "C13": "links between users",
    "C16": "histories of years",
    "C40": "people who are shown",
    "C55": "sales",
    "C70": "labelled as harmful",
    "C71": "impressions and clicks",
}


@pytest.fixture(scope="module")
def book() -> Book:
    return ledger.load()


def finding(value, low=None, high=None):
    return {"value": value, "low": low, "high": high, "n": None, "claim": None, "notebook": "x"}


def small(**findings) -> Book:
    named = {name.replace("_", "."): found for name, found in findings.items()}
    return Book({}, named, {}, {}, {}, {})


# ---- the book ------------------------------------------------------------------------------


def test_nothing_contradicts(book):
    found = ledger.problems(book)
    assert not found, "\n" + "\n".join(found)


def test_every_claim_has_one_entry(book):
    known = rules.known_ids("claims")
    assert set(book.claims) == set(known) == {f"C{n:02d}" for n in range(1, 77)}
    text = (ROOT / ledger.CLAIMS).read_text(encoding="utf-8")
    names = re.findall(r"^\[([CX][\d-]+)\]$", text, re.M)
    assert len(names) == len(set(names))
    assert set(book.disputes) == {f"X-{n}" for n in range(1, 15)}
    for claim, row in known.items():
        listed = set(re.findall(r"\bA\d-[\w.]*\w(?=,|;|$| )", row["where"])) & set(book.inventory)
        assert listed <= set(book.claims[claim]["where"]), claim


def test_a_claim_without_a_verdict_is_announced(book):
    missing = {name: c["section"][0] for name, c in book.claims.items() if "verdict" not in c}
    announced = {name: section for section, names in TO_COME.items() for name in names}
    assert missing == announced
    late = [s for s in TO_COME if int(s[0]) in COMPLETE_CHAPTERS]
    assert late == [], "the chapter is complete, and a claim of it is not judged"


def test_not_testable_is_a_short_named_list(book):
    names = {n for n, c in book.claims.items() if c.get("verdict") == "not testable here"}
    assert names == set(UNTESTABLE)
    for name, data in UNTESTABLE.items():
        assert data in book.claims[name]["needs"], name


def test_the_copy_of_the_inventory_is_whole(book):
    known = rules.known_ids("inventory")
    assert list(book.inventory) == list(known) and len(known) == 354
    for identity, row in book.inventory.items():
        assert (row["kind"], row["chapter"]) == (
            known[identity]["kind"],
            known[identity]["chapter"],
        )
        assert 1 <= len(row["about"].split()) <= 12, identity


def test_nothing_is_announced_in_a_complete_chapter(book):
    for identity, row in book.inventory.items():
        if identity not in book.taught:
            assert int(row["section"][0]) not in COMPLETE_CHAPTERS, identity


def test_what_is_taught_is_what_the_pages_say(book):
    said: dict[str, set[str]] = {}
    for page in map(rules.load, rules.pages()):
        if page.nb is not None and "run" not in page.metadata:
            continue  # still being written
        for identity in page.metadata.get("covers", []):
            said.setdefault(identity, set()).add(page.name)
    found = {i: {book.sections[n].path for n in ns} for i, ns in book.taught.items()}
    assert found == said


def test_every_listing_is_repaired():
    page = rules.load(ROOT / "appendix" / "listings.md")
    wanted = [f"L0-{x}" for x in "ABCDEFG"] + ["L1-A", "L1-B", *(f"L2-{x}" for x in "ABCDEF")]
    assert page.metadata["listings"] == [*wanted, "L3-A", "L3-B", "L3-C"]
    text = page.texts[0][1]
    for name in page.metadata["listings"]:
        if name[:2] == "L0" and name[3] in "DEFG":
            name = "L0-D to L0-G"
        assert name in text


def test_the_other_lists_are_whole_and_their_sections_exist_or_will(book):
    assert list(book.lists["corrections"]) == [f"P-{n:02d}" for n in range(1, 34)]
    assert list(book.lists["promises"]) == [f"D-{n:02d}" for n in range(1, 9)]
    assert list(book.lists["examples"]) == [f"W-{n}" for n in range(1, 9)]
    for table in book.lists.values():
        for name, (text, *numbers) in table.items():
            assert text and numbers, name
            for number in numbers:
                if number not in book.sections:
                    assert int(number[0]) not in COMPLETE_CHAPTERS, f"{name}: {number}"


def test_the_counts_are_those_of_the_claims(book):
    n = ledger.counts(book)
    verdicts = sum(n[word.replace(" ", "_")] for word in ledger.VERDICTS)
    assert n["claims"] == 76 and verdicts == n["judged"]
    assert n["measured"] <= n["judged"] - n["not_testable_here"]
    assert n["items"] == 354 and n["taught"] == len(book.taught)
    if set(range(1, 8)) <= set(COMPLETE_CHAPTERS):
        assert n["judged"] == 76 and n["taught"] == 354
        assert n["measured"] >= 0.9 * n["claims"]


def test_the_pages_are_current(book):
    for name, text in ledger.written().items():
        stored = (ROOT / name).read_text(encoding="utf-8") if (ROOT / name).exists() else ""
        assert stored == text, f"{name} is out of date; run `python -m tools.ledger`"


# ---- that it can fail ----------------------------------------------------------------------


def flipped(found):
    """The same finding with the other sign."""
    ends = (found["low"], found["high"])
    low, high = (None, None) if None in ends else (-ends[1], -ends[0])
    return {**found, "value": -found["value"], "low": low, "high": high}


def test_a_finding_with_the_other_sign_is_noticed(book):
    """Claims that one sign decides: turn it, and the verdict no longer follows."""
    for claim, name in {
        "C04": "c4.deep.ials_minus_gan",
        "C15": "c1.cold.ask_sentence",
        "C23": "c5.overfit.slope_last",
        "C33": "c5.calibration.bias_minus_yes",
        "C52": "c1.lies.ease_gain_time",
        "C67": "c4.descent.more_iterations",
    }.items():
        turned = dict(book.findings) | {name: flipped(book.findings[name])}
        found = ledger.problems(replace(book, findings=turned))
        assert any(f.startswith(f"{claim}: says") and "follows" in f for f in found), claim


def test_another_verdict_is_noticed(book):
    """Whatever else stands in its place, for every claim that rests on findings."""
    for name, claim in book.claims.items():
        for verdict in {"supported", "refuted", "depends"} - {claim.get("verdict")}:
            if claim.get("parts"):
                wrong = {**book.claims, name: {**claim, "verdict": verdict}}
                assert any(
                    f.startswith(f"{name}: says {verdict}, but")
                    for f in ledger.problems(replace(book, claims=wrong))
                ), name
                break


def test_a_lost_finding_an_unknown_id_and_a_lost_page_are_noticed(book):
    def said(**changed):
        return "\n".join(ledger.problems(replace(book, **changed)))

    gone = {k: v for k, v in book.findings.items() if k != "c4.additive.n_rankings"}
    assert "C05: no page records a finding 'c4.additive.n_rankings'" in said(findings=gone)
    claims = {**book.claims, "C05": {**book.claims["C05"], "where": ["A9-1"]}}
    assert "C05: unknown id 'A9-1'" in said(claims=claims)
    sections = {k: v for k, v in book.sections.items() if k != "4.5"}
    assert "C05: section 4.5 is not written" in said(sections=sections)
    taught = {k: v for k, v in book.taught.items() if k != "A0-1.1a"}
    assert "A0-1.1a: taught nowhere" in said(taught=taught)


def test_a_page_with_another_word_is_noticed(book):
    page = book.sections["4.5"]
    words = {**page.words, "C05": frozenset({"supported"})}
    sections = {**book.sections, "4.5": replace(page, words=words)}
    found = ledger.problems(replace(book, sections=sections))
    assert found == ["C05: says refuted, section 4.5 says supported"]


@pytest.mark.parametrize(
    ("test", "low", "high", "expected"),
    [
        ({"above": 0}, 0.1, 0.3, "holds"),
        ({"above": 0}, -0.1, 0.3, "open"),
        ({"above": 0}, -0.3, -0.1, "fails"),
        ({"above": 0}, 0.0, 0.0, "fails"),
        ({"above": 0}, 0.0, 0.1, "open"),
        ({"below": 0}, -0.3, -0.1, "holds"),
        ({"below": 0}, -0.1, 0.1, "open"),
        ({"below": 0}, 0.0, 0.1, "fails"),
        ({"within": [-1, 1]}, -0.1, 0.1, "holds"),
        ({"within": [-1, 1]}, -1.1, 0.1, "open"),
        ({"within": [-1, 1]}, 1.1, 1.2, "fails"),
        ({"above": "c1.b"}, 0.6, 0.7, "holds"),
        ({"above": "c1.b"}, 0.4, 0.7, "open"),
    ],
)
def test_the_rules_read_the_whole_interval(test, low, high, expected):
    book = small(c1_a=finding((low + high) / 2, low, high), c1_b=finding(0.5))
    assert ledger.outcome({"finding": "c1.a", **test}, book) == expected


def test_without_an_interval_the_value_counts():
    book = small(c1_a=finding(3), c1_b=finding(0))
    assert ledger.outcome({"finding": "c1.a", "above": 2}, book) == "holds"
    assert ledger.outcome({"finding": "c1.a", "equal": 3}, book) == "holds"
    assert ledger.outcome({"finding": "c1.b", "equal": 3}, book) == "fails"


@pytest.mark.parametrize(
    ("outcomes", "need", "verdict"),
    [
        ("hh", "each", "supported"),
        ("ff", "each", "refuted"),
        ("hf", "each", "depends"),
        ("ho", "each", "depends"),
        ("fo", "each", "depends"),
        ("oo", "each", "depends"),
        ("hf", "all", "refuted"),
        ("ho", "all", "depends"),
        ("hh", "all", "supported"),
        ("hf", "any", "supported"),
        ("fo", "any", "depends"),
        ("ff", "any", "refuted"),
    ],
)
def test_how_parts_make_a_verdict(outcomes, need, verdict):
    book = small(c1_h=finding(1, 0.5, 2), c1_f=finding(-1, -2, -0.5), c1_o=finding(0.1, -1, 1))
    parts = [{"finding": f"c1.{o}", "above": 0} for o in outcomes]
    assert ledger.follows({"parts": parts, "need": need}, book) == verdict


def test_a_part_has_one_test_of_a_known_kind():
    book = small(c1_a=finding(1))
    for bad in ({}, {"above": 0, "below": 1}, {"about": 1}):
        with pytest.raises(LedgerError, match="one test of"):
            ledger.outcome({"finding": "c1.a", **bad}, book)
    with pytest.raises(LedgerError, match="no page records"):
        ledger.outcome({"finding": "c1.z", "above": 0}, book)
    with pytest.raises(LedgerError, match="need is"):
        ledger.follows({"parts": [], "need": "some"}, book)


def test_a_summary_rests_on_the_verdicts_of_others():
    claims = {"C01": {"verdict": "supported"}, "C02": {"verdict": "refuted"}, "C03": {}}
    book = replace(small(), claims=claims)
    said = [ledger.outcome({"claim": c}, book) for c in claims]
    assert said == ["holds", "fails", "open"]


def test_the_words_of_a_page_are_read():
    text = """Before. `C09`: **Supported.**

:::{admonition} What the articles say, what we measured
:class: verdict
`C01` (`A0-1`): one thing, as in `C09`. **Refuted** here. More,
over two lines: **not testable here** for the rest.

- *A part of it*: **Depends.**

`A2-9`: **Supported**, and no claim.

- `C02`: *maybe*, says **nobody**.
- `C03`, its last part: **Depends on
  the weather.**
:::

`C04`: **Supported.**
"""
    assert ledger.verdict_words(text) == {
        "C01": {"refuted", "not testable here", "depends"},
        "C03": {"depends"},
    }
    assert ledger.agree("depends", frozenset({"refuted", "supported"}))
    assert not ledger.agree("supported", frozenset({"refuted", "depends"}))


# ---- the command ---------------------------------------------------------------------------


def test_the_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(ledger, "ROOT", tmp_path)
    (tmp_path / "appendix").mkdir()
    pages = {ledger.CLAIMS_PAGE: "# One\n", ledger.COUNTS: json.dumps({}) + "\n"}
    monkeypatch.setattr(ledger, "written", lambda: pages)
    assert ledger.main(["--check"]) == 1
    assert "out of date; run `python -m tools.ledger`" in capsys.readouterr().out
    assert ledger.main([]) == 0 and ledger.main(["--check"]) == 0

    def broken():
        raise LedgerError("C05: says so")

    monkeypatch.setattr(ledger, "written", broken)
    assert ledger.main([]) == 1
    assert "C05" in capsys.readouterr().err


def test_help_says_what_the_command_is_for(capsys):
    with pytest.raises(SystemExit) as stop:
        ledger.main(["--help"])
    assert stop.value.code == 0
    assert "appendix/claims.toml" in capsys.readouterr().out


def test_the_inventory_is_a_plain_table():
    with (ROOT / ledger.INVENTORY).open(encoding="utf-8", newline="") as handle:
        rows = list(csv.reader(handle, delimiter="\t"))
    assert rows[0] == ["id", "kind", "chapter", "section", "about"]
    assert {len(row) for row in rows} == {5}

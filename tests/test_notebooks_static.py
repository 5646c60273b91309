"""Every stored notebook and every page of the book keeps the rules of tools/rules.py.

Nothing is run here: this is about what is stored. `pytest --nbval-lax` runs the cells.
"""

from functools import cache

import pytest

from tools import notebooks as nbs
from tools import rules, times

COMPLETE_CHAPTERS = (1, 2, 3, 4, 5, 6, 7)  # their part of the inventory must be covered

load = cache(rules.load)
PAGES = rules.pages()


@pytest.mark.parametrize("path", PAGES, ids=nbs.relative)
def test_page(path):
    problems = rules.check(load(path))
    assert not problems, "\n" + "\n".join(problems)


def test_findings_have_names_of_their_own():
    problems = rules.findings_unique(map(load, PAGES))
    assert not problems, "\n" + "\n".join(problems)


def test_labels_are_unique():
    problems = rules.labels_unique(map(load, PAGES))
    assert not problems, "\n" + "\n".join(problems)


@pytest.mark.parametrize("chapter", COMPLETE_CHAPTERS)
def test_chapter_covers_its_inventory(chapter):
    problems = rules.chapter_covered(chapter, map(load, PAGES))
    assert not problems, "\n" + "\n".join(problems)


def test_execution_times_are_those_stored():
    path = nbs.ROOT / times.PAGE
    stored = path.read_text(encoding="utf-8") if path.exists() else ""
    assert stored == times.page(), f"{times.PAGE} is out of date; run `python -m tools.times`"


@pytest.mark.parametrize("file", ["inventory", "claims"])
def test_ids_are_unique(file):
    text = (nbs.ROOT / "tests" / "data" / f"{file}.tsv").read_text(encoding="utf-8")
    ids = [line.split("\t")[0] for line in text.splitlines()[1:]]
    assert len(ids) == len(set(ids))
    assert {"inventory": 354, "claims": 76}[file] == len(ids)

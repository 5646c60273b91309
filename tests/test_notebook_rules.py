"""The rules catch what they are for: each is shown a page that breaks it, and must name the place.

One sound notebook is run for real. The static rules then see copies of it with one thing broken;
nbval runs other broken copies in a process of its own, as `make test` does.
"""

# ruff: noqa: E501  the tables of broken pages read best with one case a line

import copy
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import fresh, rules
from tools import notebooks as nbs
from tools.execute import execute

# In two parts: no tracked file names a home, not even a made-up one.
HOME, USERS = "/" + "home", "/" + "Users"

FIGURE = {"mystnb": {"image": {"alt": "A straight line that rises from zero to one."}}}
OPENING = """# A sound page

What is sound? **You will be able to** tell. **You need** nothing. 5 min to read, 3 s to run.

:::{admonition} Predict first
How many squares below ten?
:::"""
CLAIMS = """:::{admonition} What the articles say, what we measured
`C05`: {glue:text}`t.mean:.2f`, from {glue:text}`t.mean.low:.1f` to {glue:text}`t.mean.high:.1f`
over {glue:text}`t.mean.n` users; {glue:text}`n_squares` squares. Theirs: {cited}`0.95` {cite}`x`.
:::"""
ENDING = """## Pitfalls

Dividing by zero.

## Summary

- One, by section 1.6.
- Two.
- Three.

## Exercises

```{exercise} First
:label: ex-one
Add one.
```

```{solution} ex-one
:class: dropdown
Done.
```

## Further reading

{cite}`x` says more."""

# Places of the cells, counted from 1 as the messages do.
SETUP, SQUARES, MEAN, DRAWN, RAISES, CLAIMED, END = 2, 4, 5, 6, 7, 8, 9


def sound():
    """A notebook that keeps every rule."""
    return new_notebook(
        metadata={"recsys_lab": {"covers": ["A0-0b"], "claims": ["C05"], "budget_s": 60}},
        cells=[
            new_markdown_cell(OPENING),
            new_code_cell("from myst_nb import glue\nfrom recsys_lab.results import record"),
            new_markdown_cell("## On paper\n\nHalf is $1/2 = 0.50$; code says `0.50`."),
            new_code_cell(
                "squares = [n * n for n in range(4)]\n"
                'glue("n_squares", len(squares), display=False)\n'
                "squares",
                metadata={"tags": ["nbval-check-output"]},
            ),
            new_code_cell(
                'print("a")\nprint("b")\n'
                'record("t.mean", 0.5, (0.4, 0.6), n=10, claim="C05")\n'
                "assert abs(0.5 - 0.4) < 0.2"
            ),
            new_code_cell(
                "import matplotlib.pyplot as plt\n\n_ = plt.plot([0, 1])", metadata=FIGURE
            ),
            new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]}),
            new_markdown_cell(CLAIMS),
            new_markdown_cell(ENDING),
        ],
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with one sound section, run, as its only page."""
    root = tmp_path_factory.mktemp("project")
    path = root / "chapters" / "1_first" / "1_sound.ipynb"
    path.parent.mkdir(parents=True)
    shutil.copy(nbs.ROOT / "conftest.py", root)
    nbformat.write(sound(), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(nbs.ROOT))
        execute(path, root)
    return root


@pytest.fixture
def stored(project):
    """The sound notebook as stored, to be broken."""
    return nbs.read(project / "chapters" / "1_first" / "1_sound.ipynb")


def page_of(nb, project):
    """The notebook, written to the project beside the sound one, as a page."""
    path = project / "chapters" / "1_first" / "2_broken.ipynb"
    nbformat.write(nb, path)
    try:
        return rules.load(path, project)
    finally:
        path.unlink()


def problems_of(rule, nb, project):
    page = page_of(nb, project)
    return rule(page, project) if rule is rules.outputs_fresh else rule(page)


def test_sound_page_has_no_problem(project):
    path = project / "chapters" / "1_first" / "1_sound.ipynb"
    page = rules.load(path, project)
    assert page.name == "chapters/1_first/1_sound.ipynb"
    assert page.is_section
    assert rules.pages(project) == [path]
    problems = [p for rule in rules.RULES for p in problems_of(rule, nbs.read(path), project)]
    assert problems == []


# ---- static rules --------------------------------------------------------------------------


def cell(nb, number):
    return nb.cells[number - 1]


def tag(nb, number, *names):
    cell(nb, number).metadata["tags"] = list(names)


def replace(nb, number, old, new):
    assert old in cell(nb, number).source
    cell(nb, number).source = cell(nb, number).source.replace(old, new)


def as_lab(nb, n_more):
    cell(nb, MEAN).metadata["nbgrader"] = {"grade_id": "given_mean"}
    replace(nb, MEAN, 'print("a")', "a = 1\n" * n_more)


def show(nb, number, **output):
    cell(nb, number).outputs.append(new_output(**output))


def own(nb):
    return nb.metadata["recsys_lab"]


def stream(nb, number, text, name="stdout"):
    show(nb, number, output_type="stream", name=name, text=text)


def without_alt(nb):
    cell(nb, DRAWN).metadata.pop("mystnb")


def with_alt(nb, alt):
    cell(nb, DRAWN).metadata["mystnb"] = {"image": {"alt": alt}}


def edit_squares(nb):
    shown = cell(nb, SQUARES).outputs[-1]
    shown.data["text/plain"] = shown.data["text/plain"].replace("9", "8")


def edit_finding(nb):
    for output in cell(nb, MEAN).outputs:
        if "scrapbook" in output.get("metadata", {}):
            output.data = {k: v for k, v in output.data.items()}
            key = f"{nbs.GLUE_PREFIX}text/plain"
            output.data[key] = output.data[key].replace("0.5", "0.6")


# fmt: off
BROKEN = [
    # (rule, how the notebook is broken, what the message must say)
    ("executed_in_order", lambda nb: cell(nb, MEAN).update(execution_count=9), r"cell 5 \(In \[9\]\): is In \[9\] where In \[3\]"),
    ("executed_in_order", lambda nb: cell(nb, MEAN).update(execution_count=None), r"cell 5: is In \[None\]"),
    ("executed_in_order", lambda nb: nb.cells.append(new_code_cell(" ")), "cell 10: empty code cell"),
    ("no_stored_error", lambda nb: tag(nb, RAISES), r"cell 7 \(In \[5\]\): stored error ZeroDivisionError"),
    ("no_stored_error", lambda nb: tag(nb, MEAN, "raises-exception"), r"cell 5 .*nothing is raised"),
    ("no_stored_error", lambda nb: stream(nb, MEAN, "Traceback (most recent call last):\n  x"), r"cell 5 .*traceback is printed"),
    ("no_stderr", lambda nb: stream(nb, MEAN, "UserWarning: old", "stderr"), r"cell 5 .*stderr 'UserWarning: old'"),
    ("no_machine_in_outputs", lambda nb: stream(nb, MEAN, f"read {HOME}/ann/u.data"), rf"cell 5 .*'{HOME}/ann/u.data'"),
    ("no_machine_in_outputs", lambda nb: stream(nb, MEAN, r"read C:\Users\ann"), r"cell 5 .*absolute path 'C:"),
    ("no_machine_in_outputs", lambda nb: show(nb, MEAN, output_type="display_data", data={"text/html": f"<p>{USERS}/ann/x</p>"}), rf"cell 5 .*'{USERS}/ann/x"),
    ("no_machine_in_outputs", lambda nb: stream(nb, MEAN, "<function f at 0x7f3a5c0b1d00>"), r"cell 5 .*memory address"),
    ("outputs_small", lambda nb: stream(nb, MEAN, "x" * 500_001), r"cell 5 .*an output of 500 kB"),
    ("outputs_small", lambda nb: show(nb, MEAN, output_type="display_data", data={"application/vnd.jupyter.widget-view+json": {}}), r"cell 5 .*widget"),
    ("outputs_untouched", edit_squares, r"cell 4 \(In \[2\]\): outputs differ"),
    ("outputs_untouched", edit_finding, r"cell 5 \(In \[3\]\): outputs differ"),
    ("outputs_untouched", lambda nb: own(nb).pop("run"), "2_broken.ipynb: never run"),
    ("outputs_fresh", lambda nb: replace(nb, MEAN, "0.5", "0.6"), "2_broken.ipynb: stale"),
    ("outputs_fresh", lambda nb: tag(nb, MEAN, "hide-input"), "2_broken.ipynb: stale"),
    ("outputs_fresh", lambda nb: own(nb).pop("run"), "2_broken.ipynb: stale"),
    ("within_budget", lambda nb: own(nb)["run"].update(seconds=61), "took 61 s, its budget is 60 s"),
    ("within_budget", lambda nb: own(nb)["run"].update(slowest_cell=MEAN, cell_seconds_max=41), r"cell 5 \(In \[3\]\): took 41 s, its budget is 40 s"),
    ("within_budget", lambda nb: own(nb)["run"].update(peak_mb=5000), "used 5000 MB, at most 4096 MB"),
    ("within_budget", lambda nb: own(nb).update(budget_s=300), "budget_s 300 is above 240"),
    ("cells_short", lambda nb: replace(nb, MEAN, 'print("a")', "a = 1\n" * 20), r"cell 5 .*24 lines, at most 20"),
    ("cells_short", lambda nb: as_lab(nb, 20), None),
    ("cells_short", lambda nb: as_lab(nb, 27), r"cell 5 .*31 lines, at most 30"),
    ("cells_short", lambda nb: replace(nb, SETUP, "from myst", "a = 1\n" * 7 + "from myst"), r"cell 2 .*9 lines, at most 8"),
    ("tags_known", lambda nb: tag(nb, MEAN, "nbval-chek-output"), r"cell 5 .*unknown tag 'nbval-chek-output'"),
    ("tags_known", lambda nb: tag(nb, MEAN, "nbval-skip"), r"cell 5 .*unknown tag 'nbval-skip'"),
    ("tags_known", lambda nb: replace(nb, MEAN, 'print("a")', "# NBVAL_IGNORE_OUTPUT: noise"), r"cell 5 .*by a comment"),
    ("figures_described", without_alt, r"cell 6 \(In \[4\]\): figure without alt text"),
    ("figures_described", lambda nb: with_alt(nb, "  "), r"cell 6 .*without alt text"),
    ("figures_described", lambda nb: with_alt(nb, "A plot"), r"cell 6 .*'A plot' does not say"),
    ("figures_described", lambda nb: cell(nb, DRAWN).outputs.append(cell(nb, DRAWN).outputs[0]), r"cell 6 .*2 figures"),
    ("figures_described", lambda nb: replace(nb, END, "Dividing", "![plot](a.png) Dividing"), r"cell 9: image with alt text 'plot'"),
    ("figures_described", lambda nb: replace(nb, END, "Dividing", "```{figure} a.png\n:width: 50%\nA\n```\nDividing"), r"cell 9: \{figure\} needs"),
    ("figures_described", lambda nb: replace(nb, END, "Dividing", "```{mermaid}\nA-->B\n```\nDividing"), r"cell 9: \{mermaid\} needs"),
    ("something_checked", lambda nb: (tag(nb, SQUARES), replace(nb, MEAN, "assert abs(0.5 - 0.4) < 0.2", "")), "nothing is checked"),
    ("ids_known", lambda nb: own(nb).update(covers=["A0-0b", "Z9-1"]), "covers: unknown id 'Z9-1'"),
    ("ids_known", lambda nb: own(nb).update(claims=["C05", "C99"]), "claims: unknown id 'C99'"),
    ("ids_known", lambda nb: own(nb).update(claims=[]), r"cell 5 .*t.mean tests C05, which metadata claims does not list"),
    ("ids_known", lambda nb: replace(nb, CLAIMED, "`C05`", "it"), "lists C05, the text does not name it"),
    ("no_typed_number", lambda nb: replace(nb, END, "Dividing", "It reaches 0.931, dividing"), r"cell 9: the number 0.931 is typed"),
    ("no_typed_number", lambda nb: with_alt(nb, "A line that rises from zero to 0.93."), r"cell 6 .*alt text: the number 0.93"),
    ("no_typed_number", lambda nb: cell(nb, DRAWN).metadata["mystnb"].update(figure={"caption": "Up to 0.93."}), r"cell 6 .*caption: the number 0.93"),
    ("fences_nested", lambda nb: nb.cells.append(new_markdown_cell("```{solution} s\n````python\nx\n````\n```")), r"cell 10: '````python' stands in a fence of 3 backticks; give the outer one 5"),
    ("fences_nested", lambda nb: nb.cells.append(new_markdown_cell("````{solution} s\n```python\nx\n```\n````\n```python\ny\n```")), None),
    ("cited_has_source", lambda nb: replace(nb, CLAIMED, " {cite}`x`", ""), r"cell 8: \{cited\} 0.95 without"),
    ("glue_defined", lambda nb: replace(nb, CLAIMED, "t.mean.n`", "t.median`"), r"cell 8: nothing is glued as 't.median'"),
    ("glue_defined", lambda nb: replace(nb, CLAIMED, "t.mean:.2f", "t.mean:d"), r"cell 8: 't.mean' is 0.5, which ':d' cuts off"),
    ("glue_defined", lambda nb: replace(nb, CLAIMED, "t.mean:.2f", "t.mean:.2q"), r"cell 8: 't.mean' cannot be printed as ':.2q'"),
    ("glue_defined", lambda nb: replace(nb, CLAIMED, "`n_squares", "`nowhere.ipynb::n_squares:d"), r"cell 8: .*'nowhere.ipynb', which is no notebook"),
    ("glue_defined", lambda nb: replace(nb, CLAIMED, "`n_squares", "`1_sound.ipynb::n_squares"), r"cell 8: .*it needs a format"),
    ("glue_defined", lambda nb: replace(nb, END, "Dividing", "```{glue:figure} fig_x\n```\nDividing"), r"cell 9: nothing is glued as 'fig_x'"),
    ("anatomy", lambda nb: replace(nb, 1, "# A sound", "A sound"), "cell 1: a section opens with"),
    ("anatomy", lambda nb: replace(nb, 1, "You need", "Have"), "does not say 'You need'"),
    ("anatomy", lambda nb: replace(nb, 1, "{admonition} Predict", "{note} Predict"), None),
    ("anatomy", lambda nb: replace(nb, 1, "Predict first", "Guess"), "no admonition 'predict first'"),
    ("anatomy", lambda nb: replace(nb, CLAIMED, "What the articles", "What people"), "no admonition 'what the articles say'"),
    ("anatomy", lambda nb: replace(nb, 3, "## On", ":::{note} Mind\nx\n:::\n## On"), None),
    ("anatomy", lambda nb: replace(nb, END, "## Pitfalls", "## Care"), "no heading 'pitfall'"),
    ("anatomy", lambda nb: replace(nb, END, "- Two.\n- Three.", ""), "the summary has 1 lines"),
    ("anatomy", lambda nb: (replace(nb, END, "## Pitfalls", "## Summary\n\nA.\n"), replace(nb, END, "## Summary\n\n- One", "## Pitfalls\n\n- One")), "'summary' stands before 'pitfall'"),
    ("anatomy", lambda nb: replace(nb, END, "{solution} ex-one", "{solution} ex-two"), "cell 9: exercise 'ex-one' has no"),
    ("anatomy", lambda nb: replace(nb, END, ":class: dropdown\n", ""), "cell 9: the solution of 'ex-one' needs ':class: dropdown'"),
    ("anatomy", lambda nb: replace(nb, END, "{cite}`x` says", "Nobody says"), "further reading cites nothing"),
]
# fmt: on


@pytest.mark.parametrize(
    ("rule", "break_it", "message"),
    BROKEN,
    ids=[f"{rule}-{number}" for number, (rule, _, _) in enumerate(BROKEN)],
)
def test_broken_page_is_caught_and_named(rule, break_it, message, stored, project):
    break_it(stored)
    problems = problems_of(getattr(rules, rule), stored, project)
    if message is None:  # still sound
        assert problems == []
        return
    assert any(re.search(message, problem) for problem in problems), problems
    assert all(problem.startswith("chapters/1_first/2_broken.ipynb: ") for problem in problems)


def test_every_rule_is_proved():
    assert {rule.__name__ for rule in rules.RULES} == {rule for rule, _, _ in BROKEN}


def test_key_depends_on_code_imported_files_lock_and_assets_only(project, stored):
    def key():
        return nbs.run_key(stored, project / "chapters" / "1_first", project)

    before = key()
    replace(stored, END, "Dividing", "Never divide")
    assert key() == before
    for name in ("requirements/lock.txt", "requirements/assets.txt"):
        file = project / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("x = 1\n")
        assert key() != before
        shutil.rmtree(file.parent)
    package = project / "recsys_lab"
    package.mkdir(exist_ok=True)
    (package / "nobody_imports_it.py").write_text("x = 1\n")
    assert key() == before
    cell = next(cell for _, cell in nbs.code_cells(stored))
    cell.source = "import recsys_lab.some\n" + cell.source
    imports = key()
    (package / "some.py").write_text("x = 1\n")
    assert key() not in (before, imports)


def test_finding_recorded_in_two_notebooks(project, stored):
    pages = [page_of(stored, project), page_of(copy.deepcopy(stored), project)]
    (problem,) = rules.findings_unique(pages)
    assert problem.startswith("chapters/1_first/2_broken.ipynb: cell 5 (In [3]): finding 't.mean'")


def test_label_that_stands_twice_in_the_book(project, stored):
    for number in (1, 2):
        text = f"```{{exercise}} {number}\n:label: ex-mine\n\nDo it.\n```"
        stored.cells.append(new_markdown_cell(text))
    (problem,) = rules.labels_unique([page_of(stored, project)])
    assert problem.endswith(
        "label 'ex-mine' stands already in chapters/1_first/2_broken.ipynb: cell 10"
    )


def test_inventory_id_that_no_page_covers(project, stored):
    problems = rules.chapter_covered(1, [page_of(stored, project)])
    assert "chapter 1: inventory id A0-0c" not in " ".join(problems)  # it belongs to chapter 7
    assert not any("A0-0b " in problem for problem in problems)
    assert len(problems) == 92


def test_text_page_covers_and_is_read(project):
    path = project / "chapters" / "1_first" / "index.md"
    path.write_text("---\nrecsys_lab:\n  covers: [A0-0b]\n---\n# Index\n\nIt is\n0.93 high.\n")
    page = rules.load(path, project)
    assert page.metadata["covers"] == ["A0-0b"]
    (problem,) = rules.check(page)
    assert problem.startswith("chapters/1_first/index.md: line 8: the number 0.93 is typed")


# ---- numbers in prose ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "It reaches 0.931 here.",
        "It reaches 0.931.",
        "It reaches .475, no more.",
        "A share of 12.5 % of users.",
        "A share of 12.5%.",
        "1,234.5 seconds",
        "Between 0.1–0.9",
        "-0.5 and ~0.6s",
        "1.5 million",
        "| EASE | 0.48 |",
        "# EASE reaches 0.48",
        ":::{note}\nIt is 0.5 high.\n:::",
        ":::{note} It is 0.5 high\nx\n:::",
        "````{note}\n```python\nx\n```\nIt is 0.5 high.\n````",
        "```{admonition} It\nIt is 0.5 high.\n```",
        "```{figure} a.png\n:alt: A bar 0.5 high.\nx\n```",
        "[It is 0.5 high](a.md)",
        "A $x$ of 0.5 and `y` of $z$.",
        "Section 1.6 says 0.5.",
        "One `x`\n\nIt is 0.5; `y`.",
        "since section 1.65",
        "Python 3.11",
        "§5.25",
    ],
)
def test_typed_number_is_found(text):
    page = rules.Page(Path("page.md"), "page.md", None, (("page.md", text),))
    assert len(rules.no_typed_number(page)) >= 1


@pytest.mark.parametrize(
    "text",
    [
        "{glue:text}`c1.x:.3f` of 943",
        "{cited}`0.952` {cite}`x`",
        "$0.5 + 0.25 = 0.75$",
        "$$\n0.5\n$$",
        "\\begin{align}\n0.5\n\\end{align}",
        "```python\nx = 0.5\n```",
        "```{code-block} python\nx = 0.5\n```",
        "```{math}\n0.5\n```",
        "see section 1.6, sections 1.6 and 1.7, chapter 2.1 or §1.3",
        "## 1.6 How evaluation lies",
        "`torch 2.13.0` and `0.5`",
        "version 1.2.3",
        "[the data](https://x.org/1.55/2.77)",
        "<https://x.org/v1.5/a>",
        "CC BY 4.0, Apache-2.0 and Python 3.9",
        "A0 §5.2, §5.3.1",
        "``{cited}`0.5` `` is how",
        "<!-- 0.5 -->",
        "100,000 ratings by 943 users; 5-fold; u1.base; 1...5",
        "```{figure} a0.5.png\n:width: 0.5\nx\n```",
        "(sec-1.5)=",
    ],
)
def test_other_decimals_are_let_through(text):
    page = rules.Page(Path("page.md"), "page.md", None, (("page.md", text),))
    assert rules.no_typed_number(page) == []


def test_roles_in_code_are_no_roles():
    text = "Write ``{glue:text}`name` `` or `{cited}`.\n```text\n{cited}`0.5`\n```\n{glue}`x`"
    assert list(rules.markdown.roles(text)) == [("glue", "x")]


# ---- fresh against stored ------------------------------------------------------------------


def finding(**changes):
    plain = {"name": "t.x", "value": 0.5, "low": None, "high": None, "n": 10, "claim": None}
    return {**plain, "tolerance": None, **changes}


@pytest.mark.parametrize(
    ("stored", "change", "same"),
    [
        ({}, {"value": 0.509}, True),  # 2 % of the value
        ({}, {"value": 0.511}, False),
        ({}, {"value": 0.489}, False),
        ({"low": 0.4, "high": 0.6}, {"value": 0.549}, True),  # a quarter of the interval
        ({"low": 0.4, "high": 0.6}, {"value": 0.551}, False),
        ({"low": 0.4, "high": 0.6}, {"high": 0.66}, False),
        ({"tolerance": 0.1}, {"value": 0.59}, True),
        ({"tolerance": 0.001}, {"value": 0.502}, False),
        ({"value": 8}, {"value": 9}, False),  # small counts are exact
        ({"value": 1000}, {"value": 1019}, True),
        ({"value": 0}, {"value": 1e-9}, False),
        ({}, {"n": 11}, False),
        ({}, {"claim": "C05"}, False),
        ({}, {"low": 0.4, "high": 0.6}, False),
    ],
)
def test_tolerance_of_a_finding(stored, change, same):
    stored = finding(**stored)

    def outputs(found):
        return [new_output("display_data", data={nbs.MIME: found})]

    problems = fresh.numbers_differ(outputs(stored), outputs({**stored, **change}))
    assert (not problems) == same
    assert all("'t.x'" in problem for problem in problems)


def test_finding_lost_or_new():
    outputs = [new_output("display_data", data={nbs.MIME: finding()})]
    assert fresh.numbers_differ(outputs, []) == ["finding 't.x' is stored, but is no longer made"]
    assert fresh.numbers_differ([], outputs) == ["finding 't.x' is not stored; run `make execute`"]


@pytest.mark.parametrize(
    ("seconds", "spent", "factor", "problems"),
    [
        (1, 1, 1, 0),
        (61, 61, 1, 1),  # one cell: two thirds of 90
        (61, 91, 1, 2),
        (5, 91, 1, 1),
        (5, 99, 1, 0),  # an earlier cell has crossed the line
        (61, 91, 2, 0),
        (121, 181, 2, 2),
    ],
)
def test_budget_of_a_cell_and_of_its_notebook(seconds, spent, factor, problems):
    nb = new_notebook(cells=[new_code_cell("x")])
    assert len(fresh.over_budget(nb, nb.cells[0], seconds, spent, factor)) == problems


def test_memory():
    assert fresh.over_memory(4096) == []
    assert fresh.over_memory(4097) == ["the kernel used 4,097 MB, at most 4,096"]


# ---- under nbval ---------------------------------------------------------------------------


def store_other_mean(nb):
    for output in cell(nb, MEAN).outputs:
        if nbs.MIME in output.get("data", {}):
            output.data[nbs.MIME] = {**output.data[nbs.MIME], "value": 0.7, "high": 0.9}


def store_other_count(nb):
    tag(nb, SQUARES)  # not compared to the letter
    for output in cell(nb, SQUARES).outputs:
        if nbs.glue_name(output) == "n_squares":
            output.data = {f"{nbs.GLUE_PREFIX}text/plain": "5"}


def slow(nb):
    cell(nb, MEAN).metadata["recsys_lab"] = {"budget_s": 1}
    replace(nb, MEAN, 'print("a")', "import time\n\ntime.sleep(2.1)\nprint('a')")


def break_cells(nb):
    edit_squares(nb)
    store_other_mean(nb)
    cell(nb, DRAWN).source = 'record("t.mean", 1)'
    replace(nb, RAISES, "1 / 0", "1 / 1")


def break_others(nb):
    store_other_count(nb)
    slow(nb)
    cell(nb, DRAWN).source = "pass"
    replace(nb, RAISES, "1 / 0", "[][0]")


# Name -> how the stored notebook is changed, and what nbval must say of which of its cells.
# fmt: off
UNDER_NBVAL = {
    # An output compared to the letter may hold a finding, which is not.
    "sound": (lambda nb: tag(nb, MEAN, "nbval-check-output"), {}),
    "broken": (break_cells, {
        1: r"Cell outputs differ",
        2: r"broken.ipynb: cell 5 \(In \[3\]\): finding 't.mean': value stored 0.7, now 0.5",
        3: r"'t.mean' is already recorded in this run",
        4: r"broken.ipynb: cell 7 \(In \[5\]\): tagged raises-exception: stored ZeroDivisionError, now raised nothing",
    }),
    "others": (break_others, {
        1: r"others.ipynb: cell 4 \(In \[2\]\): glued value 'n_squares': stored 5, now 4",
        2: r"others.ipynb: cell 5 \(In \[3\]\): took [\d.]+ s; the cell's budget is 1 s times 2",
        4: r"others.ipynb: cell 7 \(In \[5\]\): tagged raises-exception: stored ZeroDivisionError, now raised IndexError",
    }),
}
# fmt: on


@pytest.fixture(scope="module")
def nbval_run(project):
    """(Notebook, cell) -> its failure, None where it passed, of one nbval run over all of them."""
    folder = project / "chapters" / "2_nbval"
    folder.mkdir()
    stored = nbs.read(project / "chapters" / "1_first" / "1_sound.ipynb")
    for name, (change, _) in UNDER_NBVAL.items():
        nb = copy.deepcopy(stored)
        change(nb)
        nbformat.write(nb, folder / f"{name}.ipynb")
    report = project / "report.xml"
    environment = {**os.environ, "PYTHONPATH": str(nbs.ROOT), "RECSYS_LAB_BUDGET_FACTOR": "2"}
    options = "--nbval-lax --nbval-current-env --nbval-cell-timeout=600 -p no:cacheprovider"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options.split(), f"--junitxml={report}", str(folder)],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    shutil.rmtree(folder)
    assert report.exists(), run.stdout + run.stderr
    results = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        failure = case.find("failure")
        notebook = case.get("classname").removesuffix(".ipynb").split(".")[-1]
        results[notebook, case.get("name")] = None if failure is None else failure.text
    return results


@pytest.mark.parametrize("name", UNDER_NBVAL)
def test_nbval_catches_and_names_the_cell(name, nbval_run):
    _, expected = UNDER_NBVAL[name]
    failures = {
        int(cell.removeprefix("Cell ")): text
        for (notebook, cell), text in nbval_run.items()
        if notebook == name
    }
    assert len(failures) == 5
    assert {number for number, text in failures.items() if text is not None} == set(expected)
    for number, message in expected.items():
        assert re.search(message, failures[number]), failures[number]

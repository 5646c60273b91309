"""A page is stale when a file that it reads changes, directly or through others; else it is not."""

import pytest

from tools.depends import depends_on, text_of

FILES = {
    "recsys_lab/__init__.py": '__version__ = "1.0"\nimport os\n',
    "recsys_lab/results.py": "def record(): ...\n",
    "recsys_lab/device.py": "",
    "recsys_lab/data/__init__.py": "from recsys_lab.data.loaders import load\n",
    "recsys_lab/data/loaders.py": "import numpy\n",
    "recsys_lab/data/reviews.py": "",
    "recsys_lab/models/__init__.py": "from importlib import import_module\nimport_module('x')\n",
    "recsys_lab/models/deep.py": "from recsys_lab import device\n",
    "recsys_lab/late.py": "def f():\n    from recsys_lab.results import record\n",
    "benchmarks/results/speed.json": "{}",
    "chapters/4_four/runs.py": "from recsys_lab.data import load\nimport shared\n",
    "chapters/4_four/runs.json": "{}",
    "chapters/4_four/runs.npz": "not really",
    "chapters/4_four/shared.py": "",
    "chapters/4_four/other.py": "",
}
DATA = ["recsys_lab/__init__.py", "recsys_lab/data/__init__.py", "recsys_lab/data/loaders.py"]
ROOT_INIT = "recsys_lab/__init__.py"
CASES = {
    "import numpy as np": [],
    "import recsys_lab": [ROOT_INIT],
    "from recsys_lab import record": [ROOT_INIT],
    "from recsys_lab.data import load": DATA,
    "import recsys_lab.data.reviews": [*DATA, "recsys_lab/data/reviews.py"],
    "from recsys_lab.data import reviews": [*DATA, "recsys_lab/data/reviews.py"],
    "from recsys_lab.models import Deep": [
        ROOT_INIT,
        "recsys_lab/device.py",
        "recsys_lab/models/__init__.py",
        "recsys_lab/models/deep.py",
    ],
    "import recsys_lab.late": [ROOT_INIT, "recsys_lab/late.py", "recsys_lab/results.py"],
    "x = Path('../../benchmarks/results/speed.json')": ["benchmarks/results/speed.json"],
    "x = root / 'benchmarks/results/speed.json'": ["benchmarks/results/speed.json"],
    "x = '../../../outside.json', '/etc/hosts.json'": [],
    "import runs as r": [
        "chapters/4_four/runs.json",
        "chapters/4_four/runs.npz",
        "chapters/4_four/runs.py",
        "chapters/4_four/shared.py",
        *DATA,
    ],
}


@pytest.fixture
def project(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("code", CASES)
def test_what_code_depends_on(project, code):
    found = depends_on(code, project / "chapters" / "4_four", project)
    assert [file.relative_to(project.resolve()).as_posix() for file in found] == CASES[code]


def test_code_that_cannot_be_parsed_depends_on_the_whole_package(project):
    found = depends_on("%matplotlib inline", project, project)
    assert {file.name for file in found} >= {"reviews.py", "deep.py", "late.py"}


def test_a_new_version_number_alone_makes_nothing_stale(project):
    init = project / "recsys_lab" / "__init__.py"
    before = text_of(init)
    init.write_text('__version__ = "2.0"\nimport os\n')
    assert text_of(init) == before
    init.write_text('__version__ = "2.0"\nimport sys\n')
    assert text_of(init) != before

"""Which of the project's files the outputs of some code depend on.

Followed are the imports, from file to file: of the package, of the benchmarks, and of a script that
stands beside the page, with the results that the script stores. Also a file of results that the
code names. Where the imports cannot be known without running, the whole folder counts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

STORED = (".json", ".npz")
VERSION = re.compile(r"^__version__ = .*$", re.M)  # names a release; no output depends on it


def depends_on(code: str, folder: Path, root: Path) -> list[Path]:
    """The project's files that the code reads, directly or through others, sorted.

    Args:
        code: of a notebook. Code that cannot be parsed depends on the whole package.
        folder: of the notebook; scripts beside it can be imported.
        root: of the project.
    """
    folder, root = folder.resolve(), root.resolve()
    found: set[Path] = set()
    waiting = _named(code, folder, root)
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            if file.suffix == ".py":
                text = file.read_text(encoding="utf-8")
                waiting |= _named(text, file.parent, root)
                if "import_module(" in text:
                    waiting |= set(file.parent.glob("*.py"))
    return sorted(found)


def text_of(file: Path) -> str:
    """The text of a file, or the bytes of an archive in hexadecimal; the package's version out."""
    if file.suffix == ".npz":
        return file.read_bytes().hex()
    return VERSION.sub("", file.read_text(encoding="utf-8"))


def _named(code: str, folder: Path, root: Path) -> set[Path]:
    """The project's files that the code names: modules that it imports, results that it reads."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return set((root / "recsys_lab").rglob("*.py"))
    files: set[Path] = set()
    for node in ast.walk(tree):
        for module in _modules(node):
            files |= _files(module, root)
            if "." not in module and (folder / f"{module}.py").is_file():
                script = folder / f"{module}.py"
                stored = {script.with_suffix(suffix) for suffix in STORED}
                files |= {script} | {file for file in stored if file.is_file()}
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value.endswith(STORED) and "\n" not in node.value:
                places = {(base / node.value).resolve() for base in (folder, root)}
                files |= {p for p in places if p.is_file() and p.is_relative_to(root)}
    return files


def _modules(node: ast.AST) -> Iterator[str]:
    """Dotted names that an import statement may load; `from a import b` may load a.b."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(module: str, root: Path) -> set[Path]:
    """The module's file below the root, and those of the packages on the way to it."""
    files, path = set(), root
    for part in module.split("."):
        path = path / part
        files |= {
            file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()
        }
    return files

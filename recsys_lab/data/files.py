"""Read a text table and say precisely what is wrong with it.

A table is read line by line, so that every complaint can name its line. Files come from a folder or
from a zip archive, which is read in memory and never unpacked.
"""

from __future__ import annotations

import csv
import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from recsys_lab.data.interactions import DataError

MAX_BYTES = 2_000_000_000  # a member of an archive that claims more is refused
LAST_SECOND = 4_102_444_800  # 2100-01-01: a later timestamp is in milliseconds
# What zipfile lets out when an archive is damaged, locked or packed in a way it does not know.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    KeyError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)
AGAIN = "Download or copy the file again"


@dataclass(frozen=True)
class Table:
    """Columns of text, stripped of blanks at both ends, with the line of each row."""

    path: str
    columns: dict[str, list[str]]
    lines: Sequence[int]

    def error(self, row: int, problem: str, remedy: str) -> DataError:
        return DataError(problem, remedy, self.path, self.lines[row])

    def ids(self, column: str) -> list[str]:
        values = self.columns[column]
        if "" in values:
            raise self.error(
                values.index(""), f"{column} is blank", "Fill in the id, or remove the line"
            )
        return values

    def ratings(self, column: str, scale: tuple[float, float] | None) -> np.ndarray:
        remedy = "Write the rating as a number, or remove the line"
        values = self._numbers(column, remedy)
        low, high = (-np.inf, np.inf) if scale is None else scale
        # NaN fails every comparison; infinity is no rating on any scale.
        good = (values >= low) & (values <= high) & np.isfinite(values)
        if not good.all():
            row = int(np.argmin(good))
            text = self.columns[column][row]
            if not np.isfinite(values[row]):
                raise self.error(row, f"the rating is {text!r}, which is not a number", remedy)
            raise self.error(
                row,
                f"the rating {text!r} lies outside {low:g} to {high:g}",
                "Correct it, or give the scale of the ratings as rating_range=(low, high)",
            )
        return values

    def timestamps(self, column: str) -> np.ndarray:
        remedy = "Give seconds since 1970-01-01 UTC as a whole number"
        values = self._numbers(column, remedy)
        good = (values >= 0) & (values < LAST_SECOND) & (values == np.floor(values))
        if not good.all():
            row = int(np.argmin(good))
            text = self.columns[column][row]
            problem = f"the timestamp {text!r} is not a whole number of seconds"
            if values[row] < 0:
                problem = f"the timestamp {text!r} is negative"
            elif values[row] >= LAST_SECOND:
                problem = f"the timestamp {text!r} lies after the year 2099"
                remedy += "; if these are milliseconds, divide by 1000"
            raise self.error(row, problem, remedy)
        return values.astype(np.int64)

    def _numbers(self, column: str, remedy: str) -> np.ndarray:
        try:
            return np.array(list(map(float, self.columns[column])))
        except ValueError:
            row = next(i for i, v in enumerate(self.columns[column]) if not _is_number(v))
            text = self.columns[column][row]
            problem = (
                f"{column} is {text!r}, which is not a number" if text else f"{column} is blank"
            )
            raise self.error(row, problem, remedy) from None


class Source:
    """A folder, or a zip archive that holds one: `read` gives a file's text."""

    def __init__(self, path: str | Path, example: str) -> None:
        self.path = Path(path)
        self._archive: zipfile.ZipFile | None = None
        if not self.path.exists():
            raise DataError("no such folder", f"Give the folder that holds {example}", path)
        if self.path.is_dir():
            return
        try:
            self._archive = zipfile.ZipFile(self.path)
        except ZIP_ERRORS as error:
            with self.path.open("rb") as file:
                is_archive = file.read(2) == b"PK" or self.path.suffix == ".zip"
            if is_archive:
                raise DataError(
                    f"the archive is damaged or cut short ({error})", AGAIN, path
                ) from None
            raise DataError(
                "this is a file, where a folder was expected",
                f"Give the folder (or the zip archive) that holds {example}",
                path,
            ) from None

    def find(self, name: str) -> str | None:
        """Path inside the source of the file called `name`, at the top or one folder down."""
        if self._archive is None:
            below = [f"{p.name}/{name}" for p in self.path.iterdir() if (p / name).exists()]
            members = self.names() + below
        else:
            members = [m for m in self._archive.namelist() if m.count("/") <= 1]
        found = [m for m in members if m == name or m.endswith(f"/{name}")]
        return min(found, key=lambda m: (m.count("/"), m), default=None)

    def names(self) -> list[str]:
        if self._archive is None:
            return sorted(p.name for p in self.path.iterdir())
        return sorted(self._archive.namelist())

    def text(self, name: str, encodings: Iterable[str] = ("utf-8-sig",)) -> tuple[str, str]:
        """(shown path, text) of a file in this source."""
        shown = f"{self.path}/{name}"
        if self._archive is None:
            return shown, read_text(self.path / name, encodings)
        try:
            size = self._archive.getinfo(name).file_size
            raw = b"" if size > MAX_BYTES else self._archive.read(name)
        except ZIP_ERRORS as error:
            raise DataError(
                f"the archive is damaged, cut short or locked ({error})",
                f"{AGAIN}, or unpack it with its password",
                shown,
            ) from None
        if size > MAX_BYTES:
            raise DataError("the file is larger than 2 GB", "Unpack it by hand", shown)
        return shown, decode(raw, shown, encodings)


def read_text(path: Path, encodings: Iterable[str] = ("utf-8-sig",)) -> str:
    """Text of a file on disk, or a DataError that says why there is none."""
    if path.is_dir():
        raise DataError("this is a folder, where a file was expected", "Give a file in it", path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        beside = path.parent
        near = get_close_matches(path.name, [p.name for p in beside.glob("*")], n=1)
        remedy = f"Its folder has {near[0]}" if near else f"Check the name and the folder {beside}"
        raise DataError("no such file", remedy, path) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", "Check its rights", path) from None
    return decode(raw, str(path), encodings)


def decode(raw: bytes, path: str, encodings: Iterable[str]) -> str:
    """Bytes to text: the first encoding that fits."""
    if not raw.strip(b"\xef\xbb\xbf \r\n\t"):  # a byte order mark alone says nothing
        raise DataError("the file is empty", AGAIN, path, 1)
    if raw[:4] == b"PK\x03\x04" or raw[:2] == b"\x1f\x8b":
        raise DataError("this is a compressed archive, not a text file", "Unpack it first", path, 1)
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError("the file is in UTF-16", "Save it as UTF-8", path, 1)
    if (at := raw.find(b"\0")) >= 0:
        line = raw.count(b"\n", 0, at) + 1
        raise DataError(
            "a NUL byte: this is no text file, or it is in UTF-16 or damaged",
            f"Save it as UTF-8 text. {AGAIN} if it is damaged",
            path,
            line,
        )
    for encoding in encodings:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            bad = raw[error.start]
    raise DataError(
        f"byte 0x{bad:02x} is not UTF-8; the file may be in latin-1 (ISO 8859-1)",
        "Save it as UTF-8",
        path,
        line,
    )


def split_table(
    path: str, text: str, columns: Sequence[str] | None, separator: str
) -> tuple[list[str], Table]:
    """Cut text into columns at every separator, without quoting.

    With `columns` None the first line names them. Returns these names and the table.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")
    first = 1
    if columns is None:
        columns, lines, first = lines[0].split(separator), lines[1:], 2
    rows = [line.split(separator) for line in lines]
    return list(columns), _table(path, list(columns), rows, range(first, first + len(rows)))


def csv_table(path: str, text: str, separator: str) -> tuple[list[str], Table]:
    """Cut comma-separated text with quoted fields into columns named by the first row."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows, lines = [], []
    start = 1
    try:
        for row in reader:
            if row:  # a blank line holds nothing to misread
                rows.append(row)
                lines.append(start)
            start = reader.line_num + 1  # a quoted field may span lines
    except csv.Error as error:
        raise DataError(
            f"the row cannot be read as CSV ({error})", f"Close the quotes. {AGAIN}", path, start
        ) from None
    return rows[0], _table(path, rows[0], rows[1:], lines[1:])


def require(path: str, present: Sequence[str], wanted: Iterable[str], remedy: str) -> None:
    """Every wanted column must be named in line 1."""
    for column in wanted:
        if column not in present:
            lower = {name.lower(): name for name in present}
            near = get_close_matches(column.lower(), lower, n=1)
            meant = f"; did you mean {lower[near[0]]!r}?" if near else ""
            raise DataError(
                f"no column {column!r}; the file has {', '.join(map(repr, present))}{meant}",
                remedy,
                path,
                1,
            )


def _table(path: str, names: list[str], rows: list[list[str]], lines: Sequence[int]) -> Table:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"two columns are named {twice!r}", "Rename one of them", path, 1)
    if not rows:
        raise DataError("the file has a header and no rows", AGAIN, path, 1)
    widths = list(map(len, rows))
    if widths.count(len(names)) < len(rows):
        row = next(i for i, width in enumerate(widths) if width != len(names))
        problem = f"{widths[row]} fields where {len(names)} were expected"
        if rows[row] == [""]:
            problem = "the line is blank"
        elif row == len(rows) - 1 and widths[row] < len(names):
            problem += "; the file may be cut short"
        raise DataError(
            problem, f"Mend or remove the line. {AGAIN} if it is cut short", path, lines[row]
        )
    columns = {
        name: [v.strip() for v in column]
        for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }
    return Table(path, columns, lines)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

"""From files to `Interactions`: RecBole's atomic files, GroupLens' own layouts, any CSV.

Derived in chapters/1_recsys_basics/1_data. Whatever is wrong with a file ends in one `DataError`.
Nothing is downloaded, nothing is unpickled.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_lab.data.assets import movielens_folder
from recsys_lab.data.files import AGAIN, Source, Table, csv_table, read_text, require, split_table
from recsys_lab.data.interactions import DataError, Interactions

_YEAR_AT_END = re.compile(r"\s*\((\d{4})\)\s*(\(V\))?$")  # "(V)" marks a video release
_NO_GENRE = {"", "unknown", "(no genres listed)"}


def load_movielens() -> Interactions:
    """MovieLens-100K: 943 users, 1,682 items, 100,000 ratings of 1 to 5 stars, 1997 to 1998.

    Read from the pinned wheel (`make setup` installs it) and kept in memory, so a second call costs
    nothing. Titles keep MovieLens' spelling ("Usual Suspects, The"); item 267 has neither title nor
    year. Source: Harper & Konstan (2015), https://doi.org/10.1145/2827872; research use only.
    Derived in chapters/1_recsys_basics/1_data.

    Raises:
        DataError: the wheel is missing or its files are damaged.
    """
    return replace(_movielens())  # tables of its own, so that a reader may add columns


def load_recbole(
    folder: str | Path, name: str | None = None, rating_range: tuple[float, float] | None = None
) -> Interactions:
    """RecBole's atomic files: NAME.inter, NAME.item, NAME.user, and NAME.kg + NAME.link if present.

    Tab-separated; the first line names the columns with their type (`user_id:token`). Needed are
    user_id, item_id, rating and timestamp in .inter, item_id in .item, user_id in .user. The index
    order is that of the sorted ids. An item without a rating is left out.
    Used in chapters/1_recsys_basics/1_data.

    Args:
        folder: the folder, or a zip archive of it.
        name: start of the file names; the folder's own name if None.
        rating_range: lowest and highest rating allowed; any number if None.

    Raises:
        DataError: anything missing or wrong; it names file, line and remedy.
    """
    name = Path(folder).name.removesuffix(".zip") if name is None else name
    source = Source(folder, f"{name}.inter, {name}.item and {name}.user")
    inter = _atomic(source, name, "inter", ("user_id", "item_id", "rating", "timestamp"))
    item = _atomic(source, name, "item", ("item_id",))
    user = _atomic(source, name, "user", ("user_id",))
    titles = _first(item, ("movie_title", "title"))
    years = _first(item, ("release_year", "year"))
    genres = [g.split() for g in _first(item, ("class", "genre", "genres"))]
    return _build(
        name,
        inter,
        inter.ratings("rating", rating_range),
        inter.timestamps("timestamp"),
        user=user,
        item=item,
        films=list(zip(titles, years, genres, strict=True)),
        graph=(str(folder), name) if source.find(f"{name}.kg") else None,
    )


def load_grouplens(folder: str | Path) -> Interactions:
    """GroupLens' own files: ML-100K (u.data, u.item, u.user, u.genre) or ML-1M (ratings.dat, ...).

    The layout is told from the file names. Give the unpacked folder or the zip archive itself.
    GroupLens' files are UTF-8 or latin-1. ML-1M writes age groups and occupations as codes, which
    its README explains. Download: https://grouplens.org/datasets/movielens/ (research use).
    Used in chapters/1_recsys_basics/1_data.

    Raises:
        DataError: anything missing or wrong; it names file, line and remedy.
    """
    source = Source(folder, "u.data (ML-100K) or ratings.dat (ML-1M)")
    if source.find("u.data"):
        return _ml_100k(source)
    if source.find("ratings.dat"):
        return _ml_1m(source)
    csvs = [name for name in source.names() if name.endswith("ratings.csv")]
    raise DataError(
        f"neither u.data nor ratings.dat; found {', '.join(source.names()[:8]) or 'nothing'}",
        "Use load_csv(path, user='userId', item='movieId', rating='rating', timestamp='timestamp')"
        if csvs
        else "Give the unpacked folder of ml-100k or ml-1m",
        folder,
    )


def load_csv(
    path: str | Path,
    *,
    user: str,
    item: str,
    rating: str | None = None,
    timestamp: str | None = None,
    rating_range: tuple[float, float] | None = None,
    separator: str = ",",
) -> Interactions:
    """Any CSV file with a header, in UTF-8. Used in chapters/1_recsys_basics/1_data.

    Args:
        path: the file.
        user: name of the column with user ids.
        item: name of the column with item ids.
        rating: name of the column with ratings; all ratings are 1.0 if None.
        timestamp: name of the column with seconds since 1970-01-01 UTC; no order if None.
        rating_range: lowest and highest rating allowed; any number if None.
        separator: the character between columns.

    Raises:
        DataError: anything missing or wrong; it names file, line and remedy.
    """
    text = read_text(Path(path))
    header, table = csv_table(str(path), text, separator)
    wanted = [c for c in (user, item, rating, timestamp) if c is not None]
    require(
        table.path,
        header,
        wanted,
        "Give the names in the header, and separator= if it is not a comma",
    )
    renamed = {"user_id": table.columns[user], "item_id": table.columns[item]}
    if rating is not None:
        renamed["rating"] = table.columns[rating]
    if timestamp is not None:
        renamed["timestamp"] = table.columns[timestamp]
    table = Table(table.path, renamed, table.lines)
    n = len(table.lines)
    return _build(
        Path(path).stem,
        table,
        np.ones(n) if rating is None else table.ratings("rating", rating_range),
        np.zeros(n, dtype=np.int64) if timestamp is None else table.timestamps("timestamp"),
    )


@lru_cache(maxsize=1)
def _movielens() -> Interactions:
    folder = movielens_folder()
    data = load_recbole(folder, "ml-100k", rating_range=(1, 5))
    found = (data.n_users, data.n_items, len(data))
    if found != (943, 1682, 100_000):
        raise DataError(
            f"{found} users, items and ratings instead of (943, 1682, 100000)",
            "The wheel's files were changed: run `make setup` again",
            folder,
        )
    return data


def _atomic(source: Source, name: str, kind: str, wanted: tuple[str, ...]) -> Table:
    """One of RecBole's atomic files; column names lose their type."""
    member = source.find(f"{name}.{kind}")
    if member is None:
        raise DataError(
            f"no file {name}.{kind}; found {', '.join(source.names()[:8]) or 'nothing'}",
            f"Give the folder that holds {name}.{kind}, or name= the start of its file names",
            source.path,
        )
    path, text = source.text(member)
    header = text.partition("\n")[0].strip("\r").split("\t")
    if not all(":" in column for column in header):
        raise DataError(
            f"no header with types in {header}",
            f"Begin the file with a line such as {':token<tab>'.join(wanted)}:token",
            path,
            1,
        )
    names, table = split_table(path, text, None, "\t")
    bare = [column.split(":")[0].strip() for column in names]
    require(path, bare, wanted, "Name the columns in line 1 as RecBole does, or use load_csv")
    return Table(path, dict(zip(bare, table.columns.values(), strict=True)), table.lines)


def _first(table: Table, names: tuple[str, ...]) -> list[str]:
    """The first of these columns that is there; blanks if none is."""
    found = [name for name in names if name in table.columns]
    return table.columns[found[0]] if found else [""] * len(table.lines)


def _ml_100k(source: Source) -> Interactions:
    latin = ("utf-8-sig", "latin-1")
    columns = ("user_id", "item_id", "rating", "timestamp")
    inter = _plain(source, "u.data", columns, "\t")
    genres = _plain(source, "u.genre", ("genre", "number"), "|").columns["genre"]
    columns = ("item_id", "title", "released", "video", "url", *genres)
    item = _plain(source, "u.item", columns, "|", latin)
    columns = ("user_id", "age", "gender", "occupation", "zip_code")
    user = _plain(source, "u.user", columns, "|")
    for genre in genres:
        odd = set(item.columns[genre]) - {"0", "1"}
        if odd:
            row = next(i for i, flag in enumerate(item.columns[genre]) if flag in odd)
            flag = item.columns[genre][row]
            raise item.error(row, f"the flag for {genre} is {flag!r}", "It must be 0 or 1")
    flags = np.array([item.columns[g] for g in genres]).T == "1"  # (n_items, n_genres)
    tags = [[g for g, on in zip(genres, row, strict=True) if on] for row in flags]
    years = [date[-4:] for date in item.columns["released"]]  # 01-Jan-1995
    data = _build(
        "ml-100k",
        inter,
        inter.ratings("rating", (1, 5)),
        inter.timestamps("timestamp"),
        user=user,
        item=item,
        films=list(zip(item.columns["title"], years, tags, strict=True)),
    )
    if member := source.find("u.info"):  # "100000 ratings": a u.data cut at a line's end shows here
        path, text = source.text(member)
        promised = re.search(r"(\d+) ratings", text)
        if promised and int(promised[1]) != len(data):
            raise DataError(
                f"{len(data)} ratings where {path} promises {promised[1]}: it may be cut short",
                AGAIN,
                inter.path,
                inter.lines[-1],
            )
    return data


def _ml_1m(source: Source) -> Interactions:
    latin = ("utf-8-sig", "latin-1")
    columns = ("user_id", "item_id", "rating", "timestamp")
    inter = _plain(source, "ratings.dat", columns, "::")
    item = _plain(source, "movies.dat", ("item_id", "title", "genres"), "::", latin)
    columns = ("user_id", "gender", "age", "occupation", "zip_code")
    user = _plain(source, "users.dat", columns, "::")
    tags = [genres.split("|") for genres in item.columns["genres"]]
    return _build(
        "ml-1m",
        inter,
        inter.ratings("rating", (1, 5)),
        inter.timestamps("timestamp"),
        user=user,
        item=item,
        films=list(zip(item.columns["title"], [""] * len(tags), tags, strict=True)),
    )


def _plain(
    source: Source,
    name: str,
    columns: tuple[str, ...],
    separator: str,
    encodings: tuple[str, ...] = ("utf-8-sig",),
) -> Table:
    """A GroupLens file, which has no header."""
    member = source.find(name)
    if member is None:
        raise DataError(
            f"no file {name}; found {', '.join(source.names()[:8])}", AGAIN, source.path
        )
    path, text = source.text(member, encodings)
    return split_table(path, text, columns, separator)[1]


def _build(
    name: str,
    inter: Table,
    ratings: np.ndarray,
    timestamps: np.ndarray,
    user: Table | None = None,
    item: Table | None = None,
    films: list[tuple[str, str, list[str]]] | None = None,
    graph: tuple[str, str] | None = None,
) -> Interactions:
    """Join the tables by raw id. films: (title, year, genres) as text, one a row of `item`."""
    user_ids, users, user_rows = _join(inter, "user_id", user)
    item_ids, items, item_rows = _join(inter, "item_id", item)
    pairs = users * len(item_ids) + items
    _, first, place = np.unique(pairs, return_index=True, return_inverse=True)
    if len(first) < len(pairs):
        row = int(np.argmax(first[place] < np.arange(len(pairs))))
        raise inter.error(
            row,
            f"user {user_ids[users[row]]} has item {item_ids[items[row]]} already in line "
            f"{inter.lines[first[place[row]]]}",
            "Keep one of the two lines, for example the later one",
        )
    return Interactions(
        users=users,
        items=items,
        ratings=ratings,
        timestamps=timestamps,
        user_ids=user_ids,
        item_ids=item_ids,
        user_table=None if user is None else _user_table(user, user_ids, user_rows),
        item_table=None if films is None else _item_table(films, item_ids, item_rows),
        name=name,
        load_graph=None if graph is None else partial(_graph, *graph, tuple(item_ids.tolist())),
    )


def _join(
    inter: Table, column: str, table: Table | None
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Sorted ids (n_ids,), index of each event (n,), and each id's row in the table of its kind."""
    raw = inter.ids(column)
    ids = list(dict.fromkeys(raw))
    try:
        numbers = {text: int(text) for text in ids}
        if any(str(number) != text for text, number in numbers.items()):
            raise ValueError  # "007" is a name, not the number 7
        ids.sort(key=numbers.__getitem__)
        sorted_ids = np.array([numbers[text] for text in ids], dtype=np.int64)
    except (ValueError, OverflowError):
        ids.sort()
        sorted_ids = np.array(ids)
    index = {text: i for i, text in enumerate(ids)}
    events = np.fromiter(map(index.__getitem__, raw), dtype=np.int64, count=len(raw))
    if table is None:
        return sorted_ids, events, []
    row_of: dict[str, int] = {}
    for row, text in enumerate(table.ids(column)):
        if text in row_of:
            earlier = table.lines[row_of[text]]
            raise table.error(
                row, f"{column} {text} has a row already in line {earlier}", "Keep one of the two"
            )
        row_of[text] = row
    if not index.keys() <= row_of.keys():
        row = next(i for i, text in enumerate(raw) if text not in row_of)
        raise inter.error(
            row,
            f"{column} {raw[row]} has no row in {table.path}",
            "Add the row there, or remove this line",
        )
    return sorted_ids, events, [row_of[text] for text in ids]


def _user_table(table: Table, ids: np.ndarray, rows: list[int]) -> pd.DataFrame:
    ages: list[object] = []
    for row in rows:
        text = _first(table, ("age",))[row]
        if text and not text.isdecimal():
            raise table.error(row, f"the age is {text!r}", "Give whole years, or leave it blank")
        ages.append(int(text) if text else pd.NA)
    frame = pd.DataFrame({"user_id": ids, "age": pd.array(ages, dtype="Int64")})
    for column in ("gender", "occupation", "zip_code"):
        values = _first(table, (column,))
        frame[column] = [values[row] or pd.NA for row in rows]
    return frame


def _item_table(
    films: list[tuple[str, str, list[str]]], ids: np.ndarray, rows: list[int]
) -> pd.DataFrame:
    titles, years, genres = [], [], []
    for row in rows:
        title, year, tags = films[row]
        if at_end := _YEAR_AT_END.search(title):
            title, year = title[: at_end.start()], at_end[1]
        # "unkonwn" is how the wheel's file spells it.
        titles.append("unknown" if title in ("", "unkonwn") else title)
        years.append(int(year) if re.fullmatch(r"\d{4}", year) else pd.NA)
        genres.append(tuple(tag for tag in tags if tag not in _NO_GENRE))
    return pd.DataFrame(
        {
            "item_id": ids,
            "title": titles,
            "year": pd.array(years, dtype="Int64"),
            "genres": genres,
        }
    )


@lru_cache(maxsize=2)
def _graph(folder: str, name: str, item_ids: tuple[object, ...]) -> pd.DataFrame:
    """The triples of NAME.kg, joined to item indices by NAME.link."""
    source = Source(folder, f"{name}.kg and {name}.link")
    triples = _atomic(source, name, "kg", ("head_id", "relation_id", "tail_id"))
    link = _atomic(source, name, "link", ("item_id", "entity_id"))
    index = {str(raw): i for i, raw in enumerate(item_ids)}
    entities = {
        entity: index[raw]
        for raw, entity in zip(link.ids("item_id"), link.ids("entity_id"), strict=True)
        if raw in index
    }
    head, tail = triples.ids("head_id"), triples.ids("tail_id")
    return pd.DataFrame(
        {
            "head": head,
            "relation": triples.ids("relation_id"),
            "tail": tail,
            "item": [entities.get(h, entities.get(t, -1)) for h, t in zip(head, tail, strict=True)],
        }
    )

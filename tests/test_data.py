"""Loading: the facts of MovieLens-100K, the other layouts, and what an Interactions promises."""

import doctest
import io
import pickle
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys_lab.data import (
    DataError,
    Interactions,
    assets,
    interactions,
    load_csv,
    load_grouplens,
    load_movielens,
    load_recbole,
    loaders,
)


@pytest.fixture(scope="module")
def data() -> Interactions:
    return load_movielens()


# ---- MovieLens-100K ------------------------------------------------------------------------


def test_movielens_has_its_known_size(data):
    assert (data.n_users, data.n_items, len(data)) == (943, 1682, 100_000)
    assert round(data.density, 6) == 0.063047
    assert data.name == "ml-100k"
    assert sorted(set(data.ratings)) == [1, 2, 3, 4, 5]
    assert data.counts("users").min() == 20
    assert (data.counts("items") == 1).sum() == 141
    assert data.timestamps.min() == 874_724_710  # 20 September 1997
    assert data.timestamps.max() == 893_286_638  # 22 April 1998


def test_index_order_is_the_numeric_order_of_the_ids(data):
    np.testing.assert_array_equal(data.user_ids, np.arange(1, 944))
    np.testing.assert_array_equal(data.item_ids, np.arange(1, 1683))
    # the first line of the file: 196 242 3 881250949
    first = data.users[0], data.items[0], data.ratings[0], data.timestamps[0]
    assert first == (195, 241, 3.0, 881_250_949)


def test_movielens_agrees_with_pandas_on_the_raw_file(data):
    raw = pd.read_csv(assets.movielens_folder() / "ml-100k.inter", sep="\t")
    raw.columns = ["user", "item", "rating", "timestamp"]
    np.testing.assert_array_equal(data.user_ids[data.users], raw.user)
    np.testing.assert_array_equal(data.item_ids[data.items], raw.item)
    np.testing.assert_array_equal(data.ratings, raw.rating)
    np.testing.assert_array_equal(data.timestamps, raw.timestamp)


def test_items_have_titles_years_and_genres(data):
    films = data.item_table
    assert list(films.columns) == ["item_id", "title", "year", "genres"]
    assert films.loc[0].tolist() == [1, "Toy Story", 1995, ("Animation", "Children's", "Comedy")]
    assert films.title[11] == "Usual Suspects, The"
    assert films.title[542] == "Misérables, Les"
    assert films.year.dtype == "Int64"
    assert films.year.isna().to_numpy().nonzero()[0].tolist() == [266]
    assert films.loc[266, ["title", "genres"]].tolist() == ["unknown", ()]
    # the file has the year inside this title, and a "V" for video where the year should be
    title, year = films.loc[1411, ["title", "year"]]
    assert (title, year) == ("Land Before Time III: The Time of the Great Giving", 1995)
    assert films.title.map(type).eq(str).all()
    assert len({genre for genres in films.genres for genre in genres}) == 18
    assert films.year.dropna().between(1922, 1998).all()


def test_users_have_age_gender_occupation_and_zip(data):
    people = data.user_table
    assert people.loc[0].tolist() == [1, 24, "M", "technician", "85711"]
    assert people.age.min() == 7 and people.age.max() == 73
    assert people.gender.value_counts().to_dict() == {"M": 670, "F": 273}
    assert people.zip_code.str.fullmatch("[0-9A-Z]{5}").all()


def test_knowledge_graph(data):
    graph = data.knowledge_graph
    assert list(graph.columns) == ["head", "relation", "tail", "item"]
    assert len(graph) == 91_631
    linked = graph.item[graph.item >= 0]
    assert linked.nunique() == 1_598
    assert linked.max() < data.n_items
    assert graph.relation.nunique() == 24
    # the file's first triple names a producer of the film that .link calls item 94, Home Alone
    assert graph.loc[0].tolist() == ["m.04ctbw8", "film.producer.film", "m.0bln8", 93]


def test_knowledge_graph_is_read_only_when_asked_for(monkeypatch):
    fresh = load_movielens()
    assert "knowledge_graph" not in vars(fresh)
    calls = []
    object.__setattr__(fresh, "load_graph", lambda: calls.append(1) or pd.DataFrame({"head": []}))
    _ = fresh.knowledge_graph, fresh.knowledge_graph
    assert calls == [1]


def test_loading_takes_less_than_half_a_second_and_happens_once():
    loaders._movielens.cache_clear()
    start = time.process_time()
    load_movielens()
    first = time.process_time() - start
    start = time.process_time()
    load_movielens()
    assert time.process_time() - start < 0.02
    assert first < 1.5  # about 0.3 s alone; the bound leaves room for a loaded machine


def test_one_reader_cannot_spoil_the_data_of_the_next(data):
    mine = load_movielens()
    mine.item_table["title"] = "spoilt"
    mine.user_table.loc[0, "age"] = 99
    part = data.select(np.arange(5))
    part.item_table["new"] = 1
    part.item_table.loc[0, "title"] = "spoilt"
    assert load_movielens().item_table.title[0] == "Toy Story"
    assert load_movielens().user_table.age[0] == 24
    assert data.item_table.title[0] == "Toy Story" and "new" not in data.item_table


# ---- Interactions --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["users", "items", "ratings", "timestamps", "user_ids", "item_ids"]
)
def test_arrays_are_read_only(data, name):
    for part in (data, data.select(np.arange(10))):
        with pytest.raises(ValueError, match="read-only"):
            getattr(part, name)[0] = 7
    with pytest.raises(AttributeError):
        setattr(data, name, np.zeros(3))


def test_the_callers_array_stays_writeable():
    users = np.array([0, 1])
    Interactions(users, [0, 0])
    users[0] = 1


def test_repr_is_one_short_line(data):
    assert repr(data) == (
        "Interactions('ml-100k', 943 users, 1,682 items, 100,000 ratings, density 0.063)"
    )


def test_docstring_examples_run():
    assert doctest.testmod(interactions).failed == 0


def test_matrix(data):
    binary = data.matrix()
    assert binary.shape == (943, 1682) and binary.nnz == 100_000 and binary.format == "csr"
    assert binary.dtype == np.float64 and set(binary.data) == {1.0}
    assert binary.has_sorted_indices
    stars = data.matrix("ratings")
    assert stars[195, 241] == 3
    assert stars.sum() == data.ratings.sum()
    liked = data.matrix(min_rating=4)
    assert liked.nnz == (data.ratings >= 4).sum() == 55_375
    assert data.matrix("ratings", min_rating=4).data.min() == 4
    with pytest.raises(ValueError, match="'binary' or 'ratings'"):
        data.matrix("stars")


def test_matrix_of_a_resample_counts_a_pair_once_and_refuses_to_add_ratings():
    twice = Interactions([0, 0], [1, 1], [4, 5])
    assert twice.matrix().toarray().tolist() == [[0.0, 1.0]]
    with pytest.raises(ValueError, match="occurs twice"):
        twice.matrix("ratings")


def test_select_keeps_the_index_space(data):
    part = data.select(data.users == 3, name="one user")
    assert (part.n_users, part.n_items, part.name) == (943, 1682, "one user")
    assert set(part.users) == {3}
    assert len(part.knowledge_graph) == 91_631
    backwards = data.select([5, 2])
    assert backwards.items.tolist() == data.items[[5, 2]].tolist()
    assert len(data.select([])) == 0
    assert data.select([]).matrix().nnz == 0
    with pytest.raises(ValueError, match="mask"):
        data.select([True, False])
    with pytest.raises(ValueError, match="boolean mask or positions"):
        data.select([0.5])


def test_counts(data):
    assert data.counts("items").sum() == data.counts("users").sum() == 100_000
    assert data.counts("items").shape == (1682,) and data.counts("users").shape == (943,)
    assert data.counts("items")[49] == 583  # Star Wars, the most rated film
    with pytest.raises(ValueError, match="'items' or 'users'"):
        data.counts("films")


def test_a_worked_example_needs_two_lists():
    toy = Interactions([0, 0, 1], [0, 2, 1])
    assert (toy.n_users, toy.n_items) == (2, 3)
    assert toy.ratings.tolist() == [1, 1, 1] and toy.timestamps.tolist() == [0, 0, 0]
    assert toy.item_table.genres.tolist() == [(), (), ()]
    assert list(toy.user_table.columns) == list(load_movielens().user_table.columns)
    assert list(toy.item_table.columns) == list(load_movielens().item_table.columns)
    with pytest.raises(DataError, match="no knowledge graph"):
        _ = toy.knowledge_graph


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"users": [0, 1], "items": [0]}, "items has shape"),
        ({"users": [0, 1], "items": [0, 1], "ratings": [3]}, "ratings has shape"),
        ({"users": [0, -1], "items": [0, 1]}, "index -1"),
        ({"users": [0, 1], "items": [0, 5], "item_ids": ["a", "b"]}, "index 5.*2 items"),
        ({"users": ["ann", "bob"], "items": [0, 1]}, "whole numbers.*ann"),
        ({"users": [0.5, 1], "items": [0, 1]}, "whole numbers"),
        ({"users": [0, 1], "items": [0, 1], "timestamps": [np.inf, 0]}, "whole numbers"),
        ({"users": [0, 1], "items": [0, 1], "ratings": [3, np.nan]}, "NaN"),
        (
            {"users": [0, 1], "items": [0, 1], "item_table": pd.DataFrame({"title": ["A"]})},
            "1 rows",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(fields, message):
    with pytest.raises(DataError, match=message):
        Interactions(**fields)


def test_interactions_and_errors_survive_pickling(data):
    again = pickle.loads(pickle.dumps(data))
    assert len(again) == len(data) and len(again.knowledge_graph) == 91_631
    error = pickle.loads(pickle.dumps(DataError("bad", "Mend it", "a.csv", 3)))
    assert str(error) == "a.csv, line 3: bad. Mend it."
    assert (error.path, error.line, error.remedy) == ("a.csv", 3, "Mend it")


# ---- other layouts -------------------------------------------------------------------------

GENRES = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy "
    "Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western"
).split()


def write_ml_100k(folder: Path, data: Interactions) -> None:
    """GroupLens' ML-100K layout, written from the wheel's data."""
    folder.mkdir(exist_ok=True)
    events = zip(
        data.user_ids[data.users],
        data.item_ids[data.items],
        data.ratings.astype(int),
        data.timestamps,
        strict=True,
    )
    (folder / "u.data").write_text("".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in events))
    lines = []
    for film in data.item_table.itertuples():
        flags = "|".join(str(int(g in (film.genres or ("unknown",)))) for g in GENRES)
        known = film.title != "unknown"
        title = f"{film.title} ({film.year})" if known else "unknown"
        if film.item_id == 1412:
            title += " (V)"
        released = f"01-Jan-{film.year}" if known else ""
        lines.append(f"{film.item_id}|{title}|{released}||http://example.org|{flags}\n")
    (folder / "u.item").write_bytes("".join(lines).encode("latin-1"))
    people = data.user_table.itertuples(index=False)
    (folder / "u.user").write_text("".join("|".join(map(str, row)) + "\n" for row in people))
    (folder / "u.genre").write_text("".join(f"{g}|{k}\n" for k, g in enumerate(GENRES)) + "\n")
    info = f"{data.n_users} users\n{data.n_items} items\n{len(data)} ratings\n"
    (folder / "u.info").write_text(info)


def assert_same(left: Interactions, right: Interactions) -> None:
    for name in ("users", "items", "ratings", "timestamps", "user_ids", "item_ids"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    pd.testing.assert_frame_equal(left.item_table, right.item_table)
    pd.testing.assert_frame_equal(left.user_table, right.user_table)


def test_grouplens_ml_100k_equals_the_wheel(tmp_path, data):
    write_ml_100k(tmp_path / "ml-100k", data)
    assert_same(load_grouplens(tmp_path / "ml-100k"), data)
    assert_same(load_grouplens(tmp_path), data)  # one folder up
    archive = tmp_path / "ml-100k.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in (tmp_path / "ml-100k").iterdir():
            file.write(path, f"ml-100k/{path.name}")
    assert_same(load_grouplens(archive), data)


def test_grouplens_ml_1m(tmp_path):
    (tmp_path / "ratings.dat").write_text(
        "2::10::5::978300760\n10::2::3::978302109\n2::2::4::978301968\n"
    )
    (tmp_path / "movies.dat").write_bytes(
        "2::Misérables, Les (1995)::Drama|Musical\n"
        "3::Never Rated (1990)::Comedy\n"
        "10::Alien (1979)::Sci-Fi\n".encode("latin-1")
    )
    (tmp_path / "users.dat").write_text("2::F::1::10::48067\n10::M::56::16::70072-1234\n")
    data = load_grouplens(tmp_path)
    assert data.name == "ml-1m"
    assert data.user_ids.tolist() == [2, 10] and data.item_ids.tolist() == [2, 10]
    assert data.users.tolist() == [0, 1, 0] and data.items.tolist() == [1, 0, 0]
    assert data.item_table.loc[0].tolist() == [2, "Misérables, Les", 1995, ("Drama", "Musical")]
    assert data.user_table.loc[1].tolist() == [10, 56, "M", "16", "70072-1234"]


def test_recbole_folder_of_ones_own(tmp_path):
    folder = tmp_path / "books"
    folder.mkdir()
    (folder / "books.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "ann\tB2\t8\t10\r\nbob\tA1\t7.5\t20.0\nann\tA1\t10\t30\n\n"
    )
    (folder / "books.item").write_text("item_id:token\ttitle:token_seq\nB2\tDune\nA1\t\n")
    (folder / "books.user").write_text("user_id:token\tage:token\nbob\t\nann\t31\n")
    data = load_recbole(folder)
    assert data.name == "books"
    assert data.user_ids.tolist() == ["ann", "bob"] and data.item_ids.tolist() == ["A1", "B2"]
    assert data.ratings.tolist() == [8, 7.5, 10]
    assert data.item_table.title.tolist() == ["unknown", "Dune"]
    assert data.item_table.year.isna().all()
    assert data.user_table.age.tolist() == [31, pd.NA]
    with pytest.raises(DataError, match="no knowledge graph"):
        _ = data.knowledge_graph


def test_recbole_folder_in_a_zip_has_its_graph(tmp_path, data):
    archive = tmp_path / "ml-100k.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in assets.movielens_folder().iterdir():
            file.write(path, f"ml-100k/{path.name}")
    zipped = load_recbole(archive)
    assert_same(zipped, data)
    pd.testing.assert_frame_equal(zipped.knowledge_graph, data.knowledge_graph)


def test_csv_with_and_without_ratings_and_time(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        'who,what,stars,when,note\nann,"Dune, part 2",4,10,"two\nlines"\nbob,Solaris,5,20,\n',
        encoding="utf-8-sig",
    )
    data = load_csv(path, user="who", item="what", rating="stars", timestamp="when")
    assert data.name == "log"
    assert data.item_ids.tolist() == ["Dune, part 2", "Solaris"]
    assert data.ratings.tolist() == [4, 5] and data.timestamps.tolist() == [10, 20]
    bare = load_csv(str(path), user="who", item="what")
    assert bare.ratings.tolist() == [1, 1] and bare.timestamps.tolist() == [0, 0]


def test_csv_round_trip_of_movielens(tmp_path, data):
    frame = pd.DataFrame(
        {
            "u": data.user_ids[data.users],
            "i": data.item_ids[data.items],
            "r": data.ratings,
            "t": data.timestamps,
        }
    )
    frame.to_csv(tmp_path / "ml.csv", index=False, sep=";")
    again = load_csv(
        tmp_path / "ml.csv", user="u", item="i", rating="r", timestamp="t", separator=";"
    )
    for name in ("users", "items", "ratings", "timestamps", "user_ids", "item_ids"):
        np.testing.assert_array_equal(getattr(again, name), getattr(data, name))


def test_ids_are_numbers_only_if_all_of_them_are_written_as_numbers(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("u,i\n10,1\n9,2\n")
    assert load_csv(path, user="u", item="i").user_ids.tolist() == [9, 10]
    path.write_text("u,i\n10,1\n09,2\n")
    assert load_csv(path, user="u", item="i").user_ids.tolist() == ["09", "10"]
    path.write_text(f"u,i\n{10**30},1\n9,2\n")  # beyond 64 bits
    assert load_csv(path, user="u", item="i").user_ids.tolist() == ["1" + "0" * 30, "9"]


# ---- assets --------------------------------------------------------------------------------


def test_assets_are_found_without_importing_the_wheels():
    assert assets.movielens_folder().is_dir()
    assert (assets.encoder_folder() / "model.safetensors").is_file()
    assert assets.causal_lm_file().suffix == ".gguf"
    with zipfile.ZipFile(io.BytesIO(assets.drug_reviews_zip().read_bytes())) as file:
        assert any(name.endswith(".tsv") for name in file.namelist())


def test_a_missing_wheel_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(assets, "find_spec", lambda name: None)
    loaders._movielens.cache_clear()
    with pytest.raises(DataError, match=r"'recbole' is not installed.*make setup"):
        load_movielens()


def test_a_wheel_without_its_file_names_the_folder(monkeypatch, tmp_path):
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(assets, "find_spec", lambda name: Spec)
    with pytest.raises(DataError, match=r"ml-100k is missing.*make setup") as caught:
        assets.movielens_folder()
    assert caught.value.path == str(tmp_path)

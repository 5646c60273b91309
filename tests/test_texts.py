"""The texts of items and users: what they say, what they leave out, what they refuse."""

import numpy as np
import pandas as pd
import pytest

from recsys_lab.data import Interactions, load_movielens
from recsys_lab.language.texts import clean, item_texts, liked_items, natural_title, user_text


def films(titles: list[str], years: list[object], genres: list[tuple[str, ...]]) -> Interactions:
    table = pd.DataFrame({"item_id": range(len(titles)), "title": titles, "genres": genres})
    table["year"] = pd.array(years, dtype="Int64")
    return Interactions(users=[0], items=[0], item_ids=np.arange(len(titles)), item_table=table)


@pytest.mark.parametrize(
    ("title", "spoken"),
    [
        ("Usual Suspects, The", "The Usual Suspects"),
        ("Enfer, L'", "L'Enfer"),
        ("Paris, Texas", "Paris, Texas"),  # a comma, no article
        ("Bye Bye, Love", "Bye Bye, Love"),
        ("Hate (Haine, La)", "Hate (La Haine)"),
        ("Return of Martin Guerre, The (Retour de Martin Guerre, Le)",
         "The Return of Martin Guerre (Le Retour de Martin Guerre)"),
        ("Seven (Se7en)", "Seven (Se7en)"),
        ("The The", "The The"),
        (", The", ", The"),
    ],
)  # fmt: skip
def test_titles_as_they_are_spoken(title: str, spoken: str) -> None:
    assert natural_title(title) == spoken
    assert natural_title(spoken) == spoken  # doing it twice changes nothing


def test_hidden_characters_go_and_letters_stay() -> None:
    assert clean("a\r\nb\t\x00c\u2028d \u200be\u202e") == "a b c d e"
    assert clean("Cafe\u0301 不 Se7en!") == "Caf\u00e9 不 Se7en!"
    assert natural_title("x (" * 20_000 + ")" * 20_000).startswith("x (x")  # no recursion
    assert natural_title("x (" * 20_000) == "x (" * 19_999 + "x ("  # ... and soon done


def test_item_texts_say_what_is_known() -> None:
    data = films(
        ["Toy Story", "Birdcage, The", "That Thing You Do!", "unknown", "unknown", "Ran"],
        [1995, 1996, 1996, pd.NA, 1950, pd.NA],
        [("Animation", "Comedy"), (), ("Comedy",), (), ("Drama",), ("Drama", "War")],
    )
    assert item_texts(data) == [
        "Toy Story (1995). Animation, Comedy.",
        "The Birdcage (1996)",
        "That Thing You Do! (1996). Comedy.",
        "Unknown title",
        "1950. Drama.",
        "Ran. Drama, War.",
    ]
    assert item_texts(data, ("title", "genres"))[2] == "That Thing You Do! Comedy."
    assert item_texts(data, ("year", "title"))[0] == "Toy Story (1995)"
    assert item_texts(data, ("genres",))[:2] == ["Animation, Comedy", "Unknown title"]


@pytest.mark.parametrize("fields", [("title", "plot"), "title", ()])
def test_unknown_fields_are_refused(fields: object) -> None:
    with pytest.raises(ValueError, match="unknown fields"):
        item_texts(films(["A"], [1990], [()]), fields)


def test_long_titles_are_cut() -> None:
    data = films(["word " * 200, "x" * 500], [1990, 1990], [(), ()])
    first, second = item_texts(data, max_chars=50)
    assert len(first) <= 50 and first.endswith("word…")
    assert second == "x" * 49 + "…"
    with pytest.raises(ValueError, match="at least 20"):
        item_texts(data, max_chars=5)


def test_movielens_texts() -> None:
    data = load_movielens()
    texts = item_texts(data)
    assert len(texts) == data.n_items and all(texts) and len(max(texts, key=len)) <= 200
    assert texts[0] == "Toy Story (1995). Animation, Children's, Comedy."
    assert texts[266] == "Unknown title"
    assert all(text == clean(text) for text in texts)
    assert not any(", The (" in text or ", The)" in text for text in texts)


@pytest.fixture
def history() -> Interactions:
    return Interactions(
        users=[0, 0, 0, 0, 1, 1],
        items=[0, 1, 2, 3, 0, 1],
        ratings=[5, 3, 4, 5, 2, 1],
        timestamps=[10, 40, 30, 20, 5, 6],
    )


def test_liked_newest_first(history: Interactions) -> None:
    np.testing.assert_array_equal(liked_items(history, 0), [2, 3, 0])
    np.testing.assert_array_equal(liked_items(history, 0, n=2), [2, 3])
    np.testing.assert_array_equal(liked_items(history, 0, n=None, min_rating=1), [1, 2, 3, 0])
    assert len(liked_items(history, 1)) == 0


def test_ties_are_random_but_repeatable() -> None:
    n = 40
    tied = Interactions(users=np.repeat([0, 1], n), items=np.tile(np.arange(n), 2))
    turned = tied.select(np.arange(2 * n)[::-1])
    orders = [tuple(liked_items(tied, user, n=None, min_rating=1)) for user in (0, 1)]
    assert orders[0] == tuple(liked_items(turned, 0, n=None, min_rating=1))  # not the file's order
    assert orders[0] != orders[1] and orders[0] != tuple(range(n))
    assert orders[0] != tuple(liked_items(tied, 0, n=None, min_rating=1, seed=1))
    assert sorted(orders[0]) == list(range(n))


def test_user_text(history: Interactions) -> None:
    texts = ["A", 'B "x"', 'C "', "D"]
    assert user_text(history, 0, n=2, texts=texts) == 'Liked, newest first: "C \'", "D".'
    assert user_text(history, 1, texts=texts) == "Liked no film yet."
    text = user_text(load_movielens(), 0, n=3)
    assert text.count('"') == 6 and "\n" not in text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda h: user_text(h, 7), "user 7 is not in the data"),
        (lambda h: user_text(h, -1), "user -1 is not in the data"),
        (lambda h: liked_items(h, 0, n=0), "n is 0"),
        (lambda h: user_text(h, 0, texts=["A"]), "1 texts for 4 items"),
    ],
)
def test_wrong_calls_are_refused(history: Interactions, call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(history)

"""What SmolLM2 writes when it is asked for films and for reasons, for section 7. The results stand
in generation_runs.json beside this file; the section reads them and repeats some of them.

    .venv/bin/python chapters/5_llm_finetuning/generation_runs.py [--minutes 4] [--only free]

A block of users that is stored already is not asked again, unless the prompts or the code have
changed since; stop it whenever you like and start it again. All blocks together take about twenty
minutes of one core.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import zero_shot_runs as zero_shot

from recsys_lab import stored_runs
from recsys_lab.data import load_movielens
from recsys_lab.language import CausalLM, decoding, search
from recsys_lab.language.prompts import film_lines, quoted
from recsys_lab.language.texts import item_texts, natural_title
from recsys_lab.language.trie import Trie, title_trie

STORE = Path(__file__).resolve().with_suffix(".json")
SEEDS = (0, 1, 2)  # of the split; each has users of its own, those of section 4
N_TUNING, N_USERS = 12, 20  # users that choose the wording; users of each seed
N_LIST, N_TOKENS = 10, 100  # films wanted; tokens written for them
N_REASON = 24  # tokens of a reason

PROMPTS = {
    "viewer": "A viewer loved these films:\n{history}\nThe same viewer will also love:\n",
    "list": "{history}\n",
    "data set": "MovieLens, films rated 5 stars by one user:\n{history}\n",
    "chat": "<|im_start|>user\nI loved these films:\n{history}\nRecommend ten other films. Write "
    "each title in double quotation marks, one a line.<|im_end|>\n<|im_start|>assistant\n",
}
REASON = (
    "A viewer loved these films:\n{history}\nThe same viewer will also love {film}, because the "
    "viewer loved"
)
INTEREST = 'A viewer loved these films:\n{history}\nThe same viewer likes films of the genre "'
GENRE = 'A viewer loved these films:\n{history}\nThe same viewer will also love {film}. Genre: "'


# ---- which film is meant ---------------------------------------------------------------------
def named(text: str) -> list[str]:
    """What stands between double quotation marks, in the order of the text."""
    return re.findall(r'"([^"\n]+)"', text)


def plain(title: str) -> str:
    """A title without case, accents, punctuation, the article in front, and a year at its end."""
    title = re.sub(r"\s*\(\d{4}\)\s*$", "", title)
    title = unicodedata.normalize("NFKD", natural_title(title).replace("&", " and ")).casefold()
    title = "".join(c for c in title if not unicodedata.combining(c)).replace("'", "")
    words = re.sub(r"[\W_]+", " ", title).split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("the", "a", "an") else words)


@cache
def names_of_films() -> dict[str, tuple[int, ...]]:
    """All plain names, second names in brackets too, and the films that have them."""
    found: dict[str, list[int]] = {}
    for item, title in enumerate(movielens()[1]):
        two = re.match(r"^(.+) \((.+)\)$", title)
        for name in {title, *(two.groups() if two else ())}:
            if plain(name):
                found.setdefault(plain(name), []).append(item)
    return {name: tuple(items) for name, items in found.items()}


def films_meant(name: str) -> tuple[int, ...]:
    """The films of the catalogue that have this name; more than one if films share it."""
    return names_of_films().get(plain(name), ())


def nearly(name: str, least: float = 0.85) -> tuple[int, ...]:
    """The films whose name is most like this one, if the likeness (`difflib`) is that high."""
    asked, best, found = plain(name), least, ()
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(asked)
    for other, items in names_of_films().items():
        matcher.set_seq1(other)
        if matcher.real_quick_ratio() >= best and matcher.quick_ratio() >= best:
            if matcher.ratio() >= best:
                best, found = matcher.ratio(), items
    return found


# ---- users -----------------------------------------------------------------------------------
@cache
def movielens():
    data = load_movielens()
    return data, item_texts(data, ("title",))


@cache
def users_of(group: str) -> list[int]:
    n = N_TUNING if group == "tuning" else N_USERS
    return zero_shot.users_of(group)[:n].tolist()


def train_of(group: str):
    return zero_shot.split_of(0 if group == "tuning" else int(group.split()[1])).train


def prompt_of(wording: str, group: str, user: int) -> str:
    return PROMPTS[wording].format(history=film_lines(zero_shot.history_of(group, user)))


def seen_by(group: str, user: int) -> list[int]:
    """All that the user rated in training, liked or not: not to be recommended."""
    train = train_of(group)
    return train.items[train.users == user].tolist()


# ---- experiments, each for a group of users --------------------------------------------------
@cache
def language_model() -> CausalLM:
    return CausalLM()


@cache
def catalogue() -> Trie:
    return title_trie(language_model().tokenizer, movielens()[1])


def free(group: str, wording: str, temperature: float = 0.0) -> dict[str, Any]:
    prompts = [prompt_of(wording, group, user) for user in users_of(group)]
    return {"texts": decoding.generate(language_model(), prompts, N_TOKENS, temperature)}


def greedy(group: str, wording: str) -> dict[str, Any]:
    users = users_of(group)
    prompts = [prompt_of(wording, group, user) for user in users]
    seen = [seen_by(group, user) for user in users]
    return {"lists": decoding.greedy_lists(language_model(), catalogue(), prompts, N_LIST, seen)}


def beam(group: str, wording: str) -> dict[str, Any]:
    found = [
        search.beam_search(
            language_model(),
            catalogue(),
            prompt_of(wording, group, user),
            N_LIST,
            seen_by(group, user),
        )
        for user in users_of(group)
    ]
    return in_columns(found)


def exact(group: str, wording: str) -> dict[str, Any]:
    found = [
        search.best_entries(
            language_model(),
            catalogue(),
            prompt_of(wording, group, user),
            N_LIST,
            seen_by(group, user),
        )
        for user in users_of(group)
    ]
    return in_columns([entries for entries, _ in found]) | {"read": [n for _, n in found]}


def in_columns(found: list[list[tuple[int, float]]]) -> dict[str, Any]:
    lists = [[int(item) for item, _ in entries] for entries in found]
    return {"lists": lists, "log_p": [[round(p, 4) for _, p in entries] for entries in found]}


def reasons(group: str, wording: str, films: Sequence[int]) -> dict[str, Any]:
    """A reason for one film for each user: what the model writes; which film of the history it
    names if it must name one; the film's genre; the film's log-probability with the whole history
    and without each film of it."""
    model, titles, users = language_model(), movielens()[1], users_of(group)
    histories = [zero_shot.history_of(group, user) for user in users]
    told = [
        {"history": film_lines(history), "film": quoted(titles[film])}
        for history, film in zip(histories, films)
    ]
    asked = [REASON.format(**one) for one in told]
    found: dict[str, Any] = {"texts": decoding.generate(model, asked, N_REASON)}
    choice = trie_of(f'{genre}"' for genre in genres())
    found |= {"films": list(films), "named": [], "genres": [], "scores": []}
    for history, film, one, prompt in zip(histories, films, told, asked):
        of_history = trie_of(f" {quoted(title)}" for title in history)
        found["named"].append(search.best_entries(model, of_history, prompt, 1)[0][0][0])
        (said, _), *_ = search.best_entries(model, choice, GENRE.format(**one), 1)[0]
        found["genres"].append(genres()[said])
        parts = [history, *(history[:i] + history[i + 1 :] for i in range(len(history)))]
        line = f"- {quoted(titles[film])}\n"
        scores = [
            model.log_likelihood(
                PROMPTS[wording].format(history=film_lines(part)), [line], per_token=False
            )[0]
            for part in parts
        ]
        found["scores"].append([round(float(score), 4) for score in scores])
    return found


def interest(group: str, wording: str) -> dict[str, Any]:
    """The genre that the model gives as each user's interest."""
    model, choice, found = language_model(), trie_of(f'{genre}"' for genre in genres()), []
    for user in users_of(group):
        prompt = INTEREST.format(history=film_lines(zero_shot.history_of(group, user)))
        found.append(genres()[search.best_entries(model, choice, prompt, 1)[0][0][0]])
    return {"genres": found}


@cache
def genres() -> list[str]:
    every = {genre for some in movielens()[0].item_table["genres"] for genre in some}
    return sorted(every - {"unknown"})


def trie_of(texts) -> Trie:
    tokenizer = language_model().tokenizer
    return Trie(tokenizer(text, add_special_tokens=False).input_ids for text in texts)


# ---- runs and their store --------------------------------------------------------------------
class Run(NamedTuple):
    experiment: str
    group: str
    wording: str

    @property
    def key(self) -> str:
        return f"{self.experiment}/{self.group}"

    @property
    def settings(self) -> dict[str, Any]:
        return {"wording": self.wording}


EXPERIMENTS = ("free", "greedy", "exact", "reasons", "beam", "sampled", "interest")


def runs(stored: dict[str, Any]) -> Iterator[Run]:
    """All runs; those that need the wording come once it is chosen."""
    for wording in PROMPTS:
        yield Run(f"wording {wording}", "tuning", wording)
    if wording := chosen(stored):
        for experiment in EXPERIMENTS:
            for seed in SEEDS:
                if experiment != "reasons" or f"exact/seed {seed}" in stored:
                    yield Run(experiment, f"seed {seed}", wording)


def useful(text: str, group: str, user: int) -> int:
    """Different films among the first ten named that are in the catalogue and new to the user."""
    meant = [items[0] for name in named(text)[:N_LIST] if (items := films_meant(name))]
    return len(set(meant) - set(seen_by(group, user)))


def chosen(stored: dict[str, Any]) -> str | None:
    """The wording after which the tuning users get most useful films; None if not all are tried."""
    tried = {wording: stored.get(f"wording {wording}/tuning") for wording in PROMPTS}
    if None in tried.values():
        return None
    users = users_of("tuning")
    return max(
        tried,
        key=lambda w: sum(useful(t, "tuning", u) for t, u in zip(tried[w]["texts"], users)),
    )


def perform(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    if run.experiment.startswith("wording "):
        return free(run.group, run.wording)
    if run.experiment == "sampled":
        return free(run.group, run.wording, temperature=1.0)
    if run.experiment == "reasons":
        films = [films[0] for films in stored[f"exact/{run.group}"]["lists"]]
        return reasons(run.group, run.wording, films)
    others = {"free": free, "greedy": greedy, "beam": beam, "exact": exact, "interest": interest}
    return others[run.experiment](run.group, run.wording)


PARTS = (
    *(
        free,
        greedy,
        beam,
        exact,
        in_columns,
        reasons,
        interest,
        genres,
        trie_of,
        prompt_of,
        seen_by,
        perform,
    ),
    *(decoding.Rows, decoding.generate, decoding.greedy_lists, search.beam_search),
    *(search.best_entries, search._next, Trie, title_trie, CausalLM),
)


@cache
def code_hash() -> str:
    """Of the titles, the histories, the prompts, and the code that writes and scores."""
    told: list[Any] = [movielens()[1], PROMPTS, REASON, GENRE, INTEREST, N_LIST, N_TOKENS, N_REASON]
    for group in ("tuning", *(f"seed {seed}" for seed in SEEDS)):
        told += [[user, zero_shot.history_of(group, user)] for user in users_of(group)]
    told += [zero_shot.plain_code(part) for part in PARTS]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def load_runs() -> dict[str, Any]:
    """The stored runs, by key; an error with the remedy if there are none."""
    return stored_runs.load(STORE, __file__)


def is_current(run: Run, stored: dict[str, Any]) -> bool:
    """Whether the run is stored, with these settings, by this code."""
    return stored_runs.is_current(run, stored, code_hash())


def main() -> int:
    return stored_runs.command(
        __doc__,
        "free,exact",
        store=STORE,
        wanted=runs,
        code=lambda run: code_hash(),
        perform=perform,
    )


if __name__ == "__main__":
    raise SystemExit(main())

"""What SmolLM2 read and wrote for section 6, Understanding users. The results stand in
understanding_runs.json and understanding_runs.npz beside this file; the section reads them and
repeats a part.

    .venv/bin/python chapters/5_llm_finetuning/understanding_runs.py [--minutes 5]

A run that is stored already is not repeated, unless its code or what it reads has changed since;
stop it whenever you like and start it again. All runs take about ten minutes on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch.nn.utils.rnn import pad_sequence

from recsys_lab.data import Interactions, holdout_per_user, load_movielens
from recsys_lab.data.reviews import LABELS, Reviews, load_reviews
from recsys_lab.language import CausalLM
from recsys_lab.language.cache import quiet
from recsys_lab.language.texts import item_texts, liked_items

HERE = Path(__file__).resolve().parent
STORE, STATES = HERE / "understanding_runs.json", HERE / "understanding_runs.npz"

# ---- what is asked about a review --------------------------------------------------------------
# The review comes first and is read once; the wordings follow it, each with its words for the
# labels negative, neutral, positive (one token each).
TEXT = 'Review of a medicine: "{}"'
WORDINGS = {
    "sentiment is": ("\nThe sentiment of this review is", (" negative", " neutral", " positive")),
    "experience": ("\nOverall, the patient's experience was", (" negative", " mixed", " positive")),
    "label": ("\nSentiment:", (" Negative", " Neutral", " Positive")),
    "question": (
        "\nQuestion: Is this review positive, negative or neutral?\nAnswer:",
        (" negative", " neutral", " positive"),
    ),
    "recommend": (
        "\nQuestion: Would the patient recommend it?\nAnswer:",
        (" No", " Maybe", " Yes"),
    ),
}
STATE_OF = "sentiment is"  # the wording at whose last token the state is kept
CONTENT_FREE = ("N/A", "", "[MASK]")
CHUNK = 60  # reviews in one run
N_DRAWS, N_SHOTS, N_CHECK = 3, 2, 60  # few-shot: draws, examples a label, training reviews read
# ---- what is asked for in words ------------------------------------------------------------------
SYSTEM = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n"
)
CHAT = SYSTEM + "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
KEYWORDS = {
    "plain": 'Review of a medicine: "{}"\nFive keywords, separated by commas:',
    "chat": CHAT.format(
        'List the five most important keywords of this review, separated by commas.\n\n"{}"'
    )
    + "Keywords:",
    "example": 'Review: "The kettle boils fast, but the lid broke in a week and they would not '
    'send a new one."\nKeywords: kettle, boils, lid, broke, week\n\nReview: "{}"\nKeywords:',
}
PROFILES = {
    "taste": CHAT.format(
        "A user liked these films:\n{}\n\nDescribe the taste of this user in two sentences."
    ),
    "themes": CHAT.format(
        "A user liked these films:\n{}\n\nWhich genres, themes and moods does this user like? "
        "Answer in one sentence and name no film."
    ),
    "plain": "Films that one person liked:\n{}\n\nIn short, this person likes films about",
}
N_KEYWORD_TOKENS, N_PROFILE_TOKENS, BATCH = 24, 48, 20
N_REVIEWS, N_USERS, N_PILOT = 160, 60, 20  # reviews for keywords, users for profiles; for prompts
N_LIKED = 12  # films in a profile's list


# ---- reading ------------------------------------------------------------------------------------
@torch.inference_mode()
def read(lm: CausalLM, start: str, ends: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Last-layer states of the start, (n_tokens, d), and of each end's last token, (n_ends, d).

    The start is read once; the ends share its keys and values, padded on the right.
    """
    first = lm.tokenizer(start, return_tensors="pt").input_ids.to(lm.model.device)
    seen = lm.model.model(first, use_cache=True)
    tokens = [torch.tensor(lm.tokenizer(end).input_ids) for end in ends]
    seen.past_key_values.batch_repeat_interleave(len(ends))
    after = lm.model.model(
        pad_sequence(tokens, batch_first=True).to(lm.model.device),
        past_key_values=seen.past_key_values,
    ).last_hidden_state  # (n_ends, longest end, d)
    last = torch.tensor([len(t) - 1 for t in tokens])
    return seen.last_hidden_state[0], after[torch.arange(len(ends)), last]


def label_scores(lm: CausalLM, states: torch.Tensor, words: Sequence[Sequence[str]]) -> np.ndarray:
    """Log-probability of each label's word after each state, nats: (n_states, n_labels)."""
    ids = [[lm.tokenizer(word).input_ids for word in row] for row in words]
    assert all(len(tokens) == 1 for row in ids for tokens in row), "one token a label"
    with torch.inference_mode():
        log_probs = lm.model.lm_head(states).float().log_softmax(-1)
    return log_probs.gather(1, torch.tensor(ids, device=log_probs.device)[:, :, 0]).cpu().numpy()


def read_reviews(lm: CausalLM, texts: Sequence[str]) -> dict[str, Any]:
    """All wordings after each text: scores (n, n_wordings, 3), mean state of the text and the
    state at the last token of one wording, both (n, d)."""
    ends, words = zip(*WORDINGS.values(), strict=True)
    scores, means, lasts = [], [], []
    for text in texts:
        of_text, of_ends = read(lm, TEXT.format(text), ends)
        scores.append(label_scores(lm, of_ends, words))
        means.append(of_text.mean(0).float().cpu().numpy())
        lasts.append(of_ends[list(WORDINGS).index(STATE_OF)].float().cpu().numpy())
    return {"scores": np.stack(scores), "mean": np.stack(means), "last": np.stack(lasts)}


def few_shot(train: Reviews, draw: int) -> str:
    """Examples, two of each label, mixed: short training reviews with their labels."""
    rng, rows = np.random.default_rng(draw), []
    short = np.array([15 <= len(text.split()) <= 45 for text in train.texts])
    for label in LABELS:
        rows += rng.choice(np.flatnonzero(short & (train.labels == label)), N_SHOTS, False).tolist()
    end = WORDINGS[STATE_OF][0]
    shown = [f"{TEXT.format(train.texts[r])}{end} {train.labels[r]}" for r in rng.permutation(rows)]
    return "\n\n".join(shown)


def read_after(lm: CausalLM, examples: str, texts: Sequence[str]) -> dict[str, Any]:
    """Scores (n, 3) of the labels after the examples and each text.

    The cut lies before the line breaks: behind them they would be other tokens than in one text.
    """
    end, words = WORDINGS[STATE_OF]
    rows = []
    for start in range(0, len(texts), 10):
        _, states = read(
            lm, examples, ["\n\n" + TEXT.format(t) + end for t in texts[start : start + 10]]
        )
        rows.append(label_scores(lm, states, [words] * len(states)))
    return {"scores": np.concatenate(rows)}


# ---- writing ------------------------------------------------------------------------------------
def write(lm: CausalLM, prompts: Sequence[str], n_tokens: int) -> list[str]:
    """The likeliest continuation of each prompt, token by token, up to its first line break."""
    lm.tokenizer.padding_side = "left"
    written = []
    for start in range(0, len(prompts), BATCH):
        inputs = lm.tokenizer(
            list(prompts[start : start + BATCH]), return_tensors="pt", padding=True
        ).to(lm.model.device)
        with torch.inference_mode(), quiet():
            tokens = lm.model.generate(
                input_ids=inputs.input_ids,
                attention_mask=inputs.attention_mask,
                max_new_tokens=n_tokens,
                do_sample=False,
                pad_token_id=lm.tokenizer.pad_token_id,
            )
        new = tokens[:, inputs.input_ids.shape[1] :]
        written += lm.tokenizer.batch_decode(new, skip_special_tokens=True)
    return [text.strip().split("\n")[0].strip() for text in written]


# ---- reviews and users --------------------------------------------------------------------------
def first_half(text: str) -> str:
    words = text.split()
    return " ".join(words[: len(words) // 2])


def second_half(text: str) -> str:
    words = text.split()
    return " ".join(words[len(words) // 2 :])


def for_keywords(reviews: Reviews, n: int) -> np.ndarray:
    """Positions of n reviews of 40 words or more, drawn at random."""
    long = [len(text.split()) >= 40 for text in reviews.texts]
    return np.random.default_rng(0).choice(np.flatnonzero(long), n, replace=False)


def users(train: Interactions, test: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Users to report, and others to choose the prompt on: all with enough liked films."""
    enough = np.ones(train.n_users, bool)
    for part, least in ((train, N_LIKED), (test, 5)):
        liked = np.bincount(part.users[part.ratings >= 4], minlength=part.n_users)
        enough &= liked >= least
    drawn = np.random.default_rng(0).permutation(np.flatnonzero(enough))
    return drawn[:N_USERS], drawn[100 : 100 + N_PILOT]


def film_list(train: Interactions, user: int, texts: Sequence[str]) -> str:
    """The films that stand in the prompt, one a line, quoted."""
    return "\n".join(f'- "{texts[item]}"' for item in liked_items(train, user, N_LIKED))


# ---- runs ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Run:
    """One unit of work: a key, the function, and what it reads."""

    key: str
    work: Callable[..., Any]
    reads: tuple

    @property
    def dtype(self) -> torch.dtype:
        """Reading takes half the time in bfloat16; writing stays in float32."""
        return torch.float32 if self.work is write else torch.bfloat16

    @property
    def code(self) -> str:
        """Hash of the functions and of what they read: a change makes the stored run old."""
        parts = [write] if self.work is write else [read, label_scores, self.work]
        read_too = () if self.work is write else (WORDINGS, TEXT, str(self.dtype))
        source = "".join(map(inspect.getsource, parts)) + repr((self.reads, read_too))
        return hashlib.sha256(source.encode()).hexdigest()[:16]


def runs() -> Iterator[Run]:
    """All runs, each with what it reads."""
    reviews = load_reviews()
    train, test = reviews.part("train"), reviews.part("test")
    yield Run("blank", read_reviews, (CONTENT_FREE,))
    for start in range(0, len(reviews), CHUNK):
        texts = tuple(reviews.texts[start : start + CHUNK].tolist())
        yield Run(f"read/{start // CHUNK}", read_reviews, (texts,))
    halves = [first_half(t) for t in train.texts[for_keywords(train, N_PILOT)]]
    for name, prompt in KEYWORDS.items():
        prompts = tuple(map(prompt.format, halves))
        yield Run(f"keywords/pilot/{name}", write, (prompts, N_KEYWORD_TOKENS))
    halves = [first_half(t) for t in test.texts[for_keywords(test, N_REVIEWS)]]
    for name, prompt in KEYWORDS.items():
        if name == KEYWORD_PROMPT:
            for start in range(0, N_REVIEWS, 2 * BATCH):
                prompts = tuple(map(prompt.format, halves[start : start + 2 * BATCH]))
                key = f"keywords/test/{start // (2 * BATCH)}"
                yield Run(key, write, (prompts, N_KEYWORD_TOKENS))
    split = holdout_per_user(load_movielens(), 0.25, seed=0)
    texts = item_texts(split.train)
    reported, others = users(split.train, split.test)
    for name, prompt in PROFILES.items():
        prompts = tuple(prompt.format(film_list(split.train, user, texts)) for user in others)
        yield Run(f"profile/pilot/{name}", write, (prompts, N_PROFILE_TOKENS))
    for name in REPORTED:
        prompts = [PROFILES[name].format(film_list(split.train, user, texts)) for user in reported]
        for start in range(0, N_USERS, BATCH):
            part = tuple(prompts[start : start + BATCH])
            yield Run(f"profile/final/{name}/{start // BATCH}", write, (part, N_PROFILE_TOKENS))
    texts = tuple(train.texts[for_draws(train)].tolist())
    for draw in range(N_DRAWS):
        yield Run(f"shots/pilot/{draw}", read_after, (few_shot(train, draw), texts))
    scores = draw_scores(train)  # known by now: runs are asked for one by one
    if len(scores) == N_DRAWS:
        examples = few_shot(train, int(np.argmax(scores)))
        for start in range(0, len(test), CHUNK):
            texts = tuple(test.texts[start : start + CHUNK].tolist())
            yield Run(f"shots/test/{start // CHUNK}", read_after, (examples, texts))


def for_draws(train: Reviews) -> np.ndarray:
    """Positions of the training reviews on which a draw of examples is chosen: no examples."""
    shown = "".join(few_shot(train, draw) for draw in range(N_DRAWS))
    free = [place for place, text in enumerate(train.texts) if TEXT.format(text) not in shown]
    return np.random.default_rng(9).choice(free, N_CHECK, replace=False)


def draw_scores(train: Reviews) -> list[float]:
    """Macro-F1 of each stored draw of examples on these reviews."""
    stored = load_runs() if STORE.exists() else {}
    truth = train.labels[for_draws(train)]
    draws = [stored.get(f"shots/pilot/{draw}") for draw in range(N_DRAWS)]
    return [
        f1_score(truth, np.array(LABELS)[np.argmax(run["scores"], 1)], average="macro")
        for run in draws
        if run is not None
    ]


# Chosen by the page on training reviews and on other users; the page checks that they still are.
KEYWORD_PROMPT = "example"
REPORTED = ("plain", "themes")  # the best prompt for profiles on other users, and the second


def load_runs() -> dict[str, Any]:
    """The stored runs, by key; an error with the remedy if there are none."""
    if not STORE.exists():
        raise FileNotFoundError(f"{STORE.name} is missing: run {Path(__file__).name}")
    return json.loads(STORE.read_text(encoding="utf-8"))


def load_states(kind: str) -> np.ndarray:
    """ "mean" or "last" states of all reviews, training part first: (n_reviews, d), float32."""
    with np.load(STATES) as arrays:
        n = sum(name.startswith(f"{kind}/read/") for name in arrays)
        return np.concatenate([arrays[f"{kind}/read/{c}"] for c in range(n)]).astype(np.float32)


def stored_scores(stored: dict[str, Any], start: str = "read/") -> np.ndarray:
    """Log-probabilities of the labels, all chunks in one: of all reviews, all wordings
    (n_reviews, n_wordings, 3); with "shots/test/" of the test reviews after examples (n, 3)."""
    n = sum(key.startswith(start) for key in stored)
    return np.concatenate([stored[f"{start}{c}"]["scores"] for c in range(n)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=600, help="start no run after so many")
    parser.add_argument("--only", default="", help="runs whose key begins so, such as read/")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = cache(CausalLM)  # one a dtype
    stop = time.monotonic() + 60 * arguments.minutes
    for run in runs():
        stored = load_runs() if STORE.exists() else {}  # each time: two of these may be at work
        old = stored.get(run.key, {}).get("code") != run.code
        if not old or not run.key.startswith(arguments.only) or time.monotonic() > stop:
            continue
        start = time.process_time()
        result = run.work(model(dtype=run.dtype), *run.reads)
        if isinstance(result, list):
            result = {"texts": result}
        arrays = {
            f"{kind}/{run.key}": result.pop(kind).astype(np.float16)
            for kind in ("mean", "last")
            if run.work is read_reviews
        }
        if "scores" in result:
            result["scores"] = result["scores"].astype(float).round(4).tolist()
        seconds = round(time.process_time() - start, 1)
        save({run.key: {"code": run.code, "cpu_seconds": seconds} | result}, arrays)
        print(run.key, seconds, "s", flush=True)
    return 0


def save(new: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Add to both files, each replaced in one step."""
    stored = (load_runs() if STORE.exists() else {}) | new
    text = json.dumps(stored, indent=0, ensure_ascii=False, sort_keys=True) + "\n"
    unfinished = STORE.with_suffix(".part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, STORE)
    if arrays:
        states = (dict(np.load(STATES)) if STATES.exists() else {}) | arrays
        unfinished = STATES.with_suffix(".part.npz")
        np.savez(unfinished, **states)
        os.replace(unfinished, STATES)


if __name__ == "__main__":
    raise SystemExit(main())

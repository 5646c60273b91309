"""The runs of section 2, Smaller: MiniLM and SmolLM2 in fewer bits, with fewer weights, with fewer
layers; students of both. What they are worth stands in smaller_runs.json beside this file; the
section reads it and makes some of it again.

    .venv/bin/python chapters/7_limitations/smaller_runs.py [--minutes 4] [--only encoder]

A run that is stored already is not repeated, unless the code it depends on has changed since; stop
it whenever you like and start it again. All runs take about twenty minutes of one core.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import io
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file

from recsys_lab import evaluation, stored_runs
from recsys_lab.data.reviews import load_reviews
from recsys_lab.language import CausalLM, Encoder, ranking
from recsys_lab.language.texts import item_texts
from recsys_lab.limits.pruning import keep_masks, stored_bytes
from recsys_lab.limits.quantisation import pack, quantise

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))
import cost_runs as cost  # noqa: E402  films without ratings, and what section 7.1 asked

asked = cost.asked  # lists of twenty, and what SmolLM2 says of them (section 5.4)
STORE = HERE / "smaller_runs.json"
SEEDS = (0, 1, 2)
L2 = (0.3, 1, 3, 10, 30, 100)  # of the ridge from vectors to iALS's factors
N_TIMED, ROUNDS = 64, 4  # films read for the clock, the original and the variant in turn
LR, N_EPOCHS, BATCH = 1e-4, 4, 32  # of a taught encoder
RIDGE = 0.1  # of the taught token table
N_TEACHING, N_LISTS = 160, 40  # users whose lists SmolLM2 scores for its student; of one run
N_FILMS, N_REVIEWS = 150, 20  # texts for SmolLM2's perplexity


class Run(NamedTuple):
    group: str
    name: str
    settings: dict[str, Any]

    @property
    def key(self) -> str:
        return f"{self.group}/{self.name}"


def rounded(values: np.ndarray, digits: int = 4) -> list:
    return np.round(np.asarray(values, dtype=float), digits).tolist()


# ---- files ---------------------------------------------------------------------------------------
def file_bytes(tensors: dict[str, torch.Tensor]) -> int:
    """Of a file that holds these arrays and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_file({name: part.contiguous() for name, part in tensors.items()}, path)
        return path.stat().st_size


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What a file has to hold: shared weights once, no table of positions 0, 1, 2, ..."""
    seen: set[int] = set()
    found = {}
    for name, part in model.named_parameters():
        if part.data_ptr() not in seen:
            seen.add(part.data_ptr())
            found[name] = part.detach()
    return found


@torch.no_grad()
def squeeze(
    model: torch.nn.Module, bits: int, block: int | str | None, symmetric: bool, table: str = ""
) -> int:
    """Quantise all matrices in place (the model goes on in float32) and give the file's bytes.

    block: weights that share a scale; "row" for a whole row, None for a whole matrix.
    table: a part of the name of a matrix that gets 8 bits in any case, as in SmolLM2's own file.
    """
    tensors: dict[str, torch.Tensor] = {}
    for name, part in weights_of(model).items():
        if part.ndim < 2:
            tensors[name] = part
            continue
        size = part.shape[-1] if block == "row" else block
        how = (8, 32, True) if table and table in name else (bits, size, symmetric)
        small = quantise(part.cpu().numpy(), *how)
        tensors[f"{name}.codes"] = torch.from_numpy(pack(small.codes, small.bits))
        tensors[f"{name}.scale"] = torch.from_numpy(small.scale)
        if small.low is not None:
            tensors[f"{name}.low"] = torch.from_numpy(small.low)
        part.copy_(torch.from_numpy(small.dequantise()))
    return file_bytes(tensors)


# ---- MiniLM, made smaller: each gives a reader of texts and the bytes of its file ----------------
Reader = Callable[[list[str]], np.ndarray]


@cache
def original() -> Encoder:
    return Encoder()


def like(model: torch.nn.Module) -> Encoder:
    """The encoder with another network, read in the same way."""
    other = copy.copy(original())
    other.__dict__["model"] = model.eval()
    return other


def fresh() -> torch.nn.Module:
    with torch.inference_mode(False):
        return copy.deepcopy(original().model)


def as_it_is() -> tuple[Reader, dict[str, int]]:
    return original().compute, {"file": file_bytes(weights_of(original().model))}


def half(dtype: torch.dtype) -> tuple[Reader, dict[str, int]]:
    model = fresh().to(dtype)
    return like(model).compute, {"file": file_bytes(weights_of(model))}


def few_bits(bits: int, block: int | str | None, symmetric: bool = False):
    model = fresh()
    return like(model).compute, {"file": squeeze(model, bits, block, symmetric)}


def dynamic() -> tuple[Reader, dict[str, int]]:
    """torch's int8: activations are quantised too, as they come, for each call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "deprecated": torchao, its heir, is not in the lock
        model = torch.ao.quantization.quantize_dynamic(
            fresh().cpu(), {torch.nn.Linear}, dtype=torch.qint8
        )
    memory = io.BytesIO()
    torch.save(model.state_dict(), memory)
    return like(model).compute, {"file": memory.tell()}


@torch.no_grad()
def pruned(share: float, how: str, together: bool):
    """The smallest weights of all linear layers become zero; the tables of words stay."""
    model = fresh()
    linear = {n: m.weight for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    matrices = {name: weight.cpu().numpy() for name, weight in linear.items()}
    masks = keep_masks(matrices, share, how, together)
    sizes = {"file": file_bytes(weights_of(model))}
    for layout in ("csr", "bitmap"):
        saved = sum(
            stored_bytes(matrices[n], "dense") - stored_bytes(matrices[n] * masks[n], layout)
            for n in linear
        )
        sizes[layout] = sizes["file"] - saved
    for name, weight in linear.items():
        weight.mul_(torch.from_numpy(masks[name]).to(weight.device))
    return like(model).compute, sizes


def with_layers(chosen: tuple[int, ...]) -> torch.nn.Module:
    model = fresh()
    layers = model.encoder.layer
    model.encoder.layer = torch.nn.ModuleList([layers[i] for i in chosen])
    model.config.num_hidden_layers = len(chosen)
    return model


def fewer_layers(chosen: tuple[int, ...]):
    model = with_layers(chosen)
    return like(model).compute, {"file": file_bytes(weights_of(model))}


@cache
def old_films(seed: int) -> tuple[int, ...]:
    """Films with ratings in the exam of this seed: a student may read their texts."""
    return tuple(cost.draws()[0][seed].old.tolist())


def lessons(seed: int) -> list[str]:
    """Full texts and titles of the old films."""
    lines, titles = cost.texts(), item_texts(asked.movielens()[0], ("title",))
    return [text for film in old_films(seed) for text in (lines[film], titles[film])]


def taught_layers(seed: int, n_epochs: int = N_EPOCHS, shuffled: bool = False):
    """Every other layer, trained to give the vectors of all six on the texts of old films."""
    texts = lessons(seed)
    goals = torch.from_numpy(original().compute(texts))
    if shuffled:  # the control: vectors of other texts
        goals = goals[torch.from_numpy(np.random.default_rng(seed).permutation(len(goals)))]
    torch.manual_seed(seed)
    model = with_layers((0, 2, 4))
    where = model.device
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR)
    n_steps = n_epochs * -(-len(texts) // BATCH)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, n_steps)
    rng = np.random.default_rng(seed)
    for _ in range(n_epochs):
        for part in np.array_split(rng.permutation(len(texts)), -(-len(texts) // BATCH)):
            batch = (
                original()
                .tokenizer([texts[i] for i in part], padding=True, return_tensors="pt")
                .to(where)
            )
            hidden = model(**batch).last_hidden_state
            mask = batch["attention_mask"][:, :, None]
            mean = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1))
            loss = (1 - (mean * goals[part].to(where)).sum(1)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return like(model).compute, {"file": file_bytes(weights_of(model))}


def token_ids(texts: list[str]) -> list[list[int]]:
    return original().tokenizer(texts, add_special_tokens=False).input_ids


class Static:
    """A table of one vector a token; a text is the mean of its tokens' vectors. No network."""

    def __init__(self, tokens: np.ndarray, table: np.ndarray):
        self.place = {int(token): row for row, token in enumerate(tokens)}
        self.table = table.astype(np.float32)

    def bag(self, texts: list[str]) -> np.ndarray:
        """Share of each known token in each text: (n_texts, n_tokens)."""
        shares = np.zeros((len(texts), len(self.table)), dtype=np.float32)
        for row, ids in enumerate(token_ids(texts)):
            known = [self.place[token] for token in ids if token in self.place]
            for place in known:
                shares[row, place] += 1 / len(known)
        return shares

    def compute(self, texts: list[str]) -> np.ndarray:
        rows = np.empty((len(texts), self.table.shape[1]), dtype=np.float32)
        for row, ids in enumerate(token_ids(texts)):
            known = [self.place[token] for token in ids if token in self.place]
            rows[row] = self.table[known].mean(0) if known else 1e-6
        return cost.unit(rows)


@cache
def alone() -> tuple[np.ndarray, np.ndarray]:
    """Each token of the catalogue's texts, read by MiniLM on its own: ids, (n_tokens, 384)."""
    tokens = np.unique(np.concatenate([np.array(ids) for ids in token_ids(cost.texts())]))
    words = original().tokenizer.convert_ids_to_tokens(tokens.tolist())
    return tokens, original().compute([word.removeprefix("##") for word in words])


def whole_table(n_columns: int) -> int:
    """Bytes of a table with all tokens of the vocabulary, in float32."""
    return file_bytes({"table": torch.zeros(len(original().tokenizer), n_columns)})


def static():
    tokens, table = alone()
    return Static(tokens, table).compute, {"file": whole_table(table.shape[1])}


def taught_table(seed: int, bits: int | None = None):
    """Ridge regression from the tokens of old films to MiniLM's vectors, around `static`; the table
    in few bits if wanted."""
    tokens, table = alone()
    texts = lessons(seed)
    shares, goals = Static(tokens, table).bag(texts), original().compute(texts)
    first = shares @ table
    start = table * ((goals * first).sum() / (first**2).sum())  # brought to the goals' length
    gram = shares.T @ shares + RIDGE * np.eye(len(table), dtype=np.float32)
    start += np.linalg.solve(gram, shares.T @ (goals - shares @ start))
    if bits is None:
        return Static(tokens, start).compute, {"file": whole_table(table.shape[1])}
    small = quantise(start, bits)
    of_all = small.n_bytes * len(original().tokenizer) // len(table)  # rows for other tokens too
    return Static(tokens, small.dequantise()).compute, {"file": of_all}


def fewer_words(seed: int):
    """The rows of the word table that no old film uses are left out: they become "unknown"."""
    used = np.unique(np.concatenate([np.array(i) for i in token_ids(lessons(seed))]))
    tokenizer = original().tokenizer
    kept = np.union1d(used, tokenizer.all_special_ids)
    unknown = np.setdiff1d(np.arange(len(tokenizer)), kept)
    model = fresh()
    table = model.embeddings.word_embeddings.weight
    with torch.no_grad():
        table[torch.from_numpy(unknown)] = table[tokenizer.unk_token_id].clone()
    weights = weights_of(model)
    name = next(n for n in weights if "word_embeddings" in n)
    weights[name] = weights[name][torch.from_numpy(kept)]
    return like(model).compute, {"file": file_bytes(weights)}


VARIANTS: dict[str, Callable[[], tuple[Reader, dict[str, int]]]] = {
    "float32": as_it_is,
    "bfloat16": lambda: half(torch.bfloat16),
    "8 bits, blocks": lambda: few_bits(8, 32, True),
    "8 bits, matrix": lambda: few_bits(8, None),
    "int8, layers only": dynamic,
    "6 bits, blocks": lambda: few_bits(6, 32),
    "4 bits, blocks": lambda: few_bits(4, 32),
    "4 bits, row": lambda: few_bits(4, "row"),
    "4 bits, matrix": lambda: few_bits(4, None),
    "3 bits, blocks": lambda: few_bits(3, 32),
    "2 bits, blocks": lambda: few_bits(2, 32),
    "half pruned": lambda: pruned(0.5, "magnitude", True),
    "half pruned, each layer": lambda: pruned(0.5, "magnitude", False),
    "half pruned, at random": lambda: pruned(0.5, "random", True),
    "three quarters pruned": lambda: pruned(0.75, "magnitude", True),
    "3 layers": lambda: fewer_layers((0, 2, 4)),
    "3 first layers": lambda: fewer_layers((0, 1, 2)),
    "static": static,
}
TAUGHT: dict[str, Callable[[int], tuple[Reader, dict[str, int]]]] = {
    "3 layers, taught": taught_layers,
    # One seed of each layer variant: its training takes two minutes of a core.
    "static, taught": taught_table,
    "static, taught, 4 bits": lambda seed: taught_table(seed, 4),
    "fewer words": fewer_words,
}


# ---- what a reader is worth ----------------------------------------------------------------------
def grade(exam: cost.NewFilms, rows: np.ndarray, l2: float) -> tuple[np.ndarray, np.ndarray]:
    """AUC and nDCG@10 of films without ratings, as in section 7.1: (n_users,) each."""
    rows = rows - rows[exam.old].mean(axis=0)
    rows = rows / np.sqrt((rows[exam.old] ** 2).sum(axis=1).mean())
    gram = rows[exam.old] @ rows[exam.old].T + l2 * np.eye(len(exam.old), dtype=np.float32)
    scores = exam.smooth @ np.linalg.solve(gram, rows[exam.old] @ rows[exam.new].T)
    found = exam.split.test.matrix()[:, exam.new]
    table = evaluation.ranking_metrics(scores, found, 10, metrics=["auc", "ndcg"])
    table = table.reindex(range(exam.smooth.shape[0]))
    return table["auc"].to_numpy(), table["ndcg"].to_numpy()


def neighbours(rows: np.ndarray, k: int = 10) -> np.ndarray:
    """The k nearest films of each, itself left out: (n_items, k)."""
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argpartition(-cosines, k, axis=1)[:, :k]


@cache
def vectors() -> np.ndarray:
    return original().encode(cost.texts())


@cache
def nearest() -> np.ndarray:
    return neighbours(vectors())


def kept_neighbours(rows: np.ndarray) -> np.ndarray:
    """How many of a film's ten nearest it still has: (n_items,)."""
    near = neighbours(rows)
    return np.array([len(np.intersect1d(a, b)) for a, b in zip(near, nearest())])


def clock(read: Reader) -> tuple[list[float], list[float]]:
    """Processor seconds a film, of the reader and of the original, in turn."""
    lines = [cost.texts()[i] for i in np.random.default_rng(7).permutation(len(cost.texts()))]
    readers, seconds = (read, original().compute), ([], [])
    for reader in readers:
        reader(lines[:16])
    for start in range(0, ROUNDS * N_TIMED, N_TIMED):
        for reader, found in zip(readers, seconds):
            begin = time.process_time()
            reader(lines[start : start + N_TIMED])
            found.append(float(f"{(time.process_time() - begin) / N_TIMED:.3g}"))
    return seconds


def judged(read: Reader, sizes: dict[str, int], exams: list, l2: float | None) -> dict[str, Any]:
    rows = read(cost.texts())
    if l2 is None:
        inner = cost.draws()[1]
        l2 = max(L2, key=lambda one: np.nanmean(grade(inner, rows, one)[0]))
    auc, ndcg = zip(*(grade(exam, rows, l2) for exam in exams))
    seconds, of_original = clock(read)
    new = np.unique(np.concatenate([exam.new for exam in exams]))
    cosines = (rows * vectors()).sum(1) if rows.shape == vectors().shape else np.zeros(len(rows))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # users without a new film: nan
        means = [np.nanmean(part, axis=0) for part in (auc, ndcg)]
    return {
        "bytes": sizes,
        "seconds": seconds,
        "seconds_original": of_original,
        "l2": l2,
        "cosine": rounded(cosines.mean(), 6),
        "cosine_new": rounded(cosines[new].mean(), 6),
        "kept": kept_neighbours(rows).tolist(),
        "auc": rounded(means[0]),
        "ndcg": rounded(means[1]),
    }


def encoder(run: Run) -> dict[str, Any]:
    with torch.inference_mode():
        return judged(*VARIANTS[run.name](), cost.draws()[0], None)


def taught(run: Run) -> dict[str, Any]:
    name, seed = run.name.rsplit(" ", 1)
    read, sizes = TAUGHT[name](int(seed))
    return judged(read, sizes, [cost.draws()[0][int(seed)]], run.settings["l2"])


# ---- SmolLM2 in fewer bits -----------------------------------------------------------------------
SQUEEZED: dict[str, tuple[int, int | str | None, bool] | None] = {
    "float32": None,
    "8 bits, blocks": (8, 32, True),
    "4 bits, blocks": (4, 32, False),
    "4 bits, symmetric": (4, 32, True),
    "4 bits, row": (4, "row", False),
    "3 bits, blocks": (3, 32, False),
    "2 bits, blocks": (2, 32, False),
}
N_ORDERED = {"4 bits, blocks": 6, "3 bits, blocks": 45}  # users, of three seeds


def smaller_lm(name: str) -> tuple[CausalLM, int]:
    """SmolLM2 with quantised matrices, which are used in float32, and the bytes of its file."""
    lm = copy.copy(asked.language_model())
    if SQUEEZED[name] is None:
        return lm, file_bytes(weights_of(lm.model))
    lm.model = copy.deepcopy(lm.model)
    return lm, squeeze(lm.model, *SQUEEZED[name], table="embed")


@cache
def texts_to_read() -> tuple[list[str], list[str]]:
    """Film texts and patients' reviews, drawn once."""
    rng, reviews = np.random.default_rng(72), load_reviews().part("test").texts
    films = [cost.texts()[i] for i in rng.permutation(len(cost.texts()))[:N_FILMS]]
    return films, [str(reviews[i])[:400] for i in rng.permutation(len(reviews))[:N_REVIEWS]]


@torch.inference_mode()
def surprise(lm: CausalLM, texts: list[str]) -> tuple[list[float], list[int]]:
    """Nats of each text after its first token, and how many tokens that are."""
    nats, lengths = [], []
    for start in range(0, len(texts), 10):
        ids = [torch.tensor(lm.tokenizer(t).input_ids) for t in texts[start : start + 10]]
        tokens = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True).to(lm.model.device)
        log_probs = lm.model(tokens[:, :-1]).logits.float().log_softmax(-1)
        of_token = log_probs.gather(2, tokens[:, 1:, None])[:, :, 0].cpu()
        for row, text in zip(of_token, ids):
            nats.append(-float(row[: len(text) - 1].sum()))
            lengths.append(len(text) - 1)
    return rounded(nats, 3), lengths


def reads(run: Run) -> dict[str, Any]:
    lm, n_bytes = smaller_lm(run.name)
    films, reviews = (surprise(lm, texts) for texts in texts_to_read())
    return {"bytes": n_bytes, "films": films[0], "reviews": reviews[0]} | {
        "tokens": {"films": films[1], "reviews": reviews[1]}
    }


def ordered(lm: CausalLM, seed: int, rows: range) -> list[list[float]]:
    """Scores of the lists of section 5.4, in its wording."""
    questions = [cost.question(seed, row) for row in rows]
    return [rounded(lm.log_likelihood(prompt, titles)) for prompt, titles in questions]


def orders(run: Run) -> dict[str, Any]:
    lm, _ = smaller_lm(run.name)
    each = range(run.settings["n_users"] // len(SEEDS))
    return {"scores": {str(seed): ordered(lm, seed, each) for seed in SEEDS}}


# ---- SmolLM2's lessons for a student -------------------------------------------------------------
@cache
def teaching() -> ranking.Candidates:
    """Lists of twenty of users whom section 5.4 did not ask, from the split of seed 0."""
    start = asked.N_TUNING + asked.N_USERS * len(asked.SEEDS)
    order = np.random.default_rng(54).permutation(asked.movielens()[0].n_users)
    users = order[start:]
    return ranking.candidates(asked.split_of(0), users, seed=0)


def lesson(lm: CausalLM, row: int) -> list[float]:
    """What SmolLM2 says of the twenty films of one list."""
    lists, titles, template = teaching(), asked.movielens()[1], cost.wording()
    history = asked.history_of("seed 0", int(lists.users[row]))
    about = [template.about(titles[i]) for i in lists.items[row]]
    return rounded(lm.log_likelihood(template.read(history), about))


def teacher(run: Run) -> dict[str, Any]:
    first = int(run.name) * N_LISTS
    lm = asked.language_model()
    return {"scores": [lesson(lm, row) for row in range(first, first + N_LISTS)]}


# ---- the store -----------------------------------------------------------------------------------
GROUPS: dict[str, Callable[[Run], dict[str, Any]]] = {
    "teacher": teacher,
    "encoder": encoder,
    "taught": taught,
    "reads": reads,
    "orders": orders,
}
NEW_FILMS = (grade, judged, neighbours, kept_neighbours, clock, rounded, file_bytes, weights_of)
LM = (smaller_lm, squeeze, file_bytes, weights_of, rounded)
PARTS = {
    "teacher": (teacher, lesson, teaching.__wrapped__, rounded),
    "encoder": (encoder, *NEW_FILMS),
    "taught": (taught, *NEW_FILMS, lessons, old_films.__wrapped__),
    "reads": (reads, surprise, texts_to_read.__wrapped__, *LM),
    "orders": (orders, ordered, *LM),
}
MAKERS = {  # of the variants: what each kind of them is made by
    "static, taught": (taught_table, Static, alone.__wrapped__, token_ids, whole_table),
    "float32": (as_it_is,),
    "bfloat16": (half,),
    "int8": (dynamic,),
    "bits": (few_bits, squeeze),
    "pruned": (pruned,),
    "layers, taught": (taught_layers, with_layers),
    # Kinds are looked up in this order, so the longer name comes first.
    "layers": (fewer_layers, with_layers),
    "static": (static, Static, alone.__wrapped__, token_ids, whole_table),
    "words": (fewer_words, token_ids),
}
FILES = {"bits": "limits/quantisation", "pruned": "limits/pruning"}
FILES["static, taught"] = FILES["bits"]


def runs(stored: dict[str, Any]) -> Iterator[Run]:
    for number in range(N_TEACHING // N_LISTS):
        yield Run("teacher", str(number), {"n_lists": N_LISTS})
    for name in VARIANTS:
        yield Run("encoder", name, {"l2": list(L2), "timed": [N_TIMED, ROUNDS]})
    for name, how in SQUEEZED.items():
        yield Run("reads", name, {"how": list(how or ()), "n": [N_FILMS, N_REVIEWS]})
    for name, n_users in N_ORDERED.items():
        yield Run("orders", name, {"how": list(SQUEEZED[name] or ()), "n_users": n_users})
    if l2 := stored.get("encoder/float32", {}).get("l2"):  # that of the original, for its students
        settings = {"l2": l2, "lr": LR, "n_epochs": N_EPOCHS, "ridge": RIDGE}
        for name in sorted(
            TAUGHT, key=lambda name: "layers" in name
        ):  # the slow ones, for one exam
            for seed in SEEDS[:1] if "layers" in name else SEEDS:
                yield Run("taught", f"{name} {seed}", settings)


def code_hash(run: Run) -> str:
    """Of the code that the run depends on."""
    parts, files = list(PARTS[run.group]), []
    if run.group in ("encoder", "taught"):
        kind = next(kind for kind in MAKERS if kind in run.name)
        parts += MAKERS[kind]
        files = [FILES[kind]] if kind in FILES else []
        parts += [cost.NewFilms, cost.draws.__wrapped__, cost.texts.__wrapped__, cost.unit]
    told = [inspect.getsource(part) for part in parts]
    if run.group in ("reads", "orders"):
        files = ["limits/quantisation"]
    if run.group in ("teacher", "orders"):
        told += [asked.fingerprint(), inspect.getsource(cost.wording)]
    told += [(ROOT / "recsys_lab" / f"{file}.py").read_text() for file in files]
    return hashlib.sha256("\0".join(told).encode()).hexdigest()[:16]


def perform(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    return GROUPS[run.group](run)


def load_runs() -> dict[str, Any]:
    """The stored runs, by key ("encoder/4 bits, row"); an error with the remedy if none are."""
    return stored_runs.load(STORE, __file__)


def is_current(run: Run, stored: dict[str, Any]) -> bool:
    """Whether the run is stored, with these settings, by this code."""
    return stored_runs.is_current(run, stored, code_hash(run))


def main() -> int:
    return stored_runs.command(
        __doc__, "encoder", store=STORE, wanted=runs, code=code_hash, perform=perform
    )


if __name__ == "__main__":
    raise SystemExit(main())

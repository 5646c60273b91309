"""The likeliest entries of a trie after a prompt: nearly, with a beam, or exactly, with a queue.

Derived in chapters/5_llm_finetuning/7_generating.
"""

import heapq
from collections.abc import Iterable

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from recsys_lab.language.causal_lm import CausalLM
from recsys_lab.language.decoding import Rows, enough
from recsys_lab.language.trie import Trie


@torch.inference_mode()
def beam_search(
    model: CausalLM, trie: Trie, prompt: str, n_beams: int, banned: Iterable[int] = ()
) -> list[tuple[int, float]]:
    """Entries after one prompt, likeliest first, and their log-probabilities; at most n_beams.

    The log-probability is the model's, of all the entry's tokens; what the trie rules out is not
    shared out among the rest. An entry whose beginning drops out of the best is lost. Derived in
    chapters/5_llm_finetuning/7_generating.
    """
    counts = trie.counts(banned)
    enough(counts, 1)
    rows, live, done = Rows(model, [prompt]), [(0.0, 0)], []
    while True:
        log_probs, after = rows.log_probs.cpu().numpy(), []
        for row, (total, node) in enumerate(live):
            for token in trie.allowed(node, counts):
                child = trie.children[node][token]
                after.append((total + float(log_probs[row, token]), child, row, token))
        after.sort(key=lambda one: -one[0])
        kept = [one for one in after if not trie.entries[one[1]]][:n_beams]
        done += [(t, trie.entries[c][0]) for t, c, *_ in after[:n_beams] if trie.entries[c]]
        done = sorted(done, key=lambda one: -one[0])[:n_beams]
        if not kept or (len(done) == n_beams and kept[0][0] <= done[-1][0]):
            return [(entry, total) for total, entry in done]
        live = [(total, child) for total, child, _, _ in kept]
        rows.select([row for _, _, row, _ in kept])
        rows.append([token for *_, token in kept])


@torch.inference_mode()
def best_entries(
    model: CausalLM, trie: Trie, prompt: str, n: int, banned: Iterable[int] = (), width: int = 16
) -> tuple[list[tuple[int, float]], int]:
    """The n likeliest entries after one prompt, exactly, and how many nodes were read for it.

    No path gets likelier by going on. So an entry that is likelier than all open paths is likelier
    than all that can come of them (uniform-cost search). Derived in
    chapters/5_llm_finetuning/7_generating.

    Args:
        width: open paths that are read at once; it changes the speed, not the result.
    """
    counts = trie.counts(banned)
    enough(counts, n)
    read, found, n_read = model._read(prompt), [], 0
    queue = [(0.0, 0, ())]  # minus log-probability, node, tokens so far
    while len(found) < n:
        chosen = []
        while queue and len(chosen) < width and not trie.entries[queue[0][1]]:
            chosen.append(heapq.heappop(queue))
        if not chosen:
            cost, node, _ = heapq.heappop(queue)
            found.append((trie.entries[node][0], -cost))
            continue
        n_read += len(chosen)
        for (cost, node, path), log_probs in zip(chosen, _next(model, read, chosen)):
            for token in trie.allowed(node, counts):
                more = (cost - float(log_probs[token]), trie.children[node][token], (*path, token))
                heapq.heappush(queue, more)
    return found, n_read


def _next(model: CausalLM, read, chosen: list[tuple]) -> np.ndarray:
    """Log-probabilities of what follows each open path: (n_paths, vocabulary)."""
    paths = [path for _, _, path in chosen]
    if paths == [()]:
        return read.logits[:, -1].float().log_softmax(-1).cpu().numpy()
    tokens = pad_sequence([torch.tensor(path) for path in paths], batch_first=True)
    last = torch.tensor([len(path) - 1 for path in paths], device=model.model.device)
    ends, which = torch.unique(last, return_inverse=True)
    logits = model._after(read, tokens.to(model.model.device), logits_to_keep=ends).logits
    logits = logits[torch.arange(len(paths), device=which.device), which]  # (n_paths, V)
    return logits.float().log_softmax(-1).cpu().numpy()

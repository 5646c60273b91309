"""Text from a causal language model, the likeliest token at a time or drawn: free, or in a trie.

Derived in chapters/5_llm_finetuning/7_generating.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from recsys_lab.language.causal_lm import CausalLM
from recsys_lab.language.trie import Trie


class Rows:
    """Texts that are written side by side, a row each: what was read of them, and what comes next.

    Prompts are padded on the left, so that all rows are written at the same place.

    Attributes:
        log_probs: of each row's next token: (n_rows, vocabulary), nats.
    """

    def __init__(self, model: CausalLM, prompts: Sequence[str]):
        if not prompts or "" in prompts:
            raise ValueError("give at least one prompt, and no empty one.")
        self.model, where = model.model, model.model.device
        ids = [torch.tensor(model.tokenizer(text).input_ids) for text in prompts]
        tokens = pad_sequence(ids, batch_first=True, padding_side="left").to(where)  # (n, T)
        lengths = torch.tensor([len(row) for row in ids], device=where)
        back = torch.arange(tokens.shape[1], 0, -1, device=where)  # T, ..., 1
        self.mask = (back <= lengths[:, None]).long()
        self.cache = None
        self.read(tokens, (self.mask.cumsum(1) - 1).clamp(min=0))

    def read(self, tokens: torch.Tensor, positions: torch.Tensor) -> None:
        how = {"attention_mask": self.mask, "position_ids": positions, "use_cache": True}
        out = self.model(tokens, past_key_values=self.cache, logits_to_keep=1, **how)
        self.cache, self.log_probs = out.past_key_values, out.logits[:, -1].float().log_softmax(-1)

    def append(self, tokens: Sequence[int]) -> None:
        """One more token for each row."""
        column = torch.tensor(tokens, device=self.mask.device)[:, None]
        positions = self.mask.sum(1, keepdim=True)
        self.mask = torch.cat([self.mask, torch.ones_like(column)], dim=1)
        self.read(column, positions)

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; a row may be taken several times."""
        chosen = torch.tensor(rows, device=self.mask.device)
        self.cache.batch_select_indices(chosen)
        self.mask, self.log_probs = self.mask[chosen], self.log_probs[chosen]


@torch.inference_mode()
def generate(
    model: CausalLM, prompts: Sequence[str], n_new: int, temperature: float = 0.0, seed: int = 0
) -> list[str]:
    """What the model writes after each prompt: at most `n_new` tokens, up to its end token.

    Derived in chapters/5_llm_finetuning/7_generating.

    Args:
        temperature: 0 takes the likeliest token (greedy); else one is drawn from the
            probabilities to the power 1 / temperature, on the CPU, so that all devices draw alike.
    """
    rows, written = Rows(model, prompts), []
    generator = torch.Generator().manual_seed(seed)
    end, ended = model.tokenizer.eos_token_id, torch.zeros(len(prompts), dtype=torch.bool)
    for step in range(n_new):
        if temperature:
            p = (rows.log_probs.cpu() / temperature).softmax(-1)
            tokens = torch.multinomial(p, 1, generator=generator)[:, 0]
        else:
            tokens = rows.log_probs.argmax(-1).cpu()
        tokens[ended] = end
        written.append(tokens)
        ended |= tokens == end
        if ended.all() or step == n_new - 1:
            break
        rows.append(tokens.tolist())
    texts = torch.stack(written, 1).tolist() if written else [[] for _ in prompts]
    texts = [row[: row.index(end)] if end in row else row for row in texts]
    return [model.tokenizer.decode(row) for row in texts]


@torch.inference_mode()
def greedy_lists(
    model: CausalLM,
    trie: Trie,
    prompts: Sequence[str],
    n: int,
    banned: Sequence[Iterable[int]] | None = None,
) -> list[list[int]]:
    """n entries of the trie after each prompt, one line after another, none of them twice.

    At each step the likeliest of the tokens that the trie allows. Derived in
    chapters/5_llm_finetuning/7_generating.

    Args:
        banned: for each prompt, the entries that it may not name, such as films already seen.

    Raises:
        ValueError: fewer than n titles are left for a prompt.
    """
    counts = [trie.counts(some) for some in banned or [()] * len(prompts)]
    for row, left in enumerate(counts):
        enough(left, n, row)
    rows, nodes, lists = Rows(model, prompts), [0] * len(prompts), [[] for _ in prompts]
    while True:
        log_probs, tokens = rows.log_probs.cpu().numpy(), [0] * len(prompts)
        for row in [row for row in range(len(prompts)) if len(lists[row]) < n]:
            allowed = trie.allowed(nodes[row], counts[row])
            tokens[row] = allowed[int(log_probs[row, allowed].argmax())]
            nodes[row] = trie.children[nodes[row]][tokens[row]]
            if ended := trie.entries[nodes[row]]:
                lists[row].append(ended[0])
                trie.add(counts[row], nodes[row], -1)
                nodes[row] = 0
        if all(len(some) == n for some in lists):
            return lists
        rows.append(tokens)


def enough(counts: np.ndarray, n: int, row: int = 0) -> None:
    """An error unless n titles are left in the counts of a trie."""
    if counts[0] < n:
        raise ValueError(f"prompt {row}: {counts[0]} titles are left, {n} are asked for.")

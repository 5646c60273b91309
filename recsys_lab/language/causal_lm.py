"""SmolLM2, a small LLaMA: how likely is this continuation of that text?"""

import copy
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
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
    def log_likelihood(
        self, prompt: str, continuations: Sequence[str], per_token: bool = True
    ) -> np.ndarray:
        """Log-probability of each continuation, given ``prompt``: (n,), nats.

        The prompt is read once; its keys and values are shared by all continuations. By default
        the mean over the continuation's tokens, so that a long title is not punished for its
        length; ``per_token=False`` gives the sum. Derived in chapters/5_llm_finetuning/4_zero_shot.
        """
        if not continuations or not prompt or "" in continuations:
            raise ValueError("log_likelihood needs a prompt and at least one continuation.")
        read, found = self._read(prompt), np.empty(len(continuations))
        for rows, tokens, lengths in self._batches(continuations):
            logits = read.logits.expand(len(rows), -1, -1)  # of the first token
            if tokens.shape[1] > 1:
                after = self._after(read, tokens[:, :-1]).logits
                logits = torch.cat([logits, after], dim=1)
            log_probs = logits.float().log_softmax(-1)  # (n, T, vocabulary)
            of_token = log_probs.gather(2, tokens[:, :, None])[:, :, 0]  # (n, T)
            counts = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
            total = (of_token * counts).sum(1)
            found[rows] = (total / lengths if per_token else total).double().cpu().numpy()
        return found

    @torch.inference_mode()
    def answer_log_probs(
        self, prompt: str, questions: Sequence[str], answers: Sequence[str]
    ) -> np.ndarray:
        """Log-probability of each answer right after prompt + question: (n_questions, n_answers).

        The prompt is read once and shared by all questions. Each answer is one token, such as
        " yes". Derived in chapters/5_llm_finetuning/4_zero_shot.

        Raises:
            ValueError: nothing to read, or an answer that is not one token.
        """
        if not questions or not prompt or "" in questions:
            raise ValueError("answer_log_probs needs a prompt and at least one question.")
        ids = [self.tokenizer(text, add_special_tokens=False).input_ids for text in answers]
        if long := [text for text, tokens in zip(answers, ids) if len(tokens) != 1]:
            raise ValueError(f"the answer {long[0]!r} is not one token: choose a shorter one.")
        wanted = torch.tensor(ids, device=self.model.device)[:, 0]
        read, found = self._read(prompt), np.empty((len(questions), len(answers)))
        for rows, tokens, lengths in self._batches(questions):
            ends, which = torch.unique(lengths - 1, return_inverse=True)
            logits = self._after(read, tokens, logits_to_keep=ends).logits  # (n, n_ends, V)
            last = logits[torch.arange(len(rows), device=which.device), which]  # (n, V)
            found[rows] = last.float().log_softmax(-1)[:, wanted].double().cpu().numpy()
        return found

    def _read(self, prompt: str) -> ModelOutput:
        """The prompt's keys and values, and the logits of the token that follows it."""
        prefix = self.tokenizer(prompt, return_tensors="pt").input_ids.to(self.model.device)
        return self.model(prefix, use_cache=True, logits_to_keep=1)

    def _after(self, read: ModelOutput, tokens: torch.Tensor, **how) -> ModelOutput:
        """What the model makes of several texts (n, T), each after the same text read before."""
        cache = copy.deepcopy(read.past_key_values)  # the model writes into it
        cache.batch_repeat_interleave(len(tokens))
        return self.model(tokens, past_key_values=cache, **how)

    def _batches(
        self, texts: Sequence[str]
    ) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        """Texts of similar length together, so that little of the reading is padding: their
        places, tokens (n, T) and lengths (n,). Padding comes last, where a causal model cannot
        see it from the tokens that count."""
        ends = [
            torch.tensor(self.tokenizer(text, add_special_tokens=False).input_ids) for text in texts
        ]
        order = sorted(range(len(ends)), key=lambda i: len(ends[i]))
        for start in range(0, len(ends), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            tokens = pad_sequence([ends[i] for i in rows], batch_first=True)
            lengths = torch.tensor([len(ends[i]) for i in rows])
            yield rows, tokens.to(self.model.device), lengths.to(self.model.device)

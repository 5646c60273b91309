"""Language models: an encoder that turns text into vectors, a LLaMA that scores text."""

from recsys_lab.language.causal_lm import CausalLM
from recsys_lab.language.encoder import Encoder

__all__ = ["CausalLM", "Encoder"]

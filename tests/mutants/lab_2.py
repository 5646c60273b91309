"""Plausible wrong answers to lab 2. Each loses points in its own task, and in no other."""

from mutants.in_process import Mutant

# Wrong answers that nbgrader grades too.
CONFIRMED = ("aligned at the start", "the padding attended")

SOFTMAX, ATTENTION = "answer_softmax", "answer_attention"
CAUSAL, PADDING, MASKED = "answer_causal", "answer_padding", "answer_masked"
SPLIT, MERGE, HEADS = "answer_split", "answer_merge", "answer_heads"
SINUSOIDAL, ROTARY, GAP = "answer_sinusoidal", "answer_rotary", "answer_gap"
PAD, PROFILES, UNSEEN = "answer_pad", "answer_profiles", "answer_unseen"

MUTANTS = [
    # ---- task 1: softmax ----
    Mutant(
        "softmax of torch",
        "task_1",
        SOFTMAX,
        """
        - weights / weights.sum(dim=dim, keepdim=True)
        + F.softmax(logits, dim=dim)
        """,
        "you call torch's softmax",
    ),
    Mutant(
        "the axis ignored",
        "task_1",
        SOFTMAX,
        """
        - logits.amax(dim=dim, keepdim=True)
        + logits.amax(dim=-1, keepdim=True)
        - weights.sum(dim=dim, keepdim=True)
        + weights.sum(dim=-1, keepdim=True)
        """,
        "still each row sums to one",
    ),
    Mutant(
        "the other axis",
        "task_1",
        SOFTMAX,
        """
        - weights.sum(dim=dim, keepdim=True)
        + weights.sum(dim=0, keepdim=True)
        - logits.amax(dim=dim, keepdim=True)
        + logits.amax()
        """,
        "softmax over the wrong axis",
    ),
    Mutant(
        "one sum over all entries",
        "task_1",
        SOFTMAX,
        """
        - logits.amax(dim=dim, keepdim=True)
        + logits.amax()
        - weights.sum(dim=dim, keepdim=True)
        + weights.sum()
        """,
        "all entries together sum to one",
    ),
    Mutant(
        "not divided by the sum",
        "task_1",
        SOFTMAX,
        """
        - torch.exp(logits - largest)
        + torch.exp(logits)
        - weights / weights.sum(dim=dim, keepdim=True)
        + weights
        """,
        "do not sum to one yet",
    ),
    Mutant(
        "no exponential",
        "task_1",
        SOFTMAX,
        """
        - torch.exp(logits - largest)
        + logits
        """,
        "take the exponential first",
    ),
    Mutant(
        "nothing subtracted",
        "task_1",
        SOFTMAX,
        """
        - logits - largest
        + logits
        """,
        r"exp\(1000\) is infinite",
    ),
    Mutant(
        "the largest of the whole tensor subtracted",
        "task_1",
        SOFTMAX,
        """
        - logits.amax(dim=dim, keepdim=True)
        + logits.amax()
        """,
        "each row's own largest",
    ),
    Mutant(
        "the mean subtracted",
        "task_1",
        SOFTMAX,
        """
        - logits.amax(
        + logits.mean(
        """,
        "not the mean",
    ),
    Mutant(
        "clipped",
        "task_1",
        SOFTMAX,
        """
        - torch.exp(logits - largest)
        + torch.exp(logits.clamp(-50, 50))
        """,
        "clip",
    ),
    Mutant(
        "the logits changed in place",
        "task_1",
        SOFTMAX,
        """
        - weights = torch.exp(logits - largest)
        + logits -= largest
        +     weights = torch.exp(logits)
        """,
        "changes the logits",
    ),
    Mutant(
        "through numpy",
        "task_1",
        SOFTMAX,
        """
        - weights = torch.exp(logits - largest)
        + weights = torch.from_numpy(np.exp((logits - largest).detach().numpy()))
        """,
        "did you leave torch",
    ),
    Mutant(
        "the sum detached",
        "task_1",
        SOFTMAX,
        """
        - weights.sum(dim=dim, keepdim=True)
        + weights.sum(dim=dim, keepdim=True).detach()
        - largest = logits.amax(dim=dim, keepdim=True)
        + largest = logits.amax(dim=dim, keepdim=True).detach()
        """,
        "the sum is detached",
    ),
    Mutant(
        "minus infinity clipped",
        "task_1",
        SOFTMAX,
        """
        - torch.exp(logits - largest)
        + torch.exp((logits - largest).clamp(min=-30))
        """,
        "weight zero, not a small one",
    ),
    # ---- task 2: attention ----
    Mutant(
        "attention of torch",
        "task_2",
        ATTENTION,
        """
        - weights @ value, weights
        + F.scaled_dot_product_attention(query, key, value), weights
        """,
        "you call torch's scaled_dot_product_attention",
    ),
    Mutant(
        "not scaled",
        "task_2",
        ATTENTION,
        """
        - / query.shape[-1] ** 0.5
        """,
        "not scaled",
    ),
    Mutant(
        "scaled by d_k",
        "task_2",
        ATTENTION,
        """
        - ** 0.5
        """,
        "scaled by d_k, not by its root",
    ),
    Mutant(
        "multiplied by the root",
        "task_2",
        ATTENTION,
        """
        - / query.shape[-1]
        + * query.shape[-1]
        """,
        "multiplied by the root",
    ),
    Mutant(
        "softmax over the queries",
        "task_2",
        ATTENTION,
        """
        - torch.softmax(scores, dim=-1)
        + torch.softmax(scores, dim=-2)
        """,
        "softmax over the wrong axis. A query's weights",
    ),
    Mutant(
        "no softmax",
        "task_2",
        ATTENTION,
        """
        - torch.softmax(scores, dim=-1)
        + scores
        """,
        "where is the softmax",
    ),
    Mutant(
        "the weights turned round",
        "task_2",
        ATTENTION,
        """
        - weights @ value, weights
        + weights.transpose(-2, -1) @ value, weights
        """,
        "the weights are turned round",
    ),
    Mutant(
        "the matrix of features, not of words",
        "task_2",
        ATTENTION,
        """
        - query @ key.transpose(-2, -1)
        + query.transpose(-2, -1) @ key
        - weights @ value, weights
        + value @ weights, weights
        """,
        r"weights returned shape \(2, 2\), expected \(4, 4\)",
    ),
    Mutant(
        "the plain mean of the values",
        "task_2",
        ATTENTION,
        """
        - weights @ value, weights
        + value.mean(dim=-2, keepdim=True).expand_as(query), weights
        """,
        "plain mean of the values",
    ),
    Mutant(
        "the root of the number of keys",
        "task_2",
        ATTENTION,
        """
        - query.shape[-1]
        + key.shape[-2]
        """,
        "root of the number of keys",
    ),
    Mutant(
        "the root of the width of the values",
        "task_2",
        ATTENTION,
        """
        - query.shape[-1]
        + value.shape[-1]
        """,
        "root of the width of the values",
    ),
    Mutant(
        "the first axis taken for the width",
        "task_2",
        ATTENTION,
        """
        - query.shape[-1]
        + query.shape[1]
        """,
        "d_k is shape",
    ),
    Mutant(
        "softmax over axis 1",
        "task_2",
        ATTENTION,
        """
        - torch.softmax(scores, dim=-1)
        + torch.softmax(scores, dim=1)
        """,
        "softmax over the wrong axis. With a batch",
    ),
    Mutant(
        "all axes turned round",
        "task_2",
        ATTENTION,
        """
        - key.transpose(-2, -1)
        + key.permute(*range(key.ndim - 1, -1, -1))
        """,
        "is the batch axis first",
    ),
    Mutant(
        "the weights detached",
        "task_2",
        ATTENTION,
        """
        - weights @ value, weights
        + weights.detach() @ value, weights
        """,
        "no gradient reaches query",
    ),
    # ---- task 3: masks ----
    Mutant(
        "the future seen",
        "task_3",
        CAUSAL,
        """
        - torch.arange(n_keys) <= query
        + torch.arange(n_keys) >= query
        """,
        "sees itself and the future",
    ),
    Mutant(
        "True means forbidden",
        "task_3",
        CAUSAL,
        """
        - torch.arange(n_keys) <= query
        + torch.arange(n_keys) > query
        """,
        "yours is True where it may not",
    ),
    Mutant(
        "a word does not see itself",
        "task_3",
        CAUSAL,
        """
        - torch.arange(n_keys) <= query
        + torch.arange(n_keys) < query
        """,
        "include the diagonal",
    ),
    Mutant(
        "aligned at the start",
        "task_3",
        CAUSAL,
        """
        - + n_keys - n_queries
        """,
        "causal mask aligned at the start",
    ),
    Mutant(
        "a mask of numbers",
        "task_3",
        CAUSAL,
        """
        - torch.arange(n_keys) <= query
        + (torch.arange(n_keys) <= query).float()
        """,
        "a mask is boolean",
    ),
    Mutant(
        "the padding mask inverted",
        "task_3",
        PADDING,
        """
        - torch.arange(n_keys) < lengths[:, None]
        + torch.arange(n_keys) >= lengths[:, None]
        """,
        "padding attended",
    ),
    Mutant(
        "one place too many",
        "task_3",
        PADDING,
        """
        - torch.arange(n_keys) < lengths[:, None]
        + torch.arange(n_keys) <= lengths[:, None]
        """,
        "one place too many",
    ),
    Mutant(
        "padding in front",
        "task_3",
        PADDING,
        """
        - torch.arange(n_keys) < lengths[:, None]
        + torch.arange(n_keys) >= n_keys - lengths[:, None]
        """,
        "the words come first",
    ),
    Mutant(
        "masked after the softmax",
        "task_3",
        MASKED,
        """
        - scores.masked_fill(~mask, -torch.inf)
        + scores
        """,
        "mask applied after the softmax",
    ),
    Mutant(
        "masked and renormalised after the softmax",
        "task_3",
        MASKED,
        """
        - scores.masked_fill(~mask, -torch.inf)
        + scores
        - return torch.where(mask, weights, 0.0)
        + kept = weights * mask
        +     return kept / kept.sum(dim=-1, keepdim=True).clamp(min=1e-30)
        """,
        "leak through the mask",
    ),
    Mutant(
        "scores multiplied by the mask",
        "task_3",
        MASKED,
        """
        - scores.masked_fill(~mask, -torch.inf)
        + scores * mask
        - torch.where(mask, weights, 0.0)
        + weights
        """,
        "a score of 0 still counts",
    ),
    Mutant(
        "filled where the mask is True",
        "task_3",
        MASKED,
        """
        - ~mask
        + mask
        - torch.where(mask, weights, 0.0)
        + weights
        """,
        "True means may look",
    ),
    Mutant(
        "the mask without effect",
        "task_3",
        MASKED,
        """
        - scores.masked_fill(~mask, -torch.inf)
        + scores
        - torch.where(mask, weights, 0.0)
        + weights
        """,
        "the mask has no effect",
    ),
    Mutant(
        "nan in an empty row",
        "task_3",
        MASKED,
        """
        - torch.where(mask, weights, 0.0)
        + weights
        """,
        "0/0",
    ),
    Mutant(
        "a large negative number for minus infinity",
        "task_3",
        MASKED,
        """
        - -torch.inf
        + -1e9
        - torch.where(mask, weights, 0.0)
        + weights
        """,
        "a large negative number is not minus infinity",
    ),
    Mutant(
        "a filler that is not small enough",
        "task_3",
        MASKED,
        """
        - -torch.inf
        + -1e4
        """,
        "filler not small enough",
    ),
    Mutant(
        "minus infinity added, nan mended after",
        "task_3",
        MASKED,
        """
        - scores.masked_fill(~mask, -torch.inf)
        + scores + torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
        """,
        "their gradient is nan",
    ),
    Mutant(
        "the scores changed in place",
        "task_3",
        MASKED,
        """
        - scores.masked_fill(~mask, -torch.inf)
        + scores.masked_fill_(~mask, -torch.inf)
        """,
        "changes the scores",
    ),
    Mutant(
        "the mask changed in place",
        "task_3",
        MASKED,
        """
        - weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
        + empty = ~mask.any(dim=-1, keepdim=True)
        +     mask |= empty
        +     weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
        - torch.where(mask, weights, 0.0)
        + torch.where(empty, 0.0, weights)
        """,
        "changes the mask",
    ),
    # ---- task 4: heads ----
    Mutant(
        "split by a reshape alone",
        "task_4",
        SPLIT,
        """
        - x.unflatten(-1, (n_heads, x.shape[-1] // n_heads)).transpose(-3, -2)
        + x.reshape(*x.shape[:-2], n_heads, x.shape[-2], x.shape[-1] // n_heads)
        """,
        "a reshape alone mixes words",
    ),
    Mutant(
        "every second feature to a head",
        "task_4",
        SPLIT,
        """
        - x.unflatten(-1, (n_heads, x.shape[-1] // n_heads)).transpose(-3, -2)
        + x.unflatten(-1, (x.shape[-1] // n_heads, n_heads)).movedim(-1, -3)
        """,
        "takes every second one",
    ),
    Mutant(
        "heads and words not swapped",
        "task_4",
        SPLIT,
        """
        - .transpose(-3, -2)
        """,
        "Heads before words",
    ),
    Mutant(
        "axes counted from the front",
        "task_4",
        SPLIT,
        """
        - .transpose(-3, -2)
        + .transpose(1, 2)
        """,
        "More axes in front",
    ),
    Mutant(
        "split outside torch",
        "task_4",
        SPLIT,
        """
        - x.unflatten(
        + torch.as_tensor(x.detach().numpy()).unflatten(
        """,
        "did you leave torch",
    ),
    Mutant(
        "merged by a reshape alone",
        "task_4",
        MERGE,
        """
        - x.transpose(-3, -2).flatten(start_dim=-2)
        + x.reshape(*x.shape[:-3], x.shape[-2], -1)
        """,
        "reshape without swapping back",
    ),
    Mutant(
        "features of the heads in turn",
        "task_4",
        MERGE,
        """
        - x.transpose(-3, -2).flatten(start_dim=-2)
        + x.movedim(-3, -1).flatten(start_dim=-2)
        """,
        "not feature by feature in turn",
    ),
    Mutant(
        "heads averaged",
        "task_4",
        MERGE,
        """
        - x.transpose(-3, -2).flatten(start_dim=-2)
        + x.mean(dim=-3)
        """,
        r"merge_heads returned shape \(2, 3, 3\), expected \(2, 3, 6\)",
    ),
    Mutant(
        "merged outside torch",
        "task_4",
        MERGE,
        """
        - x.transpose(-3, -2)
        + torch.as_tensor(x.detach().numpy()).transpose(-3, -2)
        """,
        "did you leave torch",
    ),
    Mutant(
        "scaled by the root of d",
        "task_4",
        HEADS,
        """
        - attn_mask=mask
        + attn_mask=mask, scale=x.shape[-1] ** -0.5
        """,
        "scaled by the root of d",
    ),
    Mutant(
        "no output layer",
        "task_4",
        HEADS,
        """
        - layers["output"](merge_heads(mixed))
        + merge_heads(mixed)
        """,
        "the output layer is missing",
    ),
    Mutant(
        "one head",
        "task_4",
        HEADS,
        """
        - split_heads(layers[name](x), n_heads)
        + split_heads(layers[name](x), 1)
        """,
        "one head, not two|two heads of width one",
    ),
    Mutant(
        "the heads detached",
        "task_4",
        HEADS,
        """
        - merge_heads(mixed)
        + merge_heads(mixed.detach())
        """,
        "did you leave torch, or detach",
    ),
    Mutant(
        "queries and keys swapped",
        "task_4",
        HEADS,
        """
        - (query, key, value, attn_mask=mask)
        + (key, query, value, attn_mask=mask)
        """,
        "Queries and keys are swapped|two heads of width one",
    ),
    Mutant(
        "the block of torch",
        "task_4",
        HEADS,
        """
        - query, key, value = (
        + return by_torch(x, layers, n_heads)
        +     query, key, value = (
        """,
        "you call torch's multi_head",
    ),
    Mutant(
        "the mask without an axis for the heads",
        "task_4",
        HEADS,
        """
        - mask.unsqueeze(-3)
        + mask
        """,
        "needs an axis for the heads",
    ),
    Mutant(
        "no mask",
        "task_4",
        HEADS,
        """
        - attn_mask=mask
        + attn_mask=None
        """,
        "the mask has no effect",
    ),
    Mutant(
        "the mask the other way round",
        "task_4",
        HEADS,
        """
        - mask.unsqueeze(-3)
        + ~mask.unsqueeze(-3)
        """,
        "the other way round",
    ),
    Mutant(
        "the axis for the heads counted from the front",
        "task_4",
        HEADS,
        """
        - mask.unsqueeze(-3)
        + mask.unsqueeze(1)
        """,
        "the axis for the heads is the third from the end",
    ),
    # ---- task 5: positions ----
    Mutant(
        "sines and cosines in two halves",
        "task_5",
        SINUSOIDAL,
        """
        - torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(start_dim=-2)
        + torch.cat([angles.sin(), angles.cos()], dim=-1)
        """,
        "yours come in two halves",
    ),
    Mutant(
        "sine and cosine swapped",
        "task_5",
        SINUSOIDAL,
        """
        - [angles.sin(), angles.cos()]
        + [angles.cos(), angles.sin()]
        """,
        "sine and cosine are swapped",
    ),
    Mutant(
        "half the exponent",
        "task_5",
        SINUSOIDAL,
        """
        - torch.arange(0, d_model, 2) / d_model
        + torch.arange(d_model // 2) / d_model
        """,
        "half as fast",
    ),
    Mutant(
        "a rate for each column",
        "task_5",
        SINUSOIDAL,
        """
        - torch.arange(0, d_model, 2) / d_model
        + torch.arange(d_model) / d_model
        - torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(start_dim=-2)
        + torch.where(torch.arange(d_model) % 2 == 0, angles.sin(), angles.cos())
        """,
        "yours has one a column",
    ),
    Mutant(
        "positions from one",
        "task_5",
        SINUSOIDAL,
        """
        - torch.arange(n_positions)
        + torch.arange(1, n_positions + 1)
        """,
        "count from 0, yours from 1",
    ),
    Mutant(
        "growing rates",
        "task_5",
        SINUSOIDAL,
        """
        - (-torch.arange(
        + (torch.arange(
        """,
        "the exponent is negative",
    ),
    Mutant(
        "a base of its own",
        "task_5",
        SINUSOIDAL,
        """
        - rates = base **
        + rates = 10_000.0 **
        """,
        "position and column",
    ),
    Mutant(
        "neighbours paired",
        "task_5",
        ROTARY,
        """
        - x[..., :half], x[..., half:]
        + x[..., 0::2], x[..., 1::2]
        - torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
        + torch.stack([first * cos - second * sin, first * sin + second * cos], -1).flatten(-2)
        """,
        "neighbours are paired",
    ),
    Mutant(
        "turned the other way",
        "task_5",
        ROTARY,
        """
        - first * cos - second * sin, first * sin + second * cos
        + first * cos + second * sin, second * cos - first * sin
        """,
        "turns the other way",
    ),
    Mutant(
        "the rows' positions not used",
        "task_5",
        ROTARY,
        """
        - positions[:, None]
        + torch.arange(x.shape[-2])[:, None]
        """,
        "yours counts 0, 1, 2",
    ),
    Mutant(
        "half the exponent in the rotation",
        "task_5",
        ROTARY,
        """
        - (-torch.arange(half) / half)
        + (-torch.arange(half) / x.shape[-1])
        """,
        "half as fast",
    ),
    Mutant(
        "turned in place",
        "task_5",
        ROTARY,
        """
        - return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
        + both = first * cos - second * sin, first * sin + second * cos
        +     x[..., :half], x[..., half:] = both
        +     return x
        """,
        "changes the x",
    ),
    Mutant(
        "turned outside torch",
        "task_5",
        ROTARY,
        """
        - first, second = x[..., :half], x[..., half:]
        + x = torch.as_tensor(x.detach().numpy())
        +     first, second = x[..., :half], x[..., half:]
        """,
        "did you leave torch",
    ),
    Mutant(
        "compared with the output unshuffled",
        "task_5",
        GAP,
        """
        - layer(x)[order]
        + layer(x)
        """,
        "both shuffled alike",
    ),
    Mutant(
        "shuffled back instead of alike",
        "task_5",
        GAP,
        """
        - layer(x)[order]
        + layer(x)[torch.as_tensor(order).argsort()]
        """,
        "both shuffled alike",
    ),
    Mutant(
        "signed difference",
        "task_5",
        GAP,
        """
        - .abs().max()
        + .max()
        """,
        "absolute difference",
    ),
    Mutant(
        "mean difference",
        "task_5",
        GAP,
        """
        - .abs().max()
        + .abs().mean()
        """,
        "not the mean",
    ),
    Mutant(
        "the mean over the features",
        "task_5",
        GAP,
        """
        - .abs().max()
        + .abs().mean(dim=-1).max()
        """,
        "four times as far",
    ),
    # ---- task 6: real histories ----
    Mutant(
        "film 0 taken for padding",
        "task_6",
        PAD,
        """
        - return films, real
        + return films, films != 0
        """,
        "is film 0 padding",
    ),
    Mutant(
        "the films at the end of their rows",
        "task_6",
        PAD,
        """
        - films[row, : len(history)]
        + films[row, shape[1] - len(history) :]
        - real[row, : len(history)]
        + real[row, shape[1] - len(history) :]
        """,
        "the films stand first",
    ),
    Mutant(
        "real means padding",
        "task_6",
        PAD,
        """
        - return films, real
        + return films, ~real
        """,
        "True where no film stands",
    ),
    Mutant(
        "filled with -1",
        "task_6",
        PAD,
        """
        - torch.zeros(shape, dtype=torch.long)
        + torch.full(shape, -1)
        """,
        "fill with 0",
    ),
    Mutant(
        "films as fractions",
        "task_6",
        PAD,
        """
        - torch.zeros(shape, dtype=torch.long)
        + torch.zeros(shape)
        """,
        "whole numbers",
    ),
    Mutant(
        "the padding attended",
        "task_6",
        PROFILES,
        """
        - attn_mask=real[:, None], scale=sharpness
        + scale=sharpness
        """,
        "padding attended",
    ),
    Mutant(
        "the last column asks",
        "task_6",
        PROFILES,
        """
        - keys[torch.arange(len(films)), last][:, None]
        + keys[:, -1:]
        """,
        "The last column is padding",
    ),
    Mutant(
        "the first film asks",
        "task_6",
        PROFILES,
        """
        - keys[torch.arange(len(films)), last][:, None]
        + keys[:, :1]
        """,
        "the first film, not the last",
    ),
    Mutant(
        "the last film that is not film 0 asks",
        "task_6",
        PROFILES,
        """
        - last = (real.sum(dim=1) - 1).clamp(min=0)
        + last = (films != 0).long().cumsum(dim=1).argmax(dim=1)
        """,
        "may end with film 0",
    ),
    Mutant(
        "the root besides the sharpness",
        "task_6",
        PROFILES,
        """
        - scale=sharpness
        + scale=sharpness / vectors.shape[1] ** 0.5
        """,
        "divided by it too",
    ),
    Mutant(
        "the plain mean",
        "task_6",
        PROFILES,
        """
        - scale=sharpness
        + scale=0.0
        """,
        "plain mean",
    ),
    Mutant(
        "dot products, not cosines",
        "task_6",
        PROFILES,
        """
        - F.normalize(history, dim=-1)
        + history
        """,
        "normalise query and keys",
    ),
    Mutant(
        "values normalised",
        "task_6",
        PROFILES,
        """
        - query, keys, history, attn_mask
        + query, keys, keys, attn_mask
        """,
        "the values are normalised",
    ),
    Mutant(
        "nan for a user without films",
        "task_6",
        PROFILES,
        """
        - profile = F.scaled_dot_product_attention(
        + odds = torch.exp(sharpness * query @ keys.transpose(1, 2)) * real[:, None]
        +     profile = odds / odds.sum(dim=-1, keepdim=True) @ history
        - query, keys, history, attn_mask=real[:, None], scale=sharpness
        -     )
        """,
        "nan for a user without films",
    ),
    Mutant(
        "the largest match not subtracted",
        "task_6",
        PROFILES,
        """
        - profile = F.scaled_dot_product_attention(
        + odds = torch.exp(sharpness * query @ keys.transpose(1, 2)) * real[:, None]
        +     profile = odds / odds.sum(dim=-1, keepdim=True).clamp(min=1e-30) @ history
        - query, keys, history, attn_mask=real[:, None], scale=sharpness
        -     )
        """,
        "sharpness 1000: the profile.* is nan",
    ),
    Mutant(
        "the padding dropped from the films",
        "task_6",
        UNSEEN,
        """
        - scores[user, films[user, place]] = -torch.inf
        + scores.scatter_(1, films, -torch.inf)
        """,
        "film 0 is gone",
    ),
    Mutant(
        "seen films listed",
        "task_6",
        UNSEEN,
        """
        -     scores[user, films[user, place]] = -torch.inf
        """,
        "films of the history are listed",
    ),
    Mutant(
        "seen films get the score zero",
        "task_6",
        UNSEEN,
        """
        - -torch.inf
        + 0
        """,
        "scores may be negative",
    ),
    Mutant(
        "the padding written back",
        "task_6",
        UNSEEN,
        """
        - user, place = torch.nonzero(real, as_tuple=True)
        -     scores[user, films[user, place]] = -torch.inf
        + kept = scores.gather(1, films)
        +     scores = scores.scatter(1, films, torch.where(real, -torch.inf, kept))
        """,
        "the best unseen films are",
    ),
    Mutant(
        "the worst films",
        "task_6",
        UNSEEN,
        """
        - = -torch.inf
        + = torch.inf
        - topk(k, dim=1)
        + topk(k, dim=1, largest=False)
        """,
        "sort from high to low",
    ),
    Mutant(
        "scores for films",
        "task_6",
        UNSEEN,
        """
        - .indices
        + .values
        """,
        "whole numbers",
    ),
]

# Right answers in another style: they lose nothing.
ALTERNATIVES = {
    SOFTMAX: """
def softmax(logits, dim=-1):
    moved = logits.movedim(dim, 0)
    shifted = moved - moved.max(0).values
    return (shifted - shifted.exp().sum(0).log()).exp().movedim(0, dim)
""",
    ATTENTION: """
def attention(query, key, value):
    import math
    scores = torch.einsum("...qd,...kd->...qk", query / math.sqrt(key.size(-1)), key)
    odds = torch.exp(scores - scores.max(-1, keepdim=True)[0])
    weights = odds / odds.sum(-1, True)
    return torch.einsum("...qk,...kv->...qv", weights, value), weights
""",
    CAUSAL: """
def causal_mask(n_queries, n_keys):
    return ~torch.ones(n_queries, n_keys).triu(n_keys - n_queries + 1).bool()
""",
    PADDING: """
def padding_mask(lengths, n_keys):
    rows = [[place < int(length) for place in range(n_keys)] for length in lengths]
    return torch.tensor(rows)
""",
    MASKED: """
def masked_weights(scores, mask):
    mask = mask.expand_as(scores)
    lowest = torch.finfo(scores.dtype).min
    largest = scores.detach().masked_fill(~mask, lowest).amax(-1, keepdim=True)
    odds = torch.where(mask, scores - largest, -torch.inf).exp()
    total = odds.sum(-1, keepdim=True)
    return odds / torch.where(total > 0, total, 1)
""",
    SPLIT: """
def split_heads(x, n_heads):
    return torch.stack(x.chunk(n_heads, dim=-1), dim=-3)
""",
    MERGE: """
def merge_heads(x):
    return torch.cat(x.unbind(dim=-3), dim=-1)
""",
    HEADS: """
def multi_head(x, layers, n_heads, mask=None):
    query, key, value = [layers[name](x) for name in ("query", "key", "value")]
    width = x.shape[-1] // n_heads
    parts = []
    for h in range(n_heads):
        part = slice(h * width, (h + 1) * width)
        scores = query[..., part] @ key[..., part].mT / width**0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        parts.append(scores.softmax(-1) @ value[..., part])
    return layers["output"](torch.cat(parts, -1))
""",
    SINUSOIDAL: """
def sinusoidal_positions(n_positions, d_model, base=10_000.0):
    table = torch.zeros(n_positions, d_model, dtype=torch.float64)
    for p in range(n_positions):
        for i in range(d_model // 2):
            angle = p / base ** (2 * i / d_model)
            table[p, 2 * i], table[p, 2 * i + 1] = np.sin(angle), np.cos(angle)
    return table
""",
    ROTARY: """
def apply_rotary(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    rates = torch.pow(base, -2 * torch.arange(half) / x.shape[-1])
    angles = torch.outer(positions.double(), rates.double())
    z = torch.complex(x[..., :half].double(), x[..., half:].double())
    z = z * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([z.real, z.imag], -1).to(x.dtype)
""",
    GAP: """
def permutation_gap(layer, x, order):
    before, after = layer(x[order]), layer(x)[order]
    return torch.linalg.vector_norm(before - after, ord=float("inf"))
""",
    PAD: """
def pad_histories(histories):
    from torch.nn.utils.rnn import pad_sequence
    films = pad_sequence([torch.tensor(list(h)).long() for h in histories], batch_first=True)
    lengths = torch.tensor([len(h) for h in histories])
    return films, torch.arange(films.shape[1])[None] < lengths[:, None]
""",
    PROFILES: """
def attention_profiles(vectors, films, real, sharpness):
    profiles = torch.zeros(len(films), vectors.shape[1], dtype=vectors.dtype)
    for user in range(len(films)):
        history = vectors[films[user][real[user]]]
        if len(history):
            likeness = torch.cosine_similarity(history, history[-1:], dim=-1)
            profiles[user] = torch.softmax(sharpness * likeness, 0) @ history
    return profiles
""",
    UNSEEN: """
def best_unseen(profiles, vectors, films, real, k):
    lists = []
    for profile, row, there in zip(profiles, films, real):
        seen = set(row[there].tolist())
        order = (vectors @ profile).argsort(descending=True).tolist()
        lists.append([film for film in order if film not in seen][:k])
    return torch.tensor(lists)
""",
}

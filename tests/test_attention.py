"""Attention: equal to torch's and to the library's, forward and backward, masks included."""

import ast
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from recsys_lab import attention
from recsys_lab.attention import (
    MultiHeadAttention,
    apply_rotary,
    causal_mask,
    merge_heads,
    padding_mask,
    scaled_dot_product_attention,
    sinusoidal_positions,
    softmax,
    split_heads,
)

ROOT = Path(__file__).parents[1]
SECTION = ROOT / "chapters/2_self_attention/3_masks_order_heads.ipynb"
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
sizes = st.integers(1, 6)
dtypes = st.sampled_from([torch.float32, torch.float64])


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return (a - b).abs().max().item()  # NaN stays NaN and fails every comparison


def gradients(function, inputs: list[torch.Tensor], cotangent: torch.Tensor):
    """The output, then the gradient of <output, cotangent> with respect to each input."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    output = function(*leaves)
    return [output.detach(), *torch.autograd.grad((output * cotangent).sum(), leaves)]


# ---- the formula -----------------------------------------------------------------------------


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    lead=st.lists(st.integers(1, 3), max_size=2),
    n_queries=sizes,
    n_keys=sizes,
    d_k=sizes,
    d_v=sizes,
    kind=st.sampled_from(["none", "causal", "mask", "keys only", "both", "scale"]),
    dtype=dtypes,
    seed=st.integers(0, 10_000),
)
def test_equals_torch_forward_and_backward(
    lead, n_queries, n_keys, d_k, d_v, kind, dtype, seed
) -> None:
    torch.manual_seed(seed)
    query = torch.randn(*lead, n_queries, d_k, dtype=dtype)
    key = torch.randn(*lead, n_keys, d_k, dtype=dtype)
    value = torch.randn(*lead, n_keys, d_v, dtype=dtype)
    ours, theirs = {}, {}
    if kind in {"mask", "keys only", "both"}:
        rows = 1 if kind == "keys only" else n_queries
        mask = torch.rand(*lead, rows, n_keys) < 0.6
        if kind != "both":  # a fully masked row has a test of its own
            mask[..., 0] |= ~mask.any(-1)
        ours["mask"] = theirs["attn_mask"] = mask
    if kind in {"causal", "both"}:
        # The oracle's mask is written out: query i is the (n_keys - n_queries + i)-th position.
        allowed = [[k <= n_keys - n_queries + q for k in range(n_keys)] for q in range(n_queries)]
        allowed = torch.tensor(allowed) & ours.get("mask", torch.tensor(True))
        ours["is_causal"], theirs["attn_mask"] = True, allowed
    if kind == "scale":
        ours["scale"] = theirs["scale"] = 0.3
    cotangent = torch.randn(*lead, n_queries, d_v, dtype=dtype)
    found = gradients(
        lambda *x: scaled_dot_product_attention(*x, **ours), [query, key, value], cotangent
    )
    expected = gradients(
        lambda *x: F.scaled_dot_product_attention(*x, **theirs), [query, key, value], cotangent
    )
    if "attn_mask" in theirs:  # rows that see nothing: zeros by definition, whatever torch does
        empty = ~theirs["attn_mask"].any(-1).expand(*lead, n_queries)
        expected[0][empty] = 0.0
        if empty.any():
            blank = cotangent.masked_fill(empty[..., None], 0.0)
            expected[1:] = gradients(
                lambda *x: F.scaled_dot_product_attention(
                    *x, attn_mask=theirs["attn_mask"] | empty[..., None]
                ),
                [query, key, value],
                blank,
            )[1:]
    for mine, other in zip(found, expected, strict=True):
        assert difference(mine, other) < TOLERANCE[dtype]


def test_equals_torchs_causal_flag() -> None:
    query, key, value = torch.randn(3, 2, 7, 4, dtype=torch.float64).unbind()
    found = scaled_dot_product_attention(query, key, value, is_causal=True)
    expected = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    assert difference(found, expected) < 1e-12


@pytest.mark.parametrize("n_open_rows", [0, 2])
def test_a_query_that_may_attend_to_nothing_gets_zeros(n_open_rows: int) -> None:
    inputs = list(torch.randn(3, 2, 3, 4, dtype=torch.float64))
    mask = torch.zeros(3, 3, dtype=torch.bool)
    mask[:n_open_rows] = True
    output, *grads = gradients(
        lambda *x: scaled_dot_product_attention(*x, mask=mask), inputs, torch.ones_like(inputs[0])
    )
    empty = ~mask.any(-1)
    assert (output[:, empty] == 0).all()
    assert (output[:, ~empty] != 0).all()
    assert all(grad.isfinite().all() for grad in grads)
    assert (grads[0][:, empty] == 0).all()


def test_weights_of_the_four_words() -> None:
    """Exact: the worked example, e = exp(1/sqrt 2), plain and causal."""
    query = torch.tensor([[1, 0], [0, 1], [0, 1], [1, 0]], dtype=torch.float64)
    key = torch.tensor([[0, 1], [1, 0], [1, 1], [0, 1]], dtype=torch.float64)
    value = torch.tensor([[1, 1], [1, 0], [0, 1], [1, 1]], dtype=torch.float64)
    e = math.exp(math.sqrt(0.5))
    output, weights = scaled_dot_product_attention(query, key, value, return_weights=True)
    one = torch.tensor([1, e, e, 1], dtype=torch.float64) / (2 + 2 * e)
    two = torch.tensor([e, 1, e, e], dtype=torch.float64) / (3 * e + 1)
    assert difference(weights, torch.stack([one, two, two, one])) < 1e-15
    assert difference(output, torch.stack([one, two, two, one]) @ value) < 1e-15
    _, weights = scaled_dot_product_attention(
        query, key, value, is_causal=True, return_weights=True
    )
    causal = torch.zeros(4, 4, dtype=torch.float64)
    causal[0, 0] = 1
    causal[1, :2] = two[:2] / two[:2].sum()
    causal[2, :3] = torch.tensor([e, 1, e], dtype=torch.float64) / (2 * e + 1)
    causal[3] = one
    assert difference(weights, causal) < 1e-15


def test_dropout_keeps_the_mean_and_spares_the_returned_weights() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 4000, 1, 8).unbind()
    value = torch.ones_like(value)
    output, weights = scaled_dot_product_attention(
        query, key, value, dropout=0.25, return_weights=True
    )
    assert output.unique().tolist() == pytest.approx([0, 4 / 3])
    assert output.mean().item() == pytest.approx(1, abs=0.04)
    assert (weights == 1).all()


# ---- softmax ---------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    shape=st.lists(sizes, min_size=1, max_size=3),
    dim=st.integers(-3, 2),
    size=st.sampled_from([1.0, 100.0, 1e4]),
    seed=st.integers(0, 10_000),
)
def test_softmax_equals_torch(shape, dim, size, seed) -> None:
    torch.manual_seed(seed)
    dim %= len(shape)
    logits = torch.randn(*shape, dtype=torch.float64) * size
    logits = torch.cat([logits, torch.full_like(logits, -math.inf)], dim)
    cotangent = torch.randn_like(logits)
    found = gradients(lambda x: softmax(x, dim), [logits], cotangent)
    expected = gradients(lambda x: x.softmax(dim), [logits], cotangent)
    for mine, other in zip(found, expected, strict=True):
        assert difference(mine, other) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_huge_logits_stay_finite(dtype: torch.dtype) -> None:
    logits = torch.tensor([[1e4, -1e4, 1e4], [-1e4, -1e4, -1e4 - 1]], dtype=dtype)
    low = 1 / (2 + math.exp(-1))
    exact = torch.tensor([[0.5, 0, 0.5], [low, low, 1 - 2 * low]], dtype=dtype)
    assert difference(softmax(logits), exact) < TOLERANCE[dtype]
    # As scores: query . key = +-1e4.
    found = gradients(
        lambda *x: scaled_dot_product_attention(*x, scale=1.0),
        [torch.tensor([[100.0]]), torch.tensor([[100.0], [-100.0]]), torch.tensor([[3.0], [4.0]])],
        torch.ones(1, 1),
    )
    assert found[0].item() == 3.0
    assert all(x.isfinite().all() for x in found)


def test_softmax_of_nothing() -> None:
    logits = torch.tensor([[-math.inf, -math.inf], [0.0, -math.inf]], requires_grad=True)
    weights = softmax(logits)
    assert weights.tolist() == [[0, 0], [1, 0]]
    (gradient,) = torch.autograd.grad(weights[:, 0].sum(), logits)
    assert (gradient == 0).all()
    assert softmax(torch.zeros(2, 0)).shape == (2, 0)
    assert scaled_dot_product_attention(
        torch.ones(1, 2), torch.ones(0, 2), torch.ones(0, 3)
    ).tolist() == [[0, 0, 0]]


# ---- masks -----------------------------------------------------------------------------------


def test_causal_mask_is_aligned_at_the_end() -> None:
    T, f = True, False
    assert causal_mask(3).tolist() == [[T, f, f], [T, T, f], [T, T, T]]
    assert causal_mask(2, 4).tolist() == [[T, T, T, f], [T, T, T, T]]
    assert causal_mask(3, 1).tolist() == [[f], [f], [T]]
    assert causal_mask(5)[3:].tolist() == causal_mask(2, 5).tolist()


def test_padding_mask() -> None:
    T, f = True, False
    expected = [[T, T, f], [f, f, f], [T, T, T]]
    assert padding_mask([2, 0, 3], 3).tolist() == expected
    assert padding_mask(torch.tensor([2, 0, 3]), 3).tolist() == expected


def test_nothing_flows_from_a_forbidden_key() -> None:
    """Gradients, not values: exactly 0 where the mask says so, not 0 where it does not."""
    inputs = torch.randn(1, 5, 4, dtype=torch.float64, requires_grad=True)
    mask = padding_mask([4], 5)[:, None, :]
    output = scaled_dot_product_attention(inputs, inputs, inputs, mask=mask, is_causal=True)
    for query in range(5):
        (gradient,) = torch.autograd.grad(output[0, query].sum(), inputs, retain_graph=True)
        for key in range(5):
            reads = key == query or (key <= query and key < 4)
            assert (gradient[0, key] != 0).any() == reads


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (torch.zeros(4, 4), TypeError, "make it boolean, True = may attend"),
        (torch.ones(4, 4, dtype=torch.int64), TypeError, "make it boolean"),
        (torch.ones(2, 4, dtype=torch.bool), ValueError, r"mask\[:, None, :\]"),
        (torch.ones(7, 3, 4, 4, dtype=torch.bool), ValueError, r"\(3, 4, 4\)"),
        (torch.ones(3, dtype=torch.bool), ValueError, "n_queries, n_keys"),
    ],
)
def test_a_bad_mask_is_refused(mask, error, message) -> None:
    x = torch.randn(3, 4, 6)
    with pytest.raises(error, match=message):
        scaled_dot_product_attention(x, x, x, mask=mask)
    with pytest.raises(error, match=message):
        MultiHeadAttention(6, 2)(x, mask=mask)


def test_other_bad_input_is_refused() -> None:
    x, y = torch.randn(3, 4), torch.randn(3, 5)
    with pytest.raises(ValueError, match="same last axis"):
        scaled_dot_product_attention(x, y, x)
    with pytest.raises(ValueError, match="same n_keys"):
        scaled_dot_product_attention(x, x, torch.randn(2, 4))
    with pytest.raises(ValueError, match="cut each history to its last 3"):
        padding_mask([2, 4], 3)
    with pytest.raises(ValueError, match="one number a sequence"):
        padding_mask([[2, 4]], 4)
    with pytest.raises(ValueError, match="from 1, 2, 3, 6, or another d_model"):
        MultiHeadAttention(6, 4)
    with pytest.raises(ValueError, match="5 features cannot be shared out among 2"):
        split_heads(y, 2)
    with pytest.raises(ValueError, match="make d_model even, got 5"):
        sinusoidal_positions(4, 5)
    with pytest.raises(ValueError, match="make d_head even, got 5"):
        apply_rotary(y, [0, 1, 2])
    with pytest.raises(ValueError, match="each of its 3 vectors"):
        apply_rotary(x, [0, 1])
    with pytest.raises(ValueError, match=r"positions\[:, None, :\]"):  # 2 sequences, 2 heads
        apply_rotary(torch.randn(2, 2, 3, 4), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="give whole numbers"):
        padding_mask([1.5, 2.0], 4)


# ---- order -----------------------------------------------------------------------------------


def test_sinusoidal_closed_form() -> None:
    found = sinusoidal_positions(50, 6, base=100.0)
    assert found.dtype == torch.float32
    for p in range(50):
        for i in range(3):
            angle = p / 100.0 ** (2 * i / 6)
            assert found[p, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert found[p, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)
    assert sinusoidal_positions(10_001, 4)[10_000, 0].item() == pytest.approx(
        math.sin(10_000), abs=1e-6
    )


@pytest.mark.parametrize(("d_head", "base"), [(2, 10_000.0), (8, 10_000.0), (64, 100_000.0)])
def test_rotary_equals_the_library(d_head: int, base: float) -> None:
    config = LlamaConfig(
        hidden_size=3 * d_head,
        num_attention_heads=3,
        rope_parameters={"rope_type": "default", "rope_theta": base},
    )
    query, key = torch.randn(2, 2, 3, 11, d_head).unbind()  # (n_sequences, n_heads, n, d_head)
    positions = torch.stack([torch.arange(11), torch.randint(0, 500, (11,))])
    cos, sin = LlamaRotaryEmbedding(config)(query, positions)
    expected = apply_rotary_pos_emb(query, key, cos, sin)
    for x, turned in zip((query, key), expected, strict=True):
        assert difference(apply_rotary(x, positions[:, None, :], base), turned) < 1e-5
    assert difference(apply_rotary(query, range(11), base)[0], expected[0][0]) < 1e-5
    assert apply_rotary(query.bfloat16(), range(11)).dtype == torch.bfloat16


def test_rotary_scores_depend_on_the_distance_only() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 8, dtype=torch.float64).unbind()

    def score(m: int, n: int) -> float:
        return (apply_rotary(query, [m]) @ apply_rotary(key, [n]).mT).item()

    for distance in (-7, 0, 3):
        at = [score(n + distance, n) for n in (7, 20, 500)]
        assert max(at) - min(at) < 1e-11
    assert score(0, 0) == pytest.approx((query @ key.mT).item(), abs=1e-12)
    assert abs(score(3, 0) - score(0, 0)) > 0.1
    assert abs(score(3, 0) - score(0, 3)) > 0.1  # a signed distance: before is not after
    assert difference(apply_rotary(query, [123]).norm(), query.norm()) < 1e-12


# ---- heads -----------------------------------------------------------------------------------


def test_heads_split_the_features_not_the_positions() -> None:
    x = torch.arange(24).reshape(1, 3, 8)
    heads = split_heads(x, 2)
    assert heads.shape == (1, 2, 3, 4)
    assert heads[0, 1, 2].tolist() == [20, 21, 22, 23]
    assert torch.equal(merge_heads(heads), x)
    assert split_heads(x[0], 4).shape == (4, 3, 2)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    n_sequences=st.integers(1, 3),
    n_queries=sizes,
    n_keys=sizes,
    n_heads=st.integers(1, 4),
    d_head=st.integers(1, 3),
    bias=st.booleans(),
    cross=st.booleans(),
    masked=st.sampled_from(["none", "mask", "padding", "causal"]),
    dtype=dtypes,
    seed=st.integers(0, 10_000),
)
def test_many_heads_equal_torch_forward_and_backward(
    n_sequences, n_queries, n_keys, n_heads, d_head, bias, cross, masked, dtype, seed
) -> None:
    torch.manual_seed(seed)
    d = n_heads * d_head
    ours = MultiHeadAttention(d, n_heads, bias).to(dtype)
    theirs = torch.nn.MultiheadAttention(d, n_heads, bias=bias, batch_first=True, dtype=dtype)
    maps = [ours.query, ours.key, ours.value]
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([m.weight for m in maps]))
        theirs.out_proj.weight.copy_(ours.output.weight)
        if bias:
            theirs.in_proj_bias.copy_(torch.cat([m.bias for m in maps]))
            theirs.out_proj.bias.copy_(ours.output.bias)
    x = torch.randn(n_sequences, n_queries, d, dtype=dtype)
    context = torch.randn(n_sequences, n_keys, d, dtype=dtype) if cross else x
    shape = (n_sequences, n_queries, context.shape[1])
    mask = torch.ones(shape, dtype=torch.bool)
    if masked == "mask":
        mask = torch.rand(shape) < 0.6
        mask[..., 0] |= ~mask.any(-1)  # torch gives NaN for a row that sees nothing
    elif masked == "padding":
        mask = (
            mask
            & padding_mask(torch.randint(1, shape[2] + 1, (n_sequences,)), shape[2])[:, None, :]
        )
    elif masked == "causal" and shape[1] <= shape[2]:
        mask = mask & causal_mask(*shape[1:])
    # torch's mask is the other way round (True = forbidden), one copy for each head.
    forbidden = ~mask.repeat_interleave(n_heads, 0)

    def both(x, context):
        return [
            ours(
                x,
                context if cross else None,
                None if masked == "causal" and shape[1] <= shape[2] else mask,
                is_causal=masked == "causal" and shape[1] <= shape[2],
                return_weights=True,
            ),
            theirs(x, context, context, attn_mask=forbidden, average_attn_weights=False),
        ]

    (mine, weights), (other, their_weights) = both(x, context)
    assert difference(mine, other) < TOLERANCE[dtype]
    assert difference(weights, their_weights) < TOLERANCE[dtype]

    cotangent = torch.randn_like(mine)
    found = gradients(lambda *a: both(a[0], a[-1])[0][0], [x, context][: 1 + cross], cotangent)
    expected = gradients(lambda *a: both(a[0], a[-1])[1][0], [x, context][: 1 + cross], cotangent)
    for one, two in zip(found, expected, strict=True):
        assert difference(one, two) < TOLERANCE[dtype]

    (mine * cotangent).sum().backward()
    (other * cotangent).sum().backward()
    slack = 10 * TOLERANCE[dtype]  # a sum over positions and sequences
    stacked = torch.cat([m.weight.grad for m in maps])
    assert difference(stacked, theirs.in_proj_weight.grad) < slack
    assert difference(ours.output.weight.grad, theirs.out_proj.weight.grad) < slack
    if bias:
        assert difference(torch.cat([m.bias.grad for m in maps]), theirs.in_proj_bias.grad) < slack


def test_permuting_the_tokens_permutes_the_output() -> None:
    layer = MultiHeadAttention(8, 2).double()
    x, order = torch.randn(6, 8, dtype=torch.float64), torch.randperm(6)
    assert difference(layer(x[order]), layer(x)[order]) < 1e-12


def test_a_sequence_does_not_depend_on_its_batch() -> None:
    """The batch-first trap, and leaking padding: alone or in company, the same output."""
    torch.manual_seed(0)
    layer = MultiHeadAttention(8, 2).double()
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    mask = padding_mask([2, 5, 4], 5)[:, None, :]
    assert difference(layer(x, mask=mask)[0, :2], layer(x[0, :2])) < 1e-12


def test_dropout_only_while_training() -> None:
    torch.manual_seed(0)
    layer = MultiHeadAttention(8, 2, dropout=0.5)
    x = torch.randn(2, 5, 8)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


# ---- what section 2.3 defines in its cells ----------------------------------------------------


def test_the_section_defines_the_same_functions() -> None:
    sources = [
        "".join(cell["source"])
        for cell in json.loads(SECTION.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]
    cells: dict = {"np": np, "torch": torch}
    for source in sources:
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef) and hasattr(attention, node.name):
                exec(compile(ast.Module([node], []), SECTION.name, "exec"), cells)

    mask = attention.causal_mask(7) & attention.padding_mask([7, 4, 1], 7)[:, None, :]
    assert torch.equal(cells["causal_mask"](7), attention.causal_mask(7))
    assert torch.equal(cells["padding_mask"]([7, 0, 4], 7), attention.padding_mask([7, 0, 4], 7))
    x = torch.randn(3, 7, 12, dtype=torch.float64)
    for name, arguments in {
        "scaled_dot_product_attention": (x, x.flip(1), x[..., :5], mask),
        "sinusoidal_positions": (9, 6),
        "apply_rotary": (x, torch.arange(7)),
        "split_heads": (x, 4),
        "merge_heads": (x[:, None].expand(3, 2, 7, 12),),
    }.items():
        theirs = getattr(attention, name)(*arguments)
        assert difference(cells[name](*arguments), theirs) < 1e-6, name

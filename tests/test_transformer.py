"""The Transformer layer against torch's own, and what a causal layer must not see."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from recsys_lab.attention import MultiHeadAttention, causal_mask, padding_mask
from recsys_lab.transformer import FeedForward, Transformer, TransformerLayer

SECTION = Path(__file__).resolve().parents[1] / "chapters/3_transformer_layer/1_one_layer.ipynb"
N_SEQUENCES, N, D, N_HEADS, D_INNER = 3, 5, 8, 2, 12
LENGTHS = torch.tensor([5, 2, 4])
TORCH = {False: nn.TransformerEncoderLayer, True: nn.TransformerDecoderLayer}


def copy_attention(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    """Torch keeps query, key and value in one matrix."""
    parts = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        for part, weight, bias in zip(
            parts, theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3)
        ):
            part.weight.copy_(weight)
            part.bias.copy_(bias)
    ours.output.load_state_dict(theirs.out_proj.state_dict())


def copy_layer(ours: TransformerLayer, theirs: nn.Module) -> None:
    copy_attention(ours.attention, theirs.self_attn)
    norms = [ours.attention_norm, ours.feed_forward_norm]
    if ours.cross:
        copy_attention(ours.cross_attention, theirs.multihead_attn)
        norms.insert(1, ours.cross_norm)
    for number, norm in enumerate(norms, start=1):
        norm.load_state_dict(getattr(theirs, f"norm{number}").state_dict())
    ours.feed_forward.inner.load_state_dict(theirs.linear1.state_dict())
    ours.feed_forward.outer.load_state_dict(theirs.linear2.state_dict())


def pair(norm_first: bool, activation: str, cross: bool, dropout: float = 0.1):
    """Torch's layer with no parameter at its default of zero or one, and ours with a copy."""
    theirs = TORCH[cross](
        D, N_HEADS, D_INNER, dropout, activation, batch_first=True, norm_first=norm_first
    )
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.5)
    ours = TransformerLayer(D, N_HEADS, D_INNER, dropout, norm_first, activation, cross)
    copy_layer(ours, theirs)
    return ours.eval(), theirs.eval()


def gradients(layer: nn.Module, output: Tensor, inputs: list[Tensor], weight: Tensor):
    """Of one scalar, with respect to the inputs and to what both layers hold as one tensor."""
    layer.zero_grad()
    found = list(torch.autograd.grad((output * weight).sum(), inputs, retain_graph=True))
    (output * weight).sum().backward()
    if isinstance(layer, TransformerLayer):
        attentions = [layer.attention] + ([layer.cross_attention] if layer.cross else [])
        for a in attentions:
            found += [torch.cat([p.weight.grad for p in (a.query, a.key, a.value)])]
            found += [torch.cat([p.bias.grad for p in (a.query, a.key, a.value)])]
            found += [a.output.weight.grad]
        found += [layer.feed_forward.inner.weight.grad, layer.feed_forward.outer.bias.grad]
        found += [layer.attention_norm.weight.grad, layer.feed_forward_norm.bias.grad]
        return found
    attentions = [layer.self_attn] + ([layer.multihead_attn] if hasattr(layer, "norm3") else [])
    for a in attentions:
        found += [a.in_proj_weight.grad, a.in_proj_bias.grad, a.out_proj.weight.grad]
    last = layer.norm3 if hasattr(layer, "norm3") else layer.norm2
    found += [layer.linear1.weight.grad, layer.linear2.bias.grad]
    return [*found, layer.norm1.weight.grad, last.bias.grad]


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_equals_torch_encoder_layer(norm_first, activation, padded, is_causal):
    torch.manual_seed(0)
    ours, theirs = pair(norm_first, activation, cross=False)
    x = torch.randn(N_SEQUENCES, N, D, requires_grad=True)
    real = padding_mask(LENGTHS, N)
    output = ours(x, mask=real[:, None] if padded else None, is_causal=is_causal)
    expected = theirs(
        x,
        src_mask=~causal_mask(N) if is_causal else None,  # torch: True = may not attend
        src_key_padding_mask=~real if padded else None,
    )
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)
    weight = torch.randn_like(output)
    for got, wanted in zip(
        gradients(ours, output, [x], weight), gradients(theirs, expected, [x], weight), strict=True
    ):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_equals_torch_decoder_layer(norm_first, activation):
    torch.manual_seed(1)
    ours, theirs = pair(norm_first, activation, cross=True)
    x = torch.randn(N_SEQUENCES, 4, D, requires_grad=True)
    context = torch.randn(N_SEQUENCES, N, D, requires_grad=True)
    real, real_context = padding_mask(torch.tensor([4, 1, 3]), 4), padding_mask(LENGTHS, N)
    output = ours(x, real[:, None], True, context, real_context[:, None])
    expected = theirs(
        x,
        context,
        tgt_mask=~causal_mask(4),
        tgt_key_padding_mask=~real,
        memory_key_padding_mask=~real_context,
    )
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)
    weight = torch.randn_like(output)
    inputs = [x, context]
    for got, wanted in zip(
        gradients(ours, output, inputs, weight),
        gradients(theirs, expected, inputs, weight),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("norm_first", [False, True])
def test_stack_equals_torch(norm_first):
    torch.manual_seed(2)
    theirs = pair(norm_first, "gelu", cross=False)[1]
    final = nn.LayerNorm(D) if norm_first else None
    expected_stack = nn.TransformerEncoder(theirs, 3, norm=final, enable_nested_tensor=False)
    for parameter in expected_stack.layers.parameters():
        nn.init.normal_(parameter, std=0.5)  # torch starts from copies of one layer
    stack = Transformer(3, D, N_HEADS, D_INNER, norm_first=norm_first)
    for layer, other in zip(stack.layers, expected_stack.layers):
        copy_layer(layer, other)
    x = torch.randn(N_SEQUENCES, N, D)
    torch.testing.assert_close(stack.eval()(x), expected_stack.eval()(x), atol=1e-5, rtol=1e-5)
    assert isinstance(stack.norm, nn.LayerNorm) == norm_first


@pytest.mark.parametrize("norm_first", [False, True])
def test_causal_stack_sees_no_future(norm_first):
    torch.manual_seed(3)
    stack = Transformer(3, D, N_HEADS, norm_first=norm_first).eval()
    x = torch.randn(2, 6, D, requires_grad=True)
    output = stack(x, is_causal=True)
    for t in range(6):
        changed = x.detach().clone()
        changed[:, t + 1 :] = 100 * torch.randn_like(changed[:, t + 1 :])
        assert torch.equal(stack(changed, is_causal=True)[:, : t + 1], output[:, : t + 1])
        (gradient,) = torch.autograd.grad(output[:, t].square().sum(), x, retain_graph=True)
        assert (gradient[:, t + 1 :] == 0).all()
        assert (gradient[:, : t + 1] != 0).any(dim=-1).all()  # and all of the past
    assert not torch.equal(stack(changed), output)


def test_padding_is_never_read():
    torch.manual_seed(4)
    stack = Transformer(2, D, N_HEADS).eval()
    x = torch.randn(N_SEQUENCES, N, D)
    real = padding_mask(LENGTHS, N)
    noisy = torch.where(real[..., None], x, 1e3 * torch.randn_like(x))
    output, moved = (stack(y, mask=real[:, None]) for y in (x, noisy))
    assert torch.equal(output[real], moved[real])
    assert not torch.allclose(stack(x)[real], stack(noisy)[real])


def test_sequence_without_any_real_position_stays_finite():
    stack = Transformer(2, D, N_HEADS, dropout=0.0)
    x = torch.randn(2, N, D, requires_grad=True)
    real = padding_mask(torch.tensor([N, 0]), N)
    stack(x, mask=real[:, None], is_causal=True).sum().backward()
    assert x.grad.isfinite().all()


def test_sequences_do_not_mix():
    """The batch-first trap: one user's output must not move with another user's history."""
    torch.manual_seed(5)
    layer = TransformerLayer(D, N_HEADS).eval()
    x = torch.randn(N, N, D)  # as many sequences as positions: the case where shapes hide it
    changed = x.clone()
    changed[1:] = torch.randn_like(changed[1:])
    assert torch.equal(layer(x)[0], layer(changed)[0])
    assert not torch.allclose(layer(x)[1], layer(changed)[1])


@pytest.mark.parametrize("part", ["weights", "inner", "added"])
def test_dropout_is_off_in_eval_and_active_in_training(part):
    torch.manual_seed(6)
    layer = TransformerLayer(D, N_HEADS, dropout=0.5)
    keep = {"weights": layer.attention, "inner": layer.feed_forward.dropout, "added": layer.dropout}
    for module in (layer.feed_forward.dropout, layer.dropout, layer.attention):
        if module is not keep[part]:
            module.eval()
    x = torch.randn(N_SEQUENCES, N, D)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


def test_no_dropout_trains_as_it_evaluates():
    layer = TransformerLayer(D, N_HEADS, dropout=0.0)
    x = torch.randn(N_SEQUENCES, N, D)
    torch.testing.assert_close(layer.train()(x), layer.eval()(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("d", "d_inner"), [(2, 8), (8, 12), (64, None)])
def test_parameter_count(d, d_inner):
    layer = TransformerLayer(d, 2, d_inner)
    d_inner = d_inner or 4 * d
    expected = 4 * d**2 + 4 * d + 2 * d * d_inner + d_inner + d + 4 * d
    assert sum(p.numel() for p in layer.parameters()) == expected
    if (d, d_inner) == (2, 8):
        assert expected == 74
    cross = TransformerLayer(d, 2, d_inner, cross=True)
    assert sum(p.numel() for p in cross.parameters()) == expected + 4 * d**2 + 4 * d + 2 * d


def test_feed_forward_treats_positions_alike():
    feed_forward = FeedForward(D, D_INNER, "relu")
    x = torch.randn(N_SEQUENCES, N, D)
    torch.testing.assert_close(feed_forward(x)[1, 2], feed_forward(x[1, 2]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": torch.zeros(N, D)}, r"x has shape \(5, 8\); expected \(n_sequences, n, 8\)"),
        ({"x": torch.zeros(3, N, D + 1)}, r"expected \(n_sequences, n, 8\)"),
        ({"mask": torch.ones(N, N).tril()}, "expected torch.bool"),
        ({"mask": torch.ones(N, N, dtype=torch.bool)}, r"mask\[:, None\].*mask\[None\]"),
        ({"mask": torch.ones(2, N, N, dtype=torch.bool)}, r"expected \(3, 5, 5\) or \(3, 1, 5\)"),
        ({"mask": torch.ones(3, 1, 1, N, dtype=torch.bool)}, r"expected \(3, 5, 5\)"),
        ({"context": torch.zeros(3, 2, D)}, "needs a layer with cross=True"),
        ({"context_mask": torch.ones(3, 1, 2, dtype=torch.bool)}, "without a context"),
    ],
)
def test_errors_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        TransformerLayer(D, N_HEADS)(**{"x": torch.zeros(3, N, D)} | arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "cross=True needs a context"),
        ({"context": torch.zeros(2, 4, D)}, "context has 2 sequences and x has 3"),
        ({"context": torch.zeros(3, 4, D + 1)}, "context has shape"),
        (
            {
                "context": torch.zeros(3, 4, D),
                "context_mask": torch.ones(3, 1, 5, dtype=torch.bool),
            },
            r"context_mask has shape \(3, 1, 5\); expected \(3, 5, 4\)",
        ),
    ],
)
def test_errors_of_a_decoder_layer(arguments, message):
    with pytest.raises(ValueError, match=message):
        TransformerLayer(D, N_HEADS, cross=True)(torch.zeros(3, N, D), **arguments)


def test_errors_of_construction():
    with pytest.raises(ValueError, match="choose from relu, gelu"):
        TransformerLayer(D, N_HEADS, activation="swish")
    with pytest.raises(ValueError):
        TransformerLayer(D, 3)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_section_derives_the_same_layer(norm_first, activation):
    names = {"nn": nn, "MultiHeadAttention": MultiHeadAttention}
    for cell in json.loads(SECTION.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and "class " in source:
            for node in ast.parse(source).body:
                if getattr(node, "name", "") in ("FeedForward", "TransformerLayer"):
                    exec(compile(ast.Module([node], []), SECTION.name, "exec"), names)
    derived = names["TransformerLayer"](D, N_HEADS, D_INNER, 0.1, norm_first, activation)
    packaged = TransformerLayer(D, N_HEADS, D_INNER, 0.1, norm_first, activation)
    packaged.load_state_dict(derived.state_dict())
    x, real = torch.randn(N_SEQUENCES, N, D), padding_mask(LENGTHS, N)[:, None]
    expected = packaged.eval()(x, real, True)
    torch.testing.assert_close(derived.eval()(x, real, True), expected, atol=1e-6, rtol=0)

"""Low-rank adaptation against `peft`, and what must hold of any of it."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from recsys_lab.language.lora import (
    LoRALinear,
    add_lora,
    load_lora,
    lora_parameters,
    merge,
    save_lora,
)
from recsys_lab.training import train

TOKENS = torch.arange(24).reshape(2, 12) * 7 % 50


def llama(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return LlamaForCausalLM(config).eval()


def trained(seed: int = 0, **how) -> LlamaForCausalLM:
    """A small LLaMA whose corrections are not zero."""
    model = add_lora(llama(seed), **({"rank": 3, "alpha": 5.0} | how))
    torch.manual_seed(1)
    for parameter in lora_parameters(model).values():
        nn.init.normal_(parameter, std=0.3)
    return model


def test_one_layer_by_hand() -> None:
    layer = LoRALinear(nn.Linear(2, 2, bias=False), rank=1, alpha=2.0)
    layer.base.weight.data = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    layer.lora_a.data = torch.tensor([[1.0, 3.0]])
    layer.lora_b.data = torch.tensor([[1.0], [2.0]])
    # delta = 2/1 * [[1, 3], [2, 6]]
    assert layer.delta().tolist() == [[2.0, 6.0], [4.0, 12.0]]
    x = torch.tensor([[1.0, 1.0]])
    assert layer(x).tolist() == [[11.0, 17.0]]
    assert layer.merged()(x).tolist() == [[11.0, 17.0]]


def test_a_new_layer_changes_nothing_and_only_b_has_a_gradient() -> None:
    base = nn.Linear(5, 4)
    layer, x = LoRALinear(base, rank=2), torch.randn(3, 5)
    assert torch.equal(layer(x), base(x))
    layer(x).square().sum().backward()
    assert layer.lora_a.grad.abs().max() == 0 < layer.lora_b.grad.abs().max()
    assert base.weight.grad is None and base.bias.grad is None


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("down_proj",)])
def test_forward_and_gradient_are_those_of_peft(targets: tuple[str, ...]) -> None:
    peft = pytest.importorskip("peft")
    ours = trained(targets=targets)
    config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=list(targets))
    theirs = peft.get_peft_model(llama(), config)
    names = {  # ours -> theirs
        name: "base_model.model."
        + name.replace("/", ".").replace("lora_a", "lora_A.default.weight")
        for name in lora_parameters(ours)
    }
    names = {
        name: there.replace("lora_b", "lora_B.default.weight") for name, there in names.items()
    }
    other = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, there in names.items():
            other[there].copy_(lora_parameters(ours)[name])
    logits = [model(TOKENS).logits for model in (ours, theirs)]
    assert torch.allclose(*logits, atol=1e-5)
    assert not torch.allclose(logits[0], llama()(TOKENS).logits, atol=1e-2)
    for model in (ours, theirs):
        model(TOKENS, labels=TOKENS).loss.backward()
    for name, there in names.items():
        gradient = lora_parameters(ours)[name].grad
        assert torch.allclose(gradient, other[there].grad, atol=1e-5) and gradient.any()
    wanted = {there for there, parameter in other.items() if parameter.requires_grad}
    assert wanted == set(names.values())


def test_the_counts() -> None:
    model = add_lora(llama(), rank=3)
    sizes = [parameter.numel() for parameter in model.parameters() if parameter.requires_grad]
    assert sum(sizes) == 2 * (3 * (24 + 24) + 3 * (24 + 12))  # q (24, 24) and v (12, 24), 2 layers
    assert sum(p.numel() for p in lora_parameters(model).values()) == sum(sizes)


def test_merged_weights_give_the_same_logits() -> None:
    model = trained()
    before = model(TOKENS).logits
    merge(model)
    assert torch.allclose(model(TOKENS).logits, before, atol=1e-5)
    assert not any(isinstance(part, LoRALinear) for part in model.modules())
    assert type(model.model.layers[0].self_attn.q_proj) is nn.Linear
    assert not lora_parameters(model)


def test_merging_leaves_a_shared_weight_alone() -> None:
    embedding, head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
    head.weight = embedding.weight
    model, before = nn.ModuleDict({"embedding": embedding, "head": head}), embedding.weight.clone()
    add_lora(model, rank=2, targets="head")
    nn.init.ones_(model["head"].lora_b)
    merge(model)
    assert torch.equal(model["embedding"].weight, before)
    assert not torch.allclose(model["head"].weight, before)


def test_targets_that_match_nothing_are_named() -> None:
    model = llama()
    with pytest.raises(ValueError, match=r"named \['query'\]: the model has .*k_proj.*q_proj"):
        add_lora(model, targets=("q_proj", "query"))
    assert all(parameter.requires_grad for parameter in model.parameters())  # nothing was changed
    with pytest.raises(ValueError, match="no linear layer"):
        add_lora(model, targets=())
    with pytest.raises(ValueError, match="rank is 13: choose 1 to 12"):
        add_lora(model, rank=13, targets="v_proj")


def test_a_saved_correction_comes_back_on_a_fresh_model(tmp_path: Path) -> None:
    model, path = trained(), tmp_path / "lora.safetensors"
    save_lora(model, path)
    assert path.stat().st_size < 10_000 and list(tmp_path.iterdir()) == [path]
    again = load_lora(llama(), path)
    assert torch.equal(again(TOKENS).logits, model(TOKENS).logits)
    with pytest.raises(ValueError, match="has no LoRA layer"):
        save_lora(llama(), path)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    for content in (b"", b"no tensors"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="no file written by save_lora"):
            load_lora(llama(), path)
    with pytest.raises(ValueError, match="no file written by save_lora"):
        load_lora(llama(), tmp_path / "absent")
    save_lora(trained(), path)
    other = LlamaForCausalLM(LlamaConfig(**(llama().config.to_dict() | {"num_hidden_layers": 1})))
    with pytest.raises(ValueError, match="made for another model"):
        load_lora(other, path)


class Killed(Exception):
    """What ends the first run."""


def test_training_goes_on_where_it_was_killed_and_keeps_the_corrections_alone(tmp_path: Path):
    def run(checkpoint: Path | None, kill_at: int | None = None):
        torch.manual_seed(2)
        model = add_lora(llama(), rank=3)

        def batches(epoch: int):
            if epoch == kill_at:
                raise Killed
            order = torch.randperm(2, generator=torch.Generator().manual_seed(epoch))
            return [TOKENS[order[:1]], TOKENS[order[1:]]]

        loss = lambda tokens: model(tokens, labels=tokens).loss  # noqa: E731
        history = train(
            lora_parameters(model), batches, loss, n_epochs=5, lr=1e-2, checkpoint=checkpoint
        )
        return history, model

    file = tmp_path / "lora.pt"
    with pytest.raises(Killed):
        run(file, kill_at=3)
    saved = torch.load(file, weights_only=True)["model"]
    assert all(name.endswith(("lora_a", "lora_b")) for name in saved) and len(saved) == 8
    history, model = run(file)
    whole, expected = run(None)
    assert history["loss"].tolist() == whole["loss"].tolist()
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    for name, parameter in lora_parameters(expected).items():
        assert torch.equal(parameter, lora_parameters(model)[name])
    untouched = dict(llama().named_parameters())
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    for name in frozen:
        assert torch.equal(model.get_parameter(name), untouched[name.replace(".base.", ".")])

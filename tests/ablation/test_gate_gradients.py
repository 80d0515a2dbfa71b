"""Gradients by the gates of all heads, on every family, in padded batches with images and without."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from oracles import CASES, FAMILIES
from tiny_prompts import build
from tiny_random import HEADS, LAYERS, MODELS
from torch import Tensor

from hawk.ablation.ablate_heads import AblateHeads
from hawk.ablation.gate_gradients import gate_gradients, head_gates
from hawk.core.heads import Head
from hawk.inference.margins import FirstTokens
from hawk.models import family_of

TOKENS = [FirstTokens((30,)), FirstTokens((31,), (40, 41)), FirstTokens((32,), None), FirstTokens((33, 34))]


def double(family: str) -> torch.nn.Module:
    return copy.deepcopy(MODELS[family]("sdpa")).double()


def inputs_of(family: str, rows: list[list[Any]], draws: list[int] | None = None) -> dict[str, Tensor]:
    inputs = build(family, rows, draws)
    return {key: value.double() if value.is_floating_point() else value for key, value in inputs.items()}


@torch.no_grad()
def pairs(model: torch.nn.Module, inputs: dict[str, Tensor]) -> list[tuple[int, int]]:
    """Per row the best right and the best wrong first token."""
    out = []
    for row, own in zip(model(**inputs).logits[:, -1].tolist(), TOKENS, strict=False):
        wrong = own.wrong or [token for token in range(len(row)) if token not in own.right]
        out.append((max(own.right, key=row.__getitem__), max(wrong, key=row.__getitem__)))
    return out


@torch.no_grad()
def plain_margins(model: torch.nn.Module, inputs: dict[str, Tensor], of: list[tuple[int, int]]) -> Tensor:
    """Of these two tokens, by the model alone; none where a row has no margin."""
    logprobs = model(**inputs).logits[:, -1].log_softmax(-1)
    found = [row[right] - row[wrong] for row, (right, wrong) in zip(logprobs, of, strict=True)]
    nan = torch.tensor(torch.nan, dtype=torch.float64)
    return torch.stack([nan if own.wrong is None else one for own, one in zip(TOKENS, found, strict=False)])


@torch.no_grad()
def differences(model: torch.nn.Module, inputs: dict[str, Tensor], step: float = 0.02) -> Tensor:
    """[rows, layers, heads]: a head's columns of ``o_proj.weight`` a little larger and a little smaller.

    Of two steps, to fourth order: norms are float32 in any model, and a small step would show their rounding.
    """
    best = pairs(model, inputs)  # a gradient knows no other: where it changes, the margin has a kink
    found = torch.zeros(len(inputs["input_ids"]), LAYERS, HEADS, dtype=torch.float64)
    for layer in range(LAYERS):
        weight = family_of(model).output_projection(model, layer).weight
        width, before = weight.shape[1] // HEADS, weight.clone()
        for head in range(HEADS):
            sides = []
            for change in (step, -step, step / 2, -step / 2):
                weight[:, head * width : (head + 1) * width] *= 1 + change
                sides.append(plain_margins(model, inputs, best))
                weight.copy_(before)
            wide, narrow = (sides[0] - sides[1]) / (2 * step), (sides[2] - sides[3]) / step
            found[:, layer, head] = (4 * narrow - wide) / 3
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_finite_differences_of_the_weights(family: str) -> None:
    model, inputs = double(family), inputs_of(family, CASES["mixed"])
    found, slopes = gate_gradients(model, inputs, TOKENS, range(LAYERS))
    found = found.double()
    expected = plain_margins(model, inputs, pairs(model, inputs))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5, equal_nan=True)
    expected = differences(model, inputs)
    torch.testing.assert_close(slopes.double(), expected, rtol=0, atol=1e-4, equal_nan=True)
    assert slopes[2].isnan().all()  # it has no margin
    there = [0, 1, 3]
    for wrong in (expected.flip(2), expected.flip(1), expected.roll(1, 0)):  # heads, layers, rows
        assert (slopes[there] - wrong[there].nan_to_num()).abs().max() > 1e-3
    # Some layers alone, and a row alone, are the same.
    torch.testing.assert_close(
        gate_gradients(model, inputs, TOKENS, [2])[1], slopes[:, [2]], equal_nan=True, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("family", ["qwen2_5_vl", "internvl"])
def test_of_a_linear_model_the_estimate_is_the_drop(family: str) -> None:
    """The last layer without what stands behind its attention: the margin is linear in its gates."""
    model, inputs, last = double(family), inputs_of(family, CASES["mixed"][:2]), LAYERS - 1
    decoder = family_of(model).decoder(model)
    decoder.norm = torch.nn.Identity()
    decoder.layers[last].mlp.down_proj.weight.zero_()
    tokens = [FirstTokens((30,), (50,)), FirstTokens((31,), (40,))]
    found, slopes = gate_gradients(model, inputs, tokens, [last])

    def drops(layer: int) -> Tensor:
        gone = []
        for head in range(HEADS):
            with torch.no_grad(), AblateHeads([Head(layer, head)]).attach(model):
                logits = model(**inputs).logits[:, -1]
            ablated = [
                logits[row, own.right[0]] - logits[row, own.wrong[0]] for row, own in enumerate(tokens)
            ]
            gone.append(found.double() - torch.stack(ablated))
        return torch.stack(gone, dim=1)

    torch.testing.assert_close(slopes[:, 0].double(), drops(last), rtol=1e-5, atol=1e-5)
    assert (slopes[:, 0] - drops(last).flip(1)).abs().max() > 1e-2
    # Control: below, nothing is linear, and an estimate is only an estimate.
    estimate = gate_gradients(model, inputs, tokens, [0])[1][:, 0]
    assert (estimate - drops(0)).abs().max() > 1e-3


def test_the_model_is_as_before() -> None:
    model, inputs = double("qwen2_5_vl"), inputs_of("qwen2_5_vl", CASES["one"])
    weight = family_of(model).output_projection(model, 0).weight.requires_grad_(True)
    before = model(**inputs).logits.detach()
    gate_gradients(model, inputs, TOKENS[:1], [0, 1])
    with pytest.raises(RuntimeError, match="stop"), head_gates(model, [0], 1) as gates:
        assert not weight.requires_grad
        gates[0].data.zero_()
        assert not torch.equal(model(**inputs).logits, before)
        raise RuntimeError("stop")
    assert weight.requires_grad
    assert weight.grad is None
    assert torch.equal(model(**inputs).logits, before)

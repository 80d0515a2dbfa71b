"""Attention of packed vision towers in one call."""

from __future__ import annotations

import copy
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from tiny_prompts import Image, build
from tiny_random import MODELS

from hawk.core.errors import InputError
from hawk.models import family_of, packed

PROMPT: list[list[Any]] = [[Image(4, 6), 20, Image(8, 8)]]
PACKED = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]


def by_window(query: Any, key: Any, value: Any, bounds: Any, *given: Any, scale: float) -> Any:
    """What torch's kernel computes, window by window; [T, heads, d]."""
    ends, longest = bounds.tolist(), given[1]
    assert max(end - begin for begin, end in zip(ends[:-1], ends[1:], strict=True)) == longest
    parts = []
    for begin, end in zip(ends[:-1], ends[1:], strict=True):
        q, k, v = (states[begin:end].transpose(0, 1) for states in (query, key, value))
        weights = (q @ k.transpose(1, 2) * scale).softmax(-1)
        parts.append((weights @ v).transpose(0, 1))
    return torch.cat(parts)


def features(model: Any, inputs: Any) -> list[torch.Tensor]:
    with torch.no_grad():
        return [item.features.float() for item in family_of(model).encode(model, inputs)["image"]]


@pytest.mark.parametrize("family", PACKED)
def test_the_tower_sees_its_windows_and_the_language_model_stays(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = ModuleType("torch.nn.attention.varlen")
    kernel.varlen_attn = by_window  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", kernel)
    model, inputs = copy.deepcopy(MODELS[family]()), build(family, PROMPT)
    expected = features(model, inputs)
    packed.use(model)
    assert model.config.text_config._attn_implementation == "sdpa"
    for found, wanted in zip(features(model, inputs), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    # The control: one window over everything is another attention.
    kernel.varlen_attn = lambda q, k, v, *others, scale: by_window(  # type: ignore[attr-defined]
        q, k, v, torch.tensor([0, len(q)]), None, len(q), scale=scale
    )
    mixed = features(model, inputs)
    assert max(float((a - b).abs().max()) for a, b in zip(mixed, expected, strict=True)) > 1e-3


def test_where_it_cannot_be_it_is_refused() -> None:
    qwen, other = (family_of(MODELS[name]()) for name in ("qwen2_5_vl", "internvl"))
    with pytest.raises(InputError, match="'varlen' is for Qwen's vision towers; 'internvl' is to use sdpa"):
        packed.check(other, "bfloat16", "cuda")
    with pytest.raises(InputError, match="this model is on 'cpu' in 'bfloat16'"):
        packed.check(qwen, "bfloat16", "cpu")
    with pytest.raises(InputError, match="this model is on 'cuda' in 'float32'"):
        packed.check(qwen, "float32", "cuda")
    packed.check(qwen, "float16", "cuda:1")


@pytest.mark.gpu
@pytest.mark.parametrize("family", PACKED)
def test_on_cuda(family: str) -> None:
    inputs = {k: v.cuda() for k, v in build(family, PROMPT).items()}
    model = copy.deepcopy(MODELS[family]()).cuda().to(torch.bfloat16)
    expected = features(model, inputs)
    packed.use(model)
    for found, wanted in zip(features(model, inputs), expected, strict=True):
        assert (found - wanted).norm() < 0.03 * wanted.norm()

"""FastV is the model in which removed columns are masked in layers >= K and nowhere else.

The oracle keeps the whole sequence and changes only the attention masks of those layers, so it
shares with the code under test neither gathering, nor caches of two lengths, nor positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from oracles import CASES, FAMILIES, NEW, generate, pruned, stacked, swapped, visual
from tiny_prompts import Image, build
from tiny_random import IMAGE, LAYERS, MODELS, VIDEO
from torch import Tensor

from hawk.core.errors import InputError
from hawk.models import family_of
from hawk.models.cache import given_cache
from hawk.pruning.methods.fastv import FastV
from hawk.pruning.prompt import prune

TOLERANCE = 1e-5


@contextmanager
def masked_from(model: torch.nn.Module, layer: int, gone: Tensor) -> Iterator[None]:
    """In layers >= ``layer`` the columns of ``gone`` [batch, T] get no attention."""

    def hook(module, args, kwargs):
        hidden, cache = args[0], given_cache(kwargs)
        queries = hidden.shape[1]
        total = queries
        if cache is not None:
            total += int(cache.get_seq_length(module.self_attn.layer_idx))
        hidden_columns = torch.zeros(len(gone), total, dtype=torch.bool)
        hidden_columns[:, : gone.shape[1]] = gone | padding
        allowed = torch.ones(queries, total, dtype=torch.bool).tril(total - queries)
        allowed = allowed & ~hidden_columns.repeat_interleave(len(hidden) // len(gone), 0)[:, None]
        # A row that may see nothing would be NaN under softmax; what it says is never read.
        allowed[:, torch.arange(queries), torch.arange(total - queries, total)] = True
        mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
        return args, {**kwargs, "attention_mask": mask[:, None]}

    padding = torch.zeros_like(gone)
    handles = [
        module.register_forward_pre_hook(hook, with_kwargs=True)
        for module in family_of(model).layers(model)[layer:]
    ]
    try:
        yield padding
    finally:
        for handle in handles:
            handle.remove()


def removed(inputs: dict[str, Tensor], kept: list[Tensor]) -> Tensor:
    gone = visual(inputs).clone()
    for row, index in enumerate(kept):
        where = gone[row].nonzero().flatten()
        gone[row, where[index]] = False
    return gone


def oracle(model, inputs, kept, layer, **options) -> Any:
    with masked_from(model, layer, removed(inputs, kept)) as padding:
        padding |= inputs["attention_mask"] == 0
        return generate(model, **inputs, **options)


@pytest.mark.parametrize("layer", range(1, LAYERS))
@pytest.mark.parametrize("family", FAMILIES)
def test_fastv_is_masked_from_layer_k(family, layer):
    model = MODELS[family]()
    inputs = build(family, CASES["mixed"])
    pruner = FastV(pruning_ratio=0.6, layer=layer)
    out = pruned(model, pruner, inputs)
    kept, tokens = pruner.last.kept_index, pruner.last.visual_tokens
    assert pruner.last.kept_tokens == [pruner.count(n) for n in tokens]
    expected = oracle(model, inputs, kept, layer)
    torch.testing.assert_close(stacked(out), stacked(expected), rtol=0, atol=TOLERANCE)
    assert torch.equal(out.sequences, expected.sequences)
    assert out.sequences.shape[1] == inputs["input_ids"].shape[1] + NEW

    # Negative controls: other kept tokens, and another layer, must be told apart.
    rows = torch.tensor(tokens) > 0
    for other in (
        oracle(model, inputs, swapped(kept, tokens), layer),
        oracle(model, inputs, kept, layer + 1 if layer + 1 < LAYERS else layer - 1),
    ):
        moved = (out.logits[0] - other.logits[0]).abs().amax(-1)
        assert (moved[rows] > 1e-3).all()
        assert (moved[~rows] < TOLERANCE).all()


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 3, "num_return_sequences": 2},
        {"cache_implementation": "static"},
        # A random model may say a placeholder, which a pass without cache takes for an image.
        {"use_cache": False, "suppress_tokens": [IMAGE, VIDEO]},
        {"repetition_penalty": 1.3},
    ],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "internvl"])
def test_generate_features(family, attention, options):
    model = MODELS[family](attention)
    inputs = build(family, CASES["mixed"])
    pruner = FastV(pruning_ratio=0.6, layer=1)
    out = pruned(model, pruner, inputs, **options)
    # The oracle's masks are as wide as a dynamic cache.
    plain = {k: v for k, v in options.items() if k not in ("cache_implementation", "use_cache")}
    expected = oracle(model, inputs, pruner.last.kept_index, 1, **plain)
    assert torch.equal(out.sequences, expected.sequences)


@pytest.mark.parametrize("family", FAMILIES)
def test_score_is_the_eager_attention_row(family):
    model = MODELS[family]("eager")
    inputs = build(family, [[Image(2, 3), 20, 21, 22]])
    layer = 2
    full = model(**inputs, output_attentions=True).attentions[layer - 1]
    row = full[0, :, -1].mean(0)[visual(inputs)[0]]
    pruner = FastV(pruning_ratio=0.5, layer=layer)
    pruned(model, pruner, inputs)
    best = torch.sort(row, descending=True, stable=True).indices[: pruner.count(len(row))]
    assert torch.equal(pruner.last.kept_index[0], best.sort().values)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "internvl"])
def test_teacher_forcing_two_steps_and_one(family):
    """Prefill then a continuation of several tokens, and one pass over both, as scoring does."""
    model = MODELS[family]()
    inputs = build(family, CASES["mixed"])
    pruner = FastV(pruning_ratio=0.6, layer=1)
    handle = family_of(model)
    prompt = prune(pruner, model, handle, inputs)
    answer = torch.tensor([[30, 31, 32]]).expand(len(prompt.input_ids), -1)
    ahead = prompt.position_ids[..., -1:] + torch.arange(1, 4)
    mask = torch.cat([prompt.attention_mask, torch.ones_like(answer)], 1)
    with pruner.hooks(model, handle, prompt):
        first = model(**prompt.kwargs(), use_cache=True, logits_to_keep=1)
        more = model(
            input_ids=answer,
            attention_mask=mask,
            position_ids=ahead,
            past_key_values=first.past_key_values,
        )
        once = model(
            **{
                **prompt.kwargs(),
                "input_ids": torch.cat([prompt.input_ids, answer], 1),
                "attention_mask": mask,
                "position_ids": torch.cat([prompt.position_ids, ahead], -1),
            },
            use_cache=True,
            logits_to_keep=4,
        )
    steps = torch.cat([first.logits, more.logits], 1)
    torch.testing.assert_close(steps, once.logits, rtol=0, atol=TOLERANCE)
    with masked_from(model, 1, removed(inputs, prompt.last.kept_index)) as padding:
        padding |= inputs["attention_mask"] == 0
        full = {
            **prompt.kwargs(),
            "input_ids": torch.cat([prompt.input_ids, answer], 1),
            "attention_mask": mask,
            "position_ids": torch.cat([prompt.position_ids, ahead], -1),
        }
        expected = model(**full, use_cache=True, logits_to_keep=4).logits
    torch.testing.assert_close(steps, expected, rtol=0, atol=TOLERANCE)


def test_hooks_are_gone_and_ratio_0_is_the_plain_model():
    model = MODELS["qwen3_vl"]()
    inputs = build("qwen3_vl", CASES["mixed"])
    before = generate(model, **inputs)
    same = pruned(model, FastV(pruning_ratio=0, layer=1), inputs)
    assert torch.equal(before.sequences, same.sequences)
    pruned(model, FastV(pruning_ratio=0.6, layer=1), inputs)
    hooked = FastV(pruning_ratio=0.6, layer=1)
    prompt = prune(hooked, model, family_of(model), inputs)
    with pytest.raises(RuntimeError), hooked.hooks(model, family_of(model), prompt):
        raise RuntimeError
    modules = list(model.modules())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in modules)
    assert torch.equal(stacked(generate(model, **inputs)), stacked(before))


def test_refusals():
    model = MODELS["qwen2_5_vl"]()
    family = family_of(model)
    inputs = build("qwen2_5_vl", CASES["one"])
    with pytest.raises(InputError, match="1 or more"):
        FastV(pruning_ratio=0.5, layer=0)
    with pytest.raises(InputError, match="position_policy"):
        FastV(pruning_ratio=0.5, position_policy="repack")
    with pytest.raises(InputError, match="below the model's 3"):
        prune(FastV(pruning_ratio=0.5, layer=3), model, family, inputs)
    pruner = FastV(pruning_ratio=0.5)
    prompt = prune(pruner, model, family, inputs)
    other = prune(FastV(pruning_ratio=0.5), model, family, build("qwen2_5_vl", CASES["several"]))
    with pytest.raises(InputError, match="other prompts"), pruner.hooks(model, family, prompt):
        model(**other.kwargs())


def test_a_second_prompt_in_one_generate_is_refused():
    """Guidance runs it through the same model, in the middle of the first one's decoding."""
    inputs, model = build("qwen2_5_vl", CASES["one"]), MODELS["qwen2_5_vl"]()
    with pytest.raises(InputError, match="guidance_scale runs a second prompt"):
        pruned(model, FastV(0.6), inputs, guidance_scale=2.0, negative_prompt_ids=torch.tensor([[20, 21]]))

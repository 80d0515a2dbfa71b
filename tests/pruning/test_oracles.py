"""Independent ways to compute the same thing, on every family; each with what must fail it.

1. Pruned generation is the unpruned sequence with the removed tokens masked, at their positions.
2. ``zero`` on a head is the model with that head's columns of ``o_proj.weight`` set to zero.
3. Ratio 0, nothing to ablate and prompts without an image are the plain model, token for token.
4. A sample alone is the same sample in a batch of unequal lengths.
5. The fast token score is the full text x vision matrix, averaged over text.
6. After a context ends, also by an exception, the model is as before.
"""

from __future__ import annotations

import copy

import pytest
import torch
from oracles import (
    CASES,
    FAMILIES,
    NEW,
    contexts_of,
    full_matrix_scores,
    generate,
    masked,
    pruned,
    stacked,
    swapped,
)
from tiny_prompts import Image, build
from tiny_random import HEADS, KV_HEADS, MODELS

from hawk.ablation.ablate_heads import AblateHeads
from hawk.core.heads import Head
from hawk.models import family_of
from hawk.pruning.methods.hawk import Hawk
from hawk.pruning.methods.random import Random
from hawk.pruning.prompt import prune

ATTENTION = ("sdpa", "eager")
TOLERANCE = 1e-5


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("family", FAMILIES)
def test_pruned_is_masked(family, case, attention):
    model = MODELS[family](attention)
    inputs = build(family, CASES[case])
    pruner = Random(pruning_ratio=0.6)
    out = pruned(model, pruner, inputs)
    kept, visual = pruner.last.kept_index, pruner.last.visual_tokens
    expected = masked(model, inputs, kept)
    torch.testing.assert_close(stacked(out), stacked(expected), rtol=0, atol=TOLERANCE)
    assert torch.equal(out.sequences, expected.sequences)
    assert out.sequences.shape[1] == inputs["input_ids"].shape[1] + NEW

    # Negative control: other kept tokens must be told apart in every row that has an image.
    other = masked(model, inputs, swapped(kept, visual))
    rows = torch.tensor(visual) > 0
    moved = (out.logits[0] - other.logits[0]).abs().amax(-1)
    assert (moved[rows] > 0.1).all()
    changed = (out.sequences != other.sequences).any(1)
    assert changed[rows].float().mean() >= 0.5
    assert not changed[~rows].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_repacked_positions_are_told_apart(family):
    """Negative control of oracle 1: the right tokens at other positions."""
    model = MODELS[family]()
    inputs = build(family, CASES["one"])
    keep = pruned(model, Random(pruning_ratio=0.6), inputs)
    repack = pruned(model, Random(pruning_ratio=0.6, position_policy="repack"), inputs)
    assert (keep.logits[0] - repack.logits[0]).abs().max() > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_row_swapped_is_told_apart(family):
    """Negative control of oracle 1: features of one row given to another."""
    model = MODELS[family]()
    inputs = build(family, [[Image(2, 2), 20, 21], [Image(2, 2), 20, 21]])
    pruner = Random(pruning_ratio=0.5)
    prompt = prune(pruner, model, family_of(model), inputs)
    right = generate(model, **prompt.kwargs())
    prompt.features = {m: torch.cat(f.chunk(2)[::-1]) for m, f in prompt.features.items()}
    prompt.levels = {
        m: tuple(torch.cat(level.chunk(2)[::-1]) for level in levels) for m, levels in prompt.levels.items()
    }
    wrong = generate(model, **prompt.kwargs())
    assert ((right.logits[0] - wrong.logits[0]).abs().amax(-1) > 0.1).all()


def test_deep_stack_levels_matter():
    """Qwen3-VL without its deep-stack levels is another model, so oracle 1 covers them."""
    model = MODELS["qwen3_vl"]()
    prompt = prune(Random(pruning_ratio=0.5), model, family_of(model), build("qwen3_vl", CASES["one"]))
    right = generate(model, **prompt.kwargs())
    prompt.levels = {m: tuple(torch.zeros_like(x) for x in ls) for m, ls in prompt.levels.items()}
    wrong = generate(model, **prompt.kwargs())
    assert (right.logits[0] - wrong.logits[0]).abs().max() > 0.1


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_zero_is_zeroed_columns(family, layer, attention):
    model = MODELS[family](attention)
    inputs = build(family, CASES["mixed"])
    edited = copy.deepcopy(model)
    projection = family_of(model).output_projection(edited, layer)
    width = projection.in_features // HEADS
    projection.weight[:, 2 * width : 3 * width] = 0
    expected = generate(edited, **inputs)
    plain = generate(model, **inputs)
    with AblateHeads([Head(layer, 2)]).attach(model):
        out = generate(model, **inputs)
    torch.testing.assert_close(stacked(out), stacked(expected), rtol=0, atol=TOLERANCE)
    assert torch.equal(out.sequences, expected.sequences)

    with AblateHeads([Head(layer, 1)]).attach(model):
        wrong_head = generate(model, **inputs)
    for other in (plain, wrong_head):
        assert (out.logits[0] - other.logits[0]).abs().max() > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_per_row(family):
    """One batch with another head per row, pruned and with beams: each row as in its own run."""
    model = MODELS[family]()
    row = [Image(2, 2), 20, 21]
    heads = [Head(0, 0), Head(0, 3), Head(1, 1)]
    pruner = Random(pruning_ratio=0.5)
    single = build(family, [row])
    same = build(family, [row] * 3, draws=[0, 0, 0])
    with AblateHeads([[head] for head in heads]).attach(model):
        together = pruned(model, pruner, same, num_beams=2)
    for i, head in enumerate(heads):
        with AblateHeads([head]).attach(model):
            alone = pruned(model, pruner, single, num_beams=2)
        assert torch.equal(together.sequences[i], alone.sequences[0])
        assert abs(together.sequences_scores[i] - alone.sequences_scores[0]) < TOLERANCE
    assert len(set(together.sequences_scores.tolist())) == 3  # the rows are told apart


@pytest.mark.parametrize("family", FAMILIES)
def test_mean_of_one_prompt(family):
    """The mean of a one-token input is that input, so ``mean`` with it changes nothing."""
    model = MODELS[family]()
    inputs = build(family, CASES["one"])
    projection = family_of(model).output_projection(model, 1)
    seen = []
    handle = projection.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(**inputs, use_cache=False)
    handle.remove()
    means = {1: seen[0].mean((0, 1))}
    with AblateHeads([Head(1, 2)], mode="mean", means=means).attach(model):
        captured = []
        handle = projection.register_forward_pre_hook(lambda m, args: captured.append(args[0]))
        model(**inputs, use_cache=False)
        handle.remove()
    width = projection.in_features // HEADS
    inside = slice(2 * width, 3 * width)
    expected = means[1][inside].expand_as(captured[0][..., inside])
    torch.testing.assert_close(captured[0][..., inside], expected, rtol=0, atol=TOLERANCE)
    others = [*range(2 * width), *range(3 * width, HEADS * width)]
    assert torch.equal(captured[0][..., others], seen[0][..., others])
    assert not torch.allclose(captured[0][..., inside], seen[0][..., inside])


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_to_do_is_the_plain_model(family):
    model = MODELS[family]()
    for case, pruner in (("mixed", Random(pruning_ratio=0)), ("text", Random(pruning_ratio=0.8))):
        inputs = build(family, CASES.get(case, [[20, 21, 22], [23, 24, 25, 26]]))
        for options in ({}, {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2}):
            plain = generate(model, **inputs, **options)
            out = pruned(model, pruner, inputs, **options)
            assert torch.equal(out.sequences, plain.sequences)
            assert torch.equal(stacked(out), stacked(plain))
            with AblateHeads([]).attach(model):
                ablated = generate(model, **inputs, **options)
            assert torch.equal(ablated.sequences, plain.sequences)
    # Negative control: the same call at another ratio.
    inputs = build(family, CASES["mixed"])
    out = pruned(model, Random(pruning_ratio=0.6), inputs)
    assert not torch.equal(out.sequences, generate(model, **inputs).sequences)


@pytest.mark.parametrize("family", FAMILIES)
def test_alone_is_as_in_a_batch(family):
    model = MODELS[family]()
    rows = CASES["mixed"]
    inputs = build(family, rows)
    pruner = Hawk(pruning_ratio=0.5)
    batch = pruned(model, pruner, inputs)
    kept = [index.tolist() for index in pruner.last.kept_index]
    length = inputs["input_ids"].shape[1]
    for row in range(len(rows)):
        alone = build(family, [rows[row]], draws=[row])
        out = pruned(model, pruner, alone)
        assert pruner.last.kept_index[0].tolist() == kept[row]
        new = out.sequences[0, alone["input_ids"].shape[1] :]
        assert torch.equal(new, batch.sequences[row, length:])
        torch.testing.assert_close(out.logits[0][0], batch.logits[0][row], rtol=0, atol=TOLERANCE)
        other = (row + 1) % len(rows)  # negative control: another row
        assert (out.logits[0][0] - batch.logits[0][other]).abs().max() > 0.1


@pytest.mark.parametrize("options", [{}, {"token_score_normalization": "standardize"}], ids=["l2", "std"])
@pytest.mark.parametrize("family", FAMILIES)
def test_fast_score_is_the_full_matrix(family, options):
    model = MODELS[family]()
    inputs = build(family, CASES["textfirst"])
    pruner = Hawk(pruning_ratio=0.6, **options)
    (context,) = contexts_of(pruner, model, inputs)
    raw = pruner.head_scores(context)
    expected = full_matrix_scores(model, inputs, HEADS, KV_HEADS)
    torch.testing.assert_close(raw, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    # Negative controls: another head's scores, and another question.
    assert (raw - expected.roll(1, 0)).abs().max() > 0.01 * expected.abs().max()
    inputs["input_ids"][:, 3] += 5
    other = full_matrix_scores(model, inputs, HEADS, KV_HEADS)
    assert (raw - other).abs().max() > 0.01 * expected.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_is_as_before(family):
    model = MODELS[family]()
    inputs = build(family, CASES["one"])
    plain = generate(model, **inputs)
    before = (set(model.__dict__), {k: v.clone() for k, v in model.state_dict().items()})
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]

    def unchanged():
        assert set(model.__dict__) == before[0]
        assert all(torch.equal(v, before[1][k]) for k, v in model.state_dict().items())
        assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
        assert torch.equal(generate(model, **inputs).sequences, plain.sequences)

    for context in (Random(pruning_ratio=0.6), AblateHeads([Head(0, 1)])):
        with context.attach(model):
            inside = generate(model, **inputs)
            assert (inside.logits[0] - plain.logits[0]).abs().max() > 0.01  # it did something
        unchanged()
        with pytest.raises(KeyError), context.attach(model):
            raise KeyError
        unchanged()
        with context.attach(model), pytest.raises(ZeroDivisionError):
            generate(model, **inputs, logits_processor=[lambda ids, scores: 1 // 0])
        unchanged()

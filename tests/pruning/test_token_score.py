"""The token score and its options against other ways of computing them."""

from __future__ import annotations

import copy
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import CASES, FAMILIES, full_matrix_scores
from tiny_prompts import Image, Video, build, left_padded, prompt_ids
from tiny_random import END, HEADS, KV_HEADS, MODELS, NEWLINE, START, USER, VISION_END

from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry
from hawk.models import family_of
from hawk.pruning.base import Pruner
from hawk.pruning.budget import kept_count
from hawk.pruning.methods import hawk as hawk_method
from hawk.pruning.methods.hawk import Hawk, normalize
from hawk.pruning.methods.random import Random
from hawk.pruning.prompt import prune


def contexts_of(model, inputs, pruner=None):
    """What a pruner is given, per row with images."""
    return oracles.contexts_of(pruner or Hawk(pruning_ratio=0.5), model, inputs)


# --- against the model's own attention ------------------------------------------------------------------


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_deeper_layers(family, layer):
    """Hidden states of a later layer are those of the model itself, deep stack included."""
    model = MODELS[family]()
    inputs = build(family, CASES["several"])
    (context,) = contexts_of(model, inputs)
    raw = Hawk(layer=layer).head_scores(context)
    expected = full_matrix_scores(model, inputs, HEADS, KV_HEADS, layer)
    torch.testing.assert_close(raw, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    other = full_matrix_scores(model, inputs, HEADS, KV_HEADS, (layer + 1) % 3)
    assert (raw - other).abs().max() > 0.01 * expected.abs().max()


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_rotary_scores_are_the_models_attention(family, layer):
    """With one text query, differences of rotated scores are those of the log attention."""
    model = MODELS[family]("eager")
    inputs = build(family, [[Image(2, 2), 20]])
    (context,) = contexts_of(model, inputs)
    assert len(context.query_index()) == 1
    raw = Hawk(layer=layer, rope=True).head_scores(context)
    attention = model(**inputs, output_attentions=True).attentions[layer][0]
    logs = attention[:, context.query_index()[0], context.visual_index].log()

    def centred(values):
        return values - values.mean(-1, keepdim=True)

    torch.testing.assert_close(centred(raw), centred(logs), rtol=1e-3, atol=1e-3)
    plain = Hawk(layer=layer).head_scores(context)
    assert (centred(plain) - centred(logs)).abs().max() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_reductions(family):
    """``attention`` and ``max`` against the whole matrix of products, one query at a time."""
    model = MODELS[family]()
    inputs = build(family, CASES["textfirst"])
    (context,) = contexts_of(model, inputs)
    every = context.query_index()
    products = []
    for position in every:
        context.query_index = lambda span, one=position: one[None]
        products.append(Hawk().head_scores(context))
    del context.query_index
    matrix = torch.stack(products)  # [queries, heads, n]
    for how, expected in (
        ("informed", torch.from_numpy(informed(matrix.double().softmax(-1).numpy()))),
        ("mean", matrix.mean(0)),
        ("attention", matrix.softmax(-1).mean(0)),
        ("max", matrix.amax(0)),
    ):
        raw = Hawk(text_reduction=how).head_scores(context)
        near = 1e-4 * float(expected.abs().max())
        torch.testing.assert_close(raw, expected.to(raw), rtol=1e-4, atol=near)
        if how == "informed":  # and words are not weighted alike
            assert (raw - matrix.softmax(-1).mean(0)).abs().max() > 10 * near


def informed(attention: np.ndarray) -> np.ndarray:
    """[queries, heads, n] → [heads, n]: word by word, each weighted by its divergence from flat."""
    out = np.zeros(attention.shape[1:])
    for head in range(attention.shape[1]):
        says = [sum(p * np.log(p * len(row)) for p in row) for row in attention[:, head]]
        for weight, row in zip(says, attention[:, head], strict=True):
            out[head] += weight / sum(says) * row
    return out


def test_words_that_say_nothing_count_alike():
    """Flat distributions have no information: a mean, and no division by zero."""
    flat = hawk_method._reduce(torch.zeros(3, 2, 4), torch.zeros(5, 1, 4), 1.0, "informed")
    torch.testing.assert_close(flat, torch.full((2, 5), 0.2))


@pytest.mark.parametrize("layer", [0, 1])
def test_the_last_token_asks(layer):
    """As a model's attention has it: its row, before softmax, without rotary positions; and no other's."""
    model = MODELS["qwen2_5_vl"]()
    (context,) = contexts_of(model, build("qwen2_5_vl", CASES["textfirst"]))
    raw = Hawk(query_span="last_token", layer=layer).head_scores(context)
    scoring, hidden = context.scoring_layer(layer), context.hidden_at(layer)
    query = scoring.queries(scoring.norm(hidden[-1:]))[0]  # [heads, d]
    keys = scoring.keys(scoring.norm(hidden[context.visual_index]))  # [n, kv, d]
    for head in range(HEADS):
        group = head // (HEADS // KV_HEADS)
        expected = keys[:, group] @ query[head] / scoring.head_dim**0.5
        torch.testing.assert_close(raw[head], expected, rtol=1e-4, atol=1e-5)
    assert (raw - Hawk(layer=layer).head_scores(context)).abs().max() > 1e-3


def test_the_last_token_is_no_question():
    model = MODELS["qwen2_5_vl"]()
    (context,) = contexts_of(model, build("qwen2_5_vl", CASES["textfirst"]))
    context.query_ids = torch.tensor([20, 21])
    with pytest.raises(InputError, match="shuffle_query changes nothing with query_span 'last_token'"):
        Hawk(query_span="last_token").head_scores(context)
    with pytest.raises(InputError, match="query_span 'last_token' needs prior false"):
        Hawk(query_span="last_token", prior=True)


@pytest.mark.parametrize("case", ["several", "textfirst"])
@pytest.mark.parametrize("at_once", [1, 3, 4, 10_000])
def test_tokens_in_chunks(monkeypatch, at_once, case):
    """Chunks of any size, inside an image and over the text between two, score as the full matrix."""
    monkeypatch.setattr(hawk_method, "TOKENS_AT_ONCE", at_once)
    model = MODELS["qwen2_5_vl"]()
    inputs = build("qwen2_5_vl", CASES[case])
    (context,) = contexts_of(model, inputs)
    raw = Hawk().head_scores(context)
    expected = full_matrix_scores(model, inputs, HEADS, KV_HEADS, 0)
    torch.testing.assert_close(raw, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert (raw.roll(1, dims=-1) - expected).abs().max() > 0.01 * expected.abs().max()


@pytest.mark.parametrize("name", ["q_proj", "k_proj"])
def test_an_adapter_around_a_projection_is_not_overlooked(name):
    """The fast path reads weights, which are not all there is to an adapted projection."""
    model = MODELS["qwen2_5_vl"].__wrapped__(seed=1)  # not the one that other tests share
    inputs = build("qwen2_5_vl", CASES["several"])
    before = Hawk().head_scores(contexts_of(model, inputs)[0])
    attention = family_of(model).layers(model)[0].self_attn
    setattr(attention, name, Adapted(getattr(attention, name)))
    raw = Hawk().head_scores(contexts_of(model, inputs)[0])
    expected = full_matrix_scores(model, inputs, HEADS, KV_HEADS, 0)
    torch.testing.assert_close(raw, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert (raw - before).abs().max() > 0.01 * expected.abs().max()


class Adapted(torch.nn.Module):
    """As peft wraps a projection: its ``weight`` is that of the base."""

    def __init__(self, base):
        super().__init__()
        self.base, self.weight, self.bias = base, base.weight, base.bias
        torch.manual_seed(0)
        self.delta = torch.randn(base.out_features, base.in_features) / base.in_features**0.5

    def forward(self, states):
        return self.base(states) + states @ self.delta.T


def test_the_score_of_a_bfloat16_model_is_not_rounded_on_the_way():
    """Nearer to float64 than the mean of queries in bfloat16 is."""
    torch.manual_seed(0)
    hidden = torch.randn(40, 64, dtype=torch.bfloat16)
    layer = family_of(MODELS["qwen2_5_vl"]()).scoring_layer(MODELS["qwen2_5_vl"](), 0)
    q, k = (copy.deepcopy(one).bfloat16() for one in (layer.q_proj, layer.k_proj))
    layer = replace(layer, norm=torch.nn.Identity(), q_proj=q, k_proj=k)
    context = SimpleNamespace(
        query_ids=None, visual_index=torch.arange(30), hidden_at=lambda number: hidden,
        scoring_layer=lambda number: layer, query_index=lambda span: torch.arange(30, 40),
    )  # fmt: skip
    got = Hawk().head_scores(context).double()

    def matrix(queries, keys):
        queries = queries.double().view(10, HEADS, -1).mean(0)
        keys = keys.double().view(30, KV_HEADS, -1).repeat_interleave(HEADS // KV_HEADS, 1)
        return torch.einsum("hd,nhd->hn", queries, keys) / layer.head_dim**0.5

    text, visual = hidden[30:], hidden[:30]
    exact = matrix(copy.deepcopy(q).double()(text.double()), copy.deepcopy(k).double()(visual.double()))
    rounded = matrix(q(text), k(visual))
    assert (got - exact).abs().max() < 1e-5 * exact.abs().max()
    assert (rounded - exact).abs().max() > 1e-4 * exact.abs().max()


def test_weights_choose_the_head():
    """All weight on one head ranks tokens by that head alone."""
    model = MODELS["qwen2_5_vl"]()
    geometry = family_of(model).geometry(model)
    (context,) = contexts_of(model, build("qwen2_5_vl", [[Image(3, 4), 20, 21]]))
    raw = Hawk().head_scores(context)
    for head in range(HEADS):
        weights = HeadWeights(tuple(float(i == head) for i in range(HEADS)), geometry)
        order = Hawk(weights=weights).scores(context).argsort()
        assert torch.equal(order, raw[head].argsort())


# --- options --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [[0.1], [1.0, 0.0, 0.0, 0.0], (1, 2), np.ones(3), torch.ones(4), {"weights": [1.0]}, 1.0, True, b"x"],
)
def test_weights_that_are_no_head_weights_are_refused(given):
    """Else they would be overlooked, and every head would count alike."""
    with pytest.raises(InputError, match="weights of hawk is .*HeadWeights"):
        Hawk(weights=given)


def test_weights_by_path(tmp_path):
    weights = HeadWeights((1.0, 0.0, 0.0, 0.0), Geometry(3, HEADS, KV_HEADS, 16))
    weights.save(tmp_path / "w.json")
    for path in (tmp_path / "w.json", str(tmp_path / "w.json")):
        assert Hawk(weights=path).weights == HeadWeights.load(path)


def test_normalizations():
    raw = torch.tensor([[3.0, 4.0, 0.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]])
    expected = {
        "none": raw[0],
        "l2": torch.tensor([0.6, 0.8, 0.0]),
        "minmax": torch.tensor([0.75, 1.0, 0.0]),
        "softmax": raw[0].exp() / raw[0].exp().sum(),
        "standardize": (raw[0] - raw[0].mean()) / raw[0].std(correction=0),
    }
    for how, row in expected.items():
        got = normalize(raw, how)
        torch.testing.assert_close(got[0], row)
        assert torch.isfinite(got).all()  # constant heads say nothing, and break nothing


def test_ties_go_to_the_lower_position():
    class Flat(Pruner):
        def scores(self, context):
            return torch.zeros(context.tokens)

    model = MODELS["qwen2_5_vl"]()
    (context,) = contexts_of(model, build("qwen2_5_vl", [[Image(3, 4), 20]]))
    assert Flat(pruning_ratio=0.5).kept_indices(context).tolist() == [0, 1, 2, 3, 4, 5]


@given(
    tokens=st.integers(1, 20_000),
    ratio=st.integers(0, 9999),
    rounding=st.sampled_from(["ceil", "floor", "round"]),
)
def test_counts_are_exact(tokens, ratio, rounding):
    text = str(Decimal(ratio) / 10_000)
    exact = Fraction(tokens * (10_000 - ratio), 10_000)
    count = kept_count(tokens, text, rounding)
    assert 1 <= count <= tokens
    if rounding == "ceil":
        assert count - 1 < exact <= count
    elif rounding == "floor":
        assert count == max(1, exact.numerator // exact.denominator)
    else:
        assert count == 1 or abs(count - exact) <= Fraction(1, 2)
    assert kept_count(tokens, float(text), rounding) == count


@pytest.mark.parametrize("ratio", [1, -0.1, "nan", "x", None, 0.12345, "1e400"])
def test_ratios_that_are_refused(ratio):
    with pytest.raises(InputError, match="pruning_ratio"):
        Random(pruning_ratio=ratio)


@pytest.mark.parametrize("family", FAMILIES)
def test_budget_per_frame(family):
    """Every frame keeps its own share; LLaVA's closing newline goes with the last frame."""
    model = MODELS[family]()
    inputs = build(family, [[Video(4, 2, 2), 20]])
    squares = {"internvl": [16] * 4, "llava": [16] * 4, "llava_next": [36] * 4}  # of 16, 16 and 4
    per_frame = {**squares, "llava_onevision": [4, 4, 4, 5]}.get(family, [4] * 4)
    (context,) = contexts_of(model, inputs)
    assert context.budget_group.bincount().tolist() == per_frame
    kept = Random(pruning_ratio=0.5, budget="per_image").kept_indices(context)
    counts = context.budget_group[kept].bincount().tolist()
    assert counts == [kept_count(tokens, 0.5) for tokens in per_frame]


def test_budget_per_image():
    model = MODELS["qwen2_5_vl"]()
    (context,) = contexts_of(model, build("qwen2_5_vl", [[Image(2, 2), 20, Image(3, 3)]]))
    kept = Random(pruning_ratio=0.5, budget="per_image").kept_indices(context)
    assert context.budget_group[kept].bincount().tolist() == [2, 5]
    assert len(Random(pruning_ratio=0.5).kept_indices(context)) == 7


# --- where the instruction is ------------------------------------------------------------------------


def question(model, inputs, span="instruction"):
    (context,) = contexts_of(model, inputs, Random(pruning_ratio=0.5))
    return context.ids[context.query_index(span)].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_text_before_between_and_after_images(family):
    model = MODELS[family]()
    row = [20, 21, Image(1, 1), 22, Image(1, 1), 23]
    assert question(model, build(family, [row])) == [20, 21, 22, 23]
    assert question(model, build(family, [row]), "after_vision") == [23]


def test_nothing_after_the_image():
    """The authors' span has no text there; the last token before the turn's end stands in."""
    model = MODELS["qwen2_5_vl"]()
    inputs = build("qwen2_5_vl", [[20, 21, Image(2, 2)]])
    assert len(question(model, inputs, "after_vision")) == 1
    assert question(model, inputs) == [20, 21]


def authors_range(row, vision_end, im_end):
    """The search of the authors' code: behind the last image to the last end that lies *after* that place."""
    after = [i for i, token in enumerate(row) if token == vision_end]
    start = after[-1] + 1
    ends = [i for i, token in enumerate(row) if token == im_end and i > start]
    return list(range(start, ends[-1] if ends else len(row))) or after[-1:]


@pytest.mark.parametrize(
    ("row", "as_after_vision"),
    [
        ([Image(2, 2), 20, 21], True),
        ([20, 21, Image(2, 2)], False),
        ([20, Image(1, 2), 21, 22], True),
        ([20, Image(1, 1), 21, Image(1, 2), 22], True),
        ([20, Image(1, 1), 21, Image(1, 2)], False),
        ([Image(1, 1), Image(1, 2)], False),
        ([20, 21, Video(2, 1, 2)], False),
    ],
    ids=["image first", "image last", "both sides", "several", "several, last", "images only", "video last"],
)
@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl"])
def test_the_authors_range(family, row, as_after_vision):
    model = MODELS[family]()
    (context,) = contexts_of(model, build(family, [row]))
    expected = authors_range(context.ids.tolist(), VISION_END, END)
    assert context.query_index("authors").tolist() == expected
    assert (context.query_index("after_vision").tolist() == expected) == as_after_vision
    assert (pick(context, "authors") == pick(context, "after_vision")).all() == as_after_vision


def pick(context, span):
    return Hawk(query_span=span).head_scores(context)


def test_the_authors_range_over_turns_and_without_an_end():
    """An earlier answer belongs to it; a prompt that stops at the image leaves the image's end alone."""
    model = MODELS["qwen2_5_vl"]()
    inputs = build("qwen2_5_vl", [[20, 21, Image(2, 2)]])
    first = inputs["input_ids"][0].tolist()
    for turns in ([*first, 30, 31, END, *prompt_ids([[24, 25]])], first[: first.index(VISION_END) + 1]):
        inputs.update(left_padded([turns]))
        inputs.pop("mm_token_type_ids", None)
        (context,) = contexts_of(model, inputs)
        assert context.query_index("authors").tolist() == authors_range(turns, VISION_END, END)


def test_system_prompt_and_several_turns():
    """Only the last user turn asks; the image may stand in the first."""
    model = MODELS["qwen2_5_vl"]()
    inputs = build("qwen2_5_vl", [[Image(2, 2), 20, 21]])
    first = inputs["input_ids"][0].tolist()
    turns = [START, 60, NEWLINE, 61, END, *first, 30, 31, END, *prompt_ids([[24, 25]])]
    inputs.update(left_padded([turns]))
    inputs.pop("mm_token_type_ids", None)
    assert question(model, inputs) == [24, 25]
    assert turns.count(USER) == 2


def test_a_prompt_without_any_turn():
    """Its question cannot be told; the authors' span needs no turn."""
    model = MODELS["qwen2_5_vl"]()
    inputs = build("qwen2_5_vl", [[Image(2, 2), 20, 21]])
    ids = inputs["input_ids"][0].tolist()
    inputs.update(left_padded([ids[3 : ids.index(END)]]))
    del inputs["mm_token_type_ids"]
    with pytest.raises(InputError, match="no user turn"):
        question(model, inputs)
    assert question(model, inputs, "after_vision") == [20, 21]


def test_times_between_frames_are_no_question():
    """Qwen3-VL writes a frame's time before each frame; only the first stands outside the video."""
    model = MODELS["qwen3_vl"]()
    assert question(model, build("qwen3_vl", [[Video(3, 1, 2), 20, 21]])) == [50, 20, 21]


def test_weights_of_another_layer_count_are_refused():
    model = MODELS["internvl"]()
    wrong = HeadWeights.uniform(Geometry(layers=2, heads=4, kv_heads=2, head_dim=16))
    with pytest.raises(InputError, match="2 layers.*3 layers"):
        prune(
            Hawk(weights=wrong, pruning_ratio=0.5), model, family_of(model), build("internvl", CASES["one"])
        )


def test_scoring_layer_outside_the_model():
    with pytest.raises(InputError, match="scoring layer 3 is outside the model's 0-2"):
        contexts_of(MODELS["qwen2_vl"](), build("qwen2_vl", CASES["one"]), Hawk(layer=3, pruning_ratio=0.5))

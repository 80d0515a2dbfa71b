"""``prior: true``: the question's distribution against that of the prompt without a question."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import contexts_of
from test_calibrated_query import calibrated
from tiny_prompts import Image, build
from tiny_random import HEADS, MODELS

from hawk.core.errors import InputError
from hawk.pruning.methods.hawk import Hawk

FAMILIES = ["qwen2_5_vl", "internvl", "qwen3_vl", "llava"]


def context_of(family: str, words: list[int]):
    return contexts_of(Hawk(), MODELS[family](), build(family, [[30, Image(3, 3), *words]], [4]))[0]


@pytest.mark.parametrize(("reduction", "rope"), [("mean", False), ("attention", True), ("max", False)])
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_terms_of_the_divergence(family: str, reduction: str, rope: bool) -> None:
    """Against loops over the scores of each text token alone; the divergence turned round is another."""
    context = context_of(family, [20, 21, 22])
    options = {"text_reduction": reduction, "rope": rope, "token_score_normalization": "none"}
    found = Hawk(**options, prior=True).scores(context)
    asked = context.query_index().tolist()
    before = [i for i in context.text_index.tolist() if i < min(asked)]
    assert before

    def distributions(positions: list[int]) -> list[list[float]]:
        """[heads][n], each summing to 1."""
        single = []
        for position in positions:
            context.query_index = lambda span, one=position: torch.tensor([one])
            single.append(Hawk(rope=rope).head_scores(context).double())
        del context.query_index
        products = torch.stack(single)
        if reduction == "attention":
            return products.softmax(-1).mean(0).tolist()
        return (products.mean(0) if reduction == "mean" else products.amax(0)).softmax(-1).tolist()

    p, q = distributions(asked), distributions(before)
    tokens = range(len(found))
    expected = [sum(p[h][k] * math.log(p[h][k] / q[h][k]) for h in range(HEADS)) / HEADS for k in tokens]
    turned = [sum(q[h][k] * math.log(q[h][k] / p[h][k]) for h in range(HEADS)) / HEADS for k in tokens]
    largest = max(map(abs, expected))
    torch.testing.assert_close(
        found.double(), torch.tensor(expected).double(), rtol=1e-3, atol=1e-3 * largest
    )
    assert (found.double() - torch.tensor(turned)).abs().max() > 0.01 * largest
    assert (found - Hawk(**options).scores(context)).abs().max() > 0.01 * largest


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_prior_does_not_know_the_question(family: str, layer: int) -> None:
    one, two = (context_of(family, words) for words in ([20, 21], [40, 41, 42, 43]))
    scores = Hawk(layer=layer)
    prior = scores.head_scores(one, prior=True)
    torch.testing.assert_close(prior, scores.head_scores(two, prior=True), rtol=1e-4, atol=1e-4)
    assert (scores.head_scores(one) - scores.head_scores(two)).abs().max() > 1e-2
    assert (scores.head_scores(one) - prior).abs().max() > 1e-2


def test_the_shuffled_question_has_the_same_prior() -> None:
    context = context_of("qwen2_5_vl", [20, 21])
    before, own = Hawk().head_scores(context, prior=True), Hawk().head_scores(context)
    other = context_of("qwen2_5_vl", [20, 21])
    other.query_ids = torch.tensor([50, 51, 52])
    torch.testing.assert_close(Hawk().head_scores(other, prior=True), before)
    assert (Hawk().head_scores(other) - own).abs().max() > 1e-2


def test_what_has_no_prior_is_refused() -> None:
    with pytest.raises(InputError, match="query 'calibrated' needs prior false"):
        Hawk(weights=calibrated("qwen2_5_vl"), query="calibrated", prior=True)
    context = context_of("qwen2_5_vl", [20, 21])
    context.query_index = lambda span: torch.tensor([0])
    with pytest.raises(InputError, match="some text before the question"):
        Hawk(prior=True).scores(context)

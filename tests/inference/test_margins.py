"""The margin of an answer: which tokens are right, which are wrong, and the difference of the best two."""

from __future__ import annotations

import math

import pytest
import torch

from hawk.benchmarks import Sample, benchmark
from hawk.inference.margins import FirstTokens, margins


class Letters:
    """A tokenizer of one token per character."""

    eos_token_id = 0

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": [ord(letter) for letter in text]}


def tokens(name: str, references: tuple[str, ...], options: tuple[str, ...] = ()) -> FirstTokens:
    sample = Sample("1", "g", "?", references, options=options)
    return FirstTokens.of(Letters(), benchmark(name), sample)


def codes(letters: str) -> tuple[int, ...]:
    return tuple(map(ord, letters))


def test_wrong_answers_are_the_other_options_where_there_are_some() -> None:
    assert tokens("ai2d", ("B",), ("cat", "dog", "", "cow")) == FirstTokens(codes("B"), codes("AD"))
    assert tokens("videomme", ("C",), ("A. 1", "B. 2", "C. 3", "D. 4")) == FirstTokens(
        codes("C"), codes("ABD")
    )
    for name in ("pope", "mme", "hallusionbench"):
        assert tokens(name, ("Yes",)) == FirstTokens(codes("Y"), codes("N"))
    assert tokens("textvqa", ("red", "blue", "rose", "")) == FirstTokens((0, *codes("br")), ())
    # Where every option begins like the right one, the first token tells nothing.
    assert tokens("ai2d", ("A",), ("cat",)) == FirstTokens(codes("A"), ())
    same = FirstTokens.of(Same(), benchmark("pope"), Sample("1", "g", "?", ("Yes",)))
    assert same == FirstTokens((7,), None)


class Same(Letters):
    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [7, *map(ord, text)]}


def test_margins_equal_differences_of_log_probabilities() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 9, dtype=torch.float64, requires_grad=True)
    own = [FirstTokens((2,)), FirstTokens((1, 4), (0, 3)), FirstTokens((5,), None), FirstTokens((0, 8), ())]
    found = margins(logits, own)
    log = logits.detach().log_softmax(-1).tolist()
    expected = []
    for row, one in zip(log, own, strict=True):
        wrong = one.wrong or [token for token in range(9) if token not in one.right]
        expected.append(max(row[token] for token in one.right) - max(row[token] for token in wrong))
    for number in (0, 1, 3):
        assert found[number].item() == pytest.approx(expected[number], abs=1e-6)
    assert math.isnan(found[2])
    # Its sign says whether the model would begin right.
    assert (found[0] > 0) == (int(logits[0].argmax()) == 2)
    (slope,) = torch.autograd.grad(found[1], logits)
    assert (float(slope[1].sum()), float(slope[1].abs().sum())) == (0, 2)
    assert float(slope[0].abs().sum()) == 0

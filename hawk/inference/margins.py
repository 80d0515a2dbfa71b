"""How clearly a model prefers the right answer: the margin of its first token.

The log-probability of an answer saturates: where it is near 0, nothing that is done to a head moves it, and
the head looks useless. The margin, best first token of a right answer minus best first token of a wrong one,
goes on growing. Both log-probabilities have the same normalizer, so it is a difference of logits; it is
above 0 exactly where the model would begin a right answer rather than a wrong one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hawk.benchmarks import Benchmark, Sample


@dataclass(frozen=True)
class FirstTokens:
    """First tokens of a question's right and wrong answers.

    wrong: empty where answers are no closed list; every token that begins no right answer is then wrong.
    None where no wrong answer is told from the right ones by its first token: such a question has no margin.
    """

    right: tuple[int, ...]
    wrong: tuple[int, ...] | None = ()

    @classmethod
    def of(cls, tokenizer: Any, benchmark: Benchmark, sample: Sample) -> FirstTokens:
        """As the answers are written: options by their letters, yes and no, or the references."""

        def begins(texts: Sequence[str]) -> set[int]:
            token_lists = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts)
            return {ids[0] if ids else tokenizer.eos_token_id for ids in token_lists}

        right = begins(sample.references)
        listed = begins(benchmark.wrong_answers(sample))
        wrong = tuple(sorted(listed - right))
        return cls(tuple(sorted(right)), None if listed and not wrong else wrong)


def margins(logits: Tensor, tokens: Sequence[FirstTokens]) -> Tensor:
    """Margin per row, nats, from the logits [batch, vocabulary] behind the prompts; nan where there is none.

    Differentiable with respect to the logits.
    """
    out = []
    for row, own in zip(logits.float(), tokens, strict=True):
        if own.wrong is None:
            out.append(row.new_full((), torch.nan))
            continue
        right = torch.tensor(own.right, device=row.device)
        wrong = row[list(own.wrong)] if own.wrong else row.index_fill(0, right, -torch.inf)
        out.append(row[right].max() - wrong.max())
    return torch.stack(out)

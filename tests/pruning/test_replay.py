"""Greedy choices step by step, and on a GPU recorded once and replayed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from hawk.pruning import replay
from hawk.pruning.coverage import greedy_coverage
from hawk.pruning.determinantal import determinantal
from hawk.pruning.methods.discount import discounted
from hawk.pruning.methods.divprune import max_min_diverse
from hawk.pruning.methods.mmr import marginal_relevance
from hawk.pruning.similarity import unit

TOKENS, WIDTH, COUNT = 300, 200, 60
GREEDY: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "determinantal": lambda vectors, scores: determinantal(vectors, scores, COUNT),
    "diverse": lambda vectors, scores: max_min_diverse(vectors, COUNT),
    "marginal": lambda vectors, scores: marginal_relevance(vectors, scores, 0.5, COUNT),
    "discounted": lambda vectors, scores: discounted(vectors, scores, 1.0, COUNT),
    "coverage": lambda vectors, scores: greedy_coverage((1 + vectors @ vectors.T) / 2 * scores, COUNT),
}


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vectors = unit(torch.randn(TOKENS, WIDTH, generator=generator))
    return vectors, torch.rand(TOKENS, generator=generator) + 0.1


def test_a_step_is_told_how_many_were_done_before() -> None:
    done: list[int] = []
    replay.repeat(done.append, 20, torch.device("cpu"))
    assert done == list(range(20))


@pytest.mark.gpu
@pytest.mark.parametrize("name", GREEDY)
@torch.inference_mode()
def test_replayed_is_step_by_step_is_what_a_cpu_chooses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for seed in (0, 1):  # the second must not see what the first recorded
        vectors, scores = drawn(seed)
        expected = GREEDY[name](vectors, scores)
        replayed = GREEDY[name](vectors.cuda(), scores.cuda())
        with monkeypatch.context() as patch:
            patch.setattr(replay, "MANY", COUNT + 1)
            stepped = GREEDY[name](vectors.cuda(), scores.cuda())
        assert replayed.tolist() == stepped.tolist() == expected.tolist()
        assert len(set(replayed.tolist())) == COUNT
        found.append(replayed.tolist())
    assert found[0] != found[1]


@pytest.mark.gpu
@torch.inference_mode()
def test_recordings_take_no_more_memory_each_time() -> None:
    vectors, scores = (values.cuda() for values in drawn(0))
    for _ in range(3):
        determinantal(vectors, scores, COUNT)
    torch.cuda.synchronize()
    before = torch.cuda.memory_reserved()
    for _ in range(20):
        determinantal(vectors, scores, COUNT)
    torch.cuda.synchronize()
    assert torch.cuda.memory_reserved() == before

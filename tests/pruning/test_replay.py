"""Greedy choices step by step, and on a GPU recorded once and replayed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hawk.pruning import coverage, replay
from hawk.pruning import determinantal as determinantal_module
from hawk.pruning.determinantal import determinantal
from hawk.pruning.methods import discount, divprune, mmr
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
    "coverage": lambda vectors, scores: coverage.greedy_coverage(
        (1 + vectors @ vectors.T) / 2 * scores, COUNT
    ),
}


def gains(vectors: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    return (1 + vectors @ vectors.T) / 2 * scores


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vectors = unit(torch.randn(TOKENS, WIDTH, generator=generator))
    return vectors, torch.rand(TOKENS, generator=generator) + 0.1


def test_a_step_is_told_how_many_were_done_before() -> None:
    done: list[int] = []
    replay.repeat(done.append, 20, torch.device("cpu"))
    assert done == list(range(20))


def tensors(values: object) -> list[torch.Tensor]:
    return [one for one in tree_leaves(values) if torch.is_tensor(one)]


class Asked(TorchDispatchMode):
    """Numbers in the largest memory that an operation asks for, itself or for its result."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {
            one.untyped_storage().data_ptr() for one in tree_leaves((args, kwargs)) if torch.is_tensor(one)
        }
        out = func(*args, **(kwargs or {}))
        for one in tree_leaves(out):
            if torch.is_tensor(one) and one.untyped_storage().data_ptr() not in given:
                self.most = max(self.most, one.numel())
        return out


@pytest.mark.parametrize("name", GREEDY)
def test_a_step_asks_for_no_more_than_vectors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording's memory is kept for the next: matrices of ever larger prompts would add up."""
    found: list[int] = []

    def repeat(step: Callable[[int], None], times: int, device: torch.device) -> None:
        for _ in range(times):
            with Asked() as asked:
                step(times)  # as on a GPU, where the number of steps before is not known
            found.append(asked.most)

    for module in (coverage, determinantal_module, discount, divprune, mmr):
        monkeypatch.setattr(module, "repeat", repeat)
    monkeypatch.setattr(coverage, "greedy_coverage", coverage._plain)
    chosen = GREEDY[name](*drawn(0))
    assert len(found) == COUNT
    assert 0 < max(found) <= TOKENS
    monkeypatch.undo()
    assert chosen.tolist() == GREEDY[name](*drawn(0)).tolist()


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

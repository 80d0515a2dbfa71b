"""Exact match by teacher forcing: what greedy decoding would score, for a third of the time.

Greedy decoding answers exactly the reference if and only if the reference's every token, and an end
token behind it, is the most likely one after those before it. So one pass over the prompt and one
over the reference decide it, for benchmarks with one reference and exact match, which is what the
embedded ones have; a test compares both. Evaluation generates all the same.

Per-head token scores depend on the prompt and not on the weights, so they are remembered over the
many passes that differ in nothing else.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hawk.benchmarks import Benchmark
from hawk.core.errors import InputError
from hawk.inference.prompts import Prompts
from hawk.inference.scoring import batches
from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext
from hawk.pruning.methods.hawk import Hawk
from hawk.pruning.methods.unpruned import Unpruned
from hawk.pruning.prompt import PrunedPrompt, prune

Memo = dict[tuple[Any, ...], Tensor]


class Forced(NamedTuple):
    """Per sample, in the samples' order."""

    score: np.ndarray  # 1 where greedy decoding gives the reference
    logprob: np.ndarray  # of the reference, natural log, summed over its tokens
    kept: np.ndarray  # visual tokens


class ForcedScorer:
    """Scores one benchmark's prompts under many pruners."""

    def __init__(self, prompts: Prompts, bench: Benchmark, batch_size: int) -> None:
        for sample in prompts.samples:
            if len(sample.references) != 1:
                raise InputError(
                    f"benchmark {bench.name!r}, sample {sample.sample_id!r}: teacher forcing needs one "
                    f"reference, not {len(sample.references)}."
                )
        self.prompts, self.bench = prompts, bench
        self.memo: Memo = {}
        ends = prompts.vlm.model.generation_config.eos_token_id
        self.ends = torch.tensor(ends if isinstance(ends, list) else [ends])
        lengths = [*map(len, prompts.ids)]
        self.batches = [(chosen, prompts.inputs(chosen)) for chosen in batches(lengths, batch_size)]

    @torch.inference_mode()
    def __call__(
        self, pruner: Pruner | None = None, ablation: AbstractContextManager[Any] | None = None
    ) -> Forced:
        pruner = remembering(pruner or Unpruned(), self.memo)
        vlm, total = self.prompts.vlm, len(self.prompts.samples)
        out = Forced(np.zeros(total), np.zeros(total), np.zeros(total, dtype=np.int32))
        with ablation or nullcontext():
            for chosen, inputs in self.batches:
                keys = [f"{self.bench.name}:{self.prompts.samples[i].sample_id}" for i in chosen]
                prompt = prune(pruner, vlm.model, vlm.family, dict(inputs), keys)
                with pruner.hooks(vlm.model, vlm.family, prompt):
                    right, logprob = self._force(prompt, [self.prompts.answers[i] for i in chosen])
                out.score[chosen] = right.cpu().numpy()
                out.logprob[chosen] = logprob.cpu().numpy()
                out.kept[chosen] = prompt.last.kept_tokens
        return out

    def _force(self, prompt: PrunedPrompt, answers: list[list[int]]) -> tuple[Tensor, Tensor]:
        model, device = self.prompts.vlm.model, prompt.input_ids.device
        width = max(map(len, answers))
        ids = torch.full((len(answers), width), int(self.ends[0]), device=device)
        real = torch.zeros(len(answers), width, dtype=torch.bool, device=device)
        for row, answer in enumerate(answers):
            ids[row, : len(answer)] = torch.tensor(answer, device=device)
            real[row, : len(answer)] = True
        first = model(**prompt.kwargs(), use_cache=True, logits_to_keep=1)
        # Padding behind an answer is seen by nothing that is read.
        more = model(
            input_ids=ids,
            attention_mask=torch.cat([prompt.attention_mask, torch.ones_like(ids)], dim=1),
            position_ids=prompt.position_ids[..., -1:] + torch.arange(1, width + 1, device=device),
            past_key_values=first.past_key_values,
            use_cache=True,
        )
        logits = torch.cat([first.logits, more.logits], dim=1).float()  # [batch, width + 1, vocabulary]
        logprobs = logits[:, :-1].log_softmax(-1).gather(-1, ids[..., None])[..., 0]
        best = logits.argmax(-1)
        said = ((best[:, :-1] == ids) | ~real).all(1)
        behind = best.gather(1, real.sum(1, keepdim=True))[:, 0]
        return said & torch.isin(behind, self.ends.to(device)), (logprobs * real).sum(1)


def remembering(pruner: Pruner, memo: Memo) -> Pruner:
    """The same pruner, whose per-head token scores (or those of its scorer) are looked up first."""
    scorer = getattr(pruner, "scorer", None)
    if isinstance(scorer, Hawk):
        return replace(pruner, scorer=remembering(scorer, memo))  # type: ignore[call-arg]
    if not isinstance(pruner, Hawk) or pruner.inactive:
        return pruner
    copy = object.__new__(_remembering_class(type(pruner)))
    copy.__dict__.update(pruner.__dict__, _memo=memo)
    return copy


def _remembering_class(cls: type[Hawk]) -> type[Hawk]:
    if cls not in _CLASSES:

        def head_scores(self: Hawk, context: PruningContext) -> Tensor:
            key = (self.text_reduction, self.rope, self.query_span, self.scoring_layer_index, context.key)
            memo: Memo = self.__dict__["_memo"]
            if key not in memo:
                memo[key] = cls.head_scores(self, context)
            return memo[key]

        _CLASSES[cls] = type(f"Remembering{cls.__name__}", (cls,), {"head_scores": head_scores})
    return _CLASSES[cls]


_CLASSES: dict[type[Hawk], type[Hawk]] = {}

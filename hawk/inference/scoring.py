"""Run a model over samples: prompts, batches, parsing, per-sample scores."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hawk.core.errors import InputError
from hawk.core.progress import progress
from hawk.inference.decoding import generate, reference_logprobs
from hawk.inference.margins import margins
from hawk.inference.prompts import Prompts
from hawk.pruning.base import Pruner
from hawk.pruning.methods.unpruned import Unpruned
from hawk.pruning.prompt import PrunedPrompt, prune


def batches(lengths: Sequence[int], size: int, shuffle: int | None = None) -> list[list[int]]:
    """Sample numbers in batches of like length, or, for a repeat, of shuffled composition."""
    if size < 1:
        raise InputError(f"generation.batch_size: {size}; it must be 1 or more.")
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    if shuffle is not None:
        random.Random(shuffle).shuffle(order)
    return [order[begin : begin + size] for begin in range(0, len(order), size)]


@torch.inference_mode()
def score_samples(
    prompts: Prompts,
    batch_size: int,
    pruner: Pruner | None = None,
    ablation: AbstractContextManager[Any] | None = None,
    shuffle: int | None = None,
    queries: Sequence[Tensor] | None = None,
    what: str = "score",
) -> list[dict[str, Any]]:
    """Generate and score every sample; rows as in ``schemas.SCORES``, in the samples' order.

    pruner: None keeps every visual token, through the same code.
    ablation: an open-able context in which the model runs (:meth:`AblateHeads.attach`).
    shuffle: seed of another batch composition, for repeats.
    queries: per sample the ids of another sample's question, for the shuffled-query control.
    """
    pruner = pruner or Unpruned()
    rows: list[dict[str, Any] | None] = [None] * len(prompts.samples)
    with ablation or nullcontext():
        for chosen in progress(batches([*map(len, prompts.ids)], batch_size, shuffle), what):
            chosen_queries = None if queries is None else [queries[i] for i in chosen]
            scored = score_batch(prompts, pruner, chosen, chosen_queries)
            for i, row in zip(chosen, scored, strict=True):
                rows[i] = row
    return [row for row in rows if row is not None]


@torch.inference_mode()
def score_batch(
    prompts: Prompts,
    pruner: Pruner,
    chosen: Sequence[int],
    queries: Sequence[Tensor] | None,
) -> list[dict[str, Any]]:
    """Generate and score one batch; its rows in order. A sample may occur more than once."""
    prompt = prepared(prompts, pruner, chosen, queries)
    return score_prompt(prompts, pruner, prompt, chosen)


@torch.inference_mode()
def prepared(
    prompts: Prompts,
    pruner: Pruner,
    chosen: Sequence[int],
    queries: Sequence[Tensor] | None = None,
) -> PrunedPrompt:
    """The batch as the model will get it."""
    vlm = prompts.vlm
    keys = [f"{prompts.bench.name}:{prompts.samples[i].sample_id}" for i in chosen]
    relevant = [partial(prompts.relevant_tokens, i) for i in chosen]
    return prune(pruner, vlm.model, vlm.family, prompts.inputs(chosen), keys, queries, relevant)


@torch.inference_mode()
def score_prompt(
    prompts: Prompts,
    pruner: Pruner,
    prompt: PrunedPrompt,
    chosen: Sequence[int],
) -> list[dict[str, Any]]:
    """Generate and score a prepared batch: rows as in ``schemas.EVALUATION``, ratio and seed aside.

    pruner: the one that prepared it.
    """
    vlm, bench, protocol = prompts.vlm, prompts.bench, prompts.protocol
    samples = [prompts.samples[i] for i in chosen]
    with pruner.hooks(vlm.model, vlm.family, prompt):
        texts, stopped, first, cache = generate(vlm, prompt, bench.max_new_tokens(protocol))
        logprobs = reference_logprobs(vlm, prompt, first, cache, [prompts.answers[i] for i in chosen])
    row_margins = margins(first, [prompts.first_tokens[i] for i in chosen]).tolist()
    last = prompt.last
    out = []
    for row, (sample, text) in enumerate(zip(samples, texts, strict=True)):
        parsed = bench.parse(text, sample, protocol)
        out.append(
            {
                "sample_id": sample.sample_id,
                "prediction": text,
                "parsed": parsed,
                "score": 0.0 if parsed is None else float(bench.score(parsed, sample, protocol)),
                "first_word_score": bench.first_word_score(text, sample, protocol),
                "stopped": stopped[row],
                "reference_logprob": logprobs[row],
                "margin": None if math.isnan(row_margins[row]) else row_margins[row],
                "prompt_tokens": prompt.prompt_tokens[row],
                "visual_tokens": last.visual_tokens[row],
                "kept_tokens": last.kept_tokens[row],
                "keeps_token_0": bool((last.kept_index[row] == 0).any()) if last.visual_tokens[row] else None,
            }
        )
    return out

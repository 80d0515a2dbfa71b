"""A prepared batch through the model: greedy answers, and how likely it finds the reference answer.

Nothing here knows benchmarks or files. The second starts from the cache of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList

from hawk.models.base import VisionLanguageModel
from hawk.models.cache import NAME as CACHE
from hawk.models.cache import given_cache
from hawk.pruning.prompt import PrunedPrompt


def generate(
    vlm: VisionLanguageModel, prompt: PrunedPrompt, max_new_tokens: int
) -> tuple[list[str], list[bool], Tensor, Any]:
    """Greedy decoding; every setting is ours, none is the checkpoint's.

    Returns the texts, of each whether it came to an end before the limit, the float32 logits
    [batch, vocabulary] behind the prompts, and the cache as it was then: what the reference answer's
    log-probability starts from, without a second prefill.
    """
    defaults = vlm.model.generation_config
    settings = GenerationConfig(
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        max_new_tokens=max_new_tokens,
        eos_token_id=defaults.eos_token_id,
        pad_token_id=defaults.pad_token_id,
        disable_compile=True,
        use_cache=True,
        return_dict_in_generate=True,
    )
    first: list[Tensor] = []

    def remember_first(ids: Tensor, logits: Tensor) -> Tensor:
        if not first:
            first.append(logits.clone())
        return logits

    vlm.model.generation_config = settings  # what is not set here would be taken from the checkpoint's
    try:
        out = vlm.model.generate(
            **prompt.kwargs(),
            generation_config=settings,
            logits_processor=LogitsProcessorList([remember_first]),
        )
    finally:
        vlm.model.generation_config = defaults
    new, cache = out.sequences[:, prompt.input_ids.shape[1] :], given_cache(out)
    if new.shape[1] > 1:  # the last token is in no cache
        cache.crop(1 - new.shape[1])
    texts = vlm.processor.tokenizer.batch_decode(new, skip_special_tokens=True)
    return texts, _stopped(new, defaults.eos_token_id), first[0], cache


def _stopped(new: Tensor, ends: int | Sequence[int] | None) -> list[bool]:
    """Whether each row of new tokens holds an end token; what stands behind one is padding."""
    ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    return torch.isin(new, torch.tensor(ends, dtype=new.dtype, device=new.device)).any(1).tolist()


def reference_logprobs(
    vlm: VisionLanguageModel,
    prompt: PrunedPrompt,
    first: Tensor,
    cache: Any,
    answers: Sequence[Sequence[int]],
) -> list[float]:
    """Teacher-forced log-probability of each reference answer, summed over its tokens (nats).

    The answer goes on top of the prompt's cache, as in decoding, so that what a method does at
    prefill (pruning inside the model) holds here as well.
    """
    width = max(map(len, answers))
    device = prompt.input_ids.device
    ids = torch.full((len(answers), width), int(answers[0][0]), device=device)
    real = torch.zeros(len(answers), width, dtype=torch.bool, device=device)
    for row, answer in enumerate(answers):
        ids[row, : len(answer)] = torch.tensor(answer, device=device)
        real[row, : len(answer)] = True
    logits = first[:, None]
    if width > 1:
        steps = torch.arange(1, width, device=device)
        more = vlm.model(
            input_ids=ids[:, :-1],
            # Padding behind an answer is seen by nothing that is read.
            attention_mask=torch.cat([prompt.attention_mask, torch.ones_like(ids[:, :-1])], dim=1),
            position_ids=prompt.position_ids[..., -1:] + steps,
            use_cache=True,
            **{CACHE: cache},
        )
        logits = torch.cat([logits, more.logits.float()], dim=1)
    logprobs: Tensor = logits.float().log_softmax(-1).gather(-1, ids[..., None])[..., 0]
    return (logprobs * real).sum(1).tolist()

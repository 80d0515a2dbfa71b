"""``with pruner.attach(model):`` — the model's own ``generate``, on a pruned prompt."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hawk.errors import InputError
from hawk.models import family_of
from hawk.models.base import remember_markers
from hawk.pruning.prompt import CONSUMED, prune

if TYPE_CHECKING:
    from hawk.pruning.base import Pruner


@contextmanager
def attach(pruner: Pruner, model: nn.Module, processor: Any = None) -> Iterator[None]:
    """Prune in every ``model.generate`` call inside the context.

    The result has the same shape and meaning as without pruning: full prompt + new tokens, with
    ``max_length`` and ``min_length`` counted on the full prompt. With no visual token, or at ratio
    0, the plain ``generate`` is called with its arguments untouched. ``model(...)`` called directly
    is not pruned. Nested contexts: the inner pruner is used. Attentions, hidden states and caches
    in the result, custom logits processors and stopping criteria see the pruned prompt.

    The override lies on the instance and is taken away on exit, also after an exception. It is
    seen by every thread that uses the model object; attach in one thread at a time.

    processor is needed for models that hawk.load did not load and whose vocabulary is not a
    published one: the chat template's token ids are read off it.
    """
    model = _base_model(model)
    family = family_of(model)
    if processor is not None:
        remember_markers(model, family.markers(processor.tokenizer, model.config))
    pruner.check(model, family)
    own = model.__dict__.get("generate")
    plain = model.generate

    def generate(self: nn.Module, inputs: Tensor | None = None, **kwargs: Any) -> Any:
        ids = kwargs.get("input_ids") if inputs is None else inputs
        placeholders = family.placeholders(self.config).values()
        if ids is None or pruner.inactive or not any((ids == token).any() for token in placeholders):
            return plain(inputs, **kwargs) if inputs is not None else plain(**kwargs)
        _refuse(kwargs)
        with torch.no_grad():
            prompt = prune(pruner, self, family, {**kwargs, "input_ids": ids, **_mask(self, ids, kwargs)})
        kwargs = {key: value for key, value in kwargs.items() if key not in CONSUMED}
        _shift_lengths(self, kwargs, prompt.removed_width)
        if kwargs.get("streamer") is not None:
            kwargs["streamer"] = _FullPromptStreamer(kwargs["streamer"], prompt.full_ids)
        if family.position_rows == 1:
            kwargs["use_cache"] = True  # 2-D positions with gaps are only right with a cache
        with pruner.hooks(self, family):
            result = plain(**prompt.kwargs(), **kwargs)
        return _restore_prompt(result, prompt.full_ids, prompt.input_ids.shape[1])

    model.generate = types.MethodType(generate, model)
    try:
        yield
    finally:
        if own is None:
            del model.generate
        else:
            model.generate = own


def _base_model(model: nn.Module) -> nn.Module:
    """The transformers model below torch.compile and peft wrappers."""
    model = getattr(model, "_orig_mod", model)
    if hasattr(model, "get_base_model"):
        config = next(iter(model.peft_config.values()))
        if getattr(config, "is_prompt_learning", False):
            raise InputError("prompt-tuning adapters put virtual tokens before the prompt: not supported.")
        model = model.get_base_model()
    return model


def _mask(model: nn.Module, ids: Tensor, kwargs: dict[str, Any]) -> dict[str, Tensor]:
    """The attention mask, inferred from the pad token as ``generate`` does when none is given."""
    if kwargs.get("attention_mask") is not None:
        return {}
    pad = model.generation_config.pad_token_id
    eos = model.generation_config.eos_token_id
    ends = eos if isinstance(eos, list) else [eos]
    usable = pad is not None and pad not in ends and bool((ids == pad).any())
    return {"attention_mask": (ids != pad).long() if usable else torch.ones_like(ids)}


def _refuse(kwargs: dict[str, Any]) -> None:
    cache = kwargs.get("past_key_values")
    if cache is not None and cache.get_seq_length() > 0:
        raise InputError("past_key_values is not empty: a pruned prompt cannot continue a cache.")
    if kwargs.get("inputs_embeds") is not None:
        raise InputError("pass input_ids and pixel_values, not inputs_embeds: visual tokens are found by id.")


def _shift_lengths(model: nn.Module, kwargs: dict[str, Any], removed: int) -> None:
    """Lengths that count the prompt keep their unpruned meaning."""
    given = kwargs.get("generation_config")
    config = given if given is not None else model.generation_config
    shifted = {}
    for name in ("max_length", "min_length"):
        if kwargs.get(name) is not None:
            kwargs[name] = max(kwargs[name] - removed, 0)
        elif getattr(config, name, None) is not None and _is_set(config, name):
            shifted[name] = max(getattr(config, name) - removed, 0)
    if shifted:
        config = copy.deepcopy(config)
        for name, value in shifted.items():
            setattr(config, name, value)
        kwargs["generation_config"] = config


def _is_set(config: Any, name: str) -> bool:
    """max_length's default of 20 new tokens counts from the prompt it gets; it needs no shift."""
    return not (name == "max_length" and config.max_length == 20) and bool(getattr(config, name))


def _restore_prompt(result: Any, full_ids: Tensor, width: int) -> Any:
    """Pruned prompt + new tokens → full prompt + new tokens, beams and samples included."""
    sequences = result if isinstance(result, Tensor) else result.sequences
    copies = len(sequences) // len(full_ids)
    prompt = full_ids.to(sequences.device).repeat_interleave(copies, dim=0)
    restored = torch.cat([prompt, sequences[:, width:]], dim=1)
    if isinstance(result, Tensor):
        return restored
    result.sequences = restored
    return result


class _FullPromptStreamer:
    """Hands the full prompt to a streamer's first ``put`` instead of the pruned one."""

    def __init__(self, streamer: Any, full_ids: Tensor) -> None:
        self.streamer, self.full_ids, self.first = streamer, full_ids, True

    def put(self, value: Tensor) -> None:
        self.streamer.put(self.full_ids.cpu() if self.first else value)
        self.first = False

    def end(self) -> None:
        self.streamer.end()

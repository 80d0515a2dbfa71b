"""``with pruner.attach(model):`` — the model's own ``generate``, on a pruned prompt."""

from __future__ import annotations

import copy
import inspect
import threading
import types
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.models import family_of
from hawk.models.base import Family
from hawk.models.cache import NAMES as CACHE_NAMES
from hawk.models.devices import inference_device
from hawk.models.hooks import Hooks, own_hooks
from hawk.models.turns import remember_markers
from hawk.pruning.context import LastRun, Selector
from hawk.pruning.prompt import CONSUMED, READ, prune

# Arguments about the positions of the unpruned prompt.
POSITIONS = ("position_ids", "cache_position", "rope_deltas")
PIXELS = ("pixel_values", "pixel_values_videos")
LIKE_IDS = ("attention_mask", "mm_token_type_ids")  # a number per token of the prompt
# What stored features bring along, which no model takes.
STORED = ("image_tiled", "video_frames", "observed", "mm_encoder_outputs")


@contextmanager
def attach(pruner: Selector, model: nn.Module, processor: Any = None) -> Iterator[None]:
    """Prune in every ``model.generate`` call inside the context.

    The result has the same shape and meaning as without pruning: full prompt + new tokens, with
    ``max_length`` and ``min_length`` counted on the full prompt, whatever the decoding strategy
    (greedy, sampling, beams, several returned sequences, assisted, static cache, streamer). With
    no visual token, or at ratio 0, the plain ``generate`` is called with its arguments untouched.
    Refused, at any ratio above 0: ``inputs_embeds``, in which visual tokens cannot be told, a cache
    that holds something already, whose positions are not those of a pruned prompt, positions of one's
    own, and ``vision_…`` settings other than the configuration's.

    Not hidden: attentions, hidden states and caches in the result, custom logits processors and
    stopping criteria see the pruned prompt. For families with plain 2-D positions ``use_cache``
    is always on (without a cache transformers takes gaps in positions for packed sequences).
    Models with sliding windows are refused: a window counts what is in the cache, so a pruned prompt would
    see further back than the unpruned one.

    ``model(...)`` called directly is not pruned, nor is a deep copy of the model. Nested contexts:
    the innermost pruner is used, alone. Threads and asyncio tasks: one that attached something, or was
    started with a copy of the context of one that did (``asyncio.to_thread``), uses its own innermost
    pruner; one that attached nothing (a worker that generates into a streamer, say) uses the one
    attached last by any other. ``pruner.last`` then tells of the call that came last.

    The override lies on the instance and is gone when the last context ends, also by an exception.
    Wrappers of torch.compile and peft are looked through; prompt-tuning adapters are refused.

    processor is needed for models that hawk.load did not load and whose vocabulary is not a
    published one: the chat template's token ids are read off it. CDPruner's option ``clip`` reads the
    question's text with its tokenizer.
    """
    model = _base_model(model)
    family = family_of(model)
    if "mm_encoder_outputs" not in inspect.signature(model.forward).parameters:
        raise InputError("this model takes no mm_encoder_outputs; transformers 5.18 or later is needed.")
    if processor is not None:
        if not hasattr(processor, "tokenizer"):
            raise InputError(
                f"processor is a {type(processor).__name__}, which has no tokenizer: pass what "
                "AutoProcessor.from_pretrained returns."
            )
        tokenizer = processor.tokenizer
        remember_markers(model, family.markers(tokenizer, model.config), tokenizer)
    pruner.check(model, family)
    with own_hooks() as scope:
        entry = _Entry(pruner, family, scope)
        _push(model, entry)
        try:
            yield
        finally:
            _pop(model, entry)


@dataclass(eq=False)
class _Entry:
    """One open ``attach``."""

    pruner: Selector
    family: Family
    scope: Hooks  # tells whose it is; holds no hook


@dataclass
class _Override:
    """What is attached to one model, and how its ``generate`` was before."""

    plain: Any
    had_own: bool
    entries: list[_Entry] = field(default_factory=list)

    def current(self) -> _Entry | None:
        entries = self.entries.copy()  # another thread may leave meanwhile
        usable = [entry for entry in entries if entry.scope.opened_here] or entries
        return usable[-1] if usable else None


_OVERRIDES: weakref.WeakKeyDictionary[nn.Module, _Override] = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()

# What happened in a pruner's last call, by the pruner's id: pruners that are equal, or cannot be
# hashed, each have their own. It holds token numbers only, and goes with its pruner.
_LAST: dict[int, LastRun] = {}


def last_run(pruner: Selector) -> LastRun:
    """What happened in the last ``generate`` inside :func:`attach`; empty before the first."""
    return _LAST.get(id(pruner), LastRun())


def _remember(pruner: Selector, last: LastRun) -> None:
    if id(pruner) not in _LAST:
        weakref.finalize(pruner, _LAST.pop, id(pruner), None).atexit = False
    _LAST[id(pruner)] = last


def _push(model: nn.Module, entry: _Entry) -> None:
    with _LOCK:
        if model not in _OVERRIDES:
            had_own = "generate" in model.__dict__
            _OVERRIDES[model] = _Override(model.generate, had_own)
            model.generate = types.MethodType(_generate, model)
        _OVERRIDES[model].entries.append(entry)


def _pop(model: nn.Module, entry: _Entry) -> None:
    with _LOCK:
        override = _OVERRIDES[model]
        override.entries.remove(entry)
        if override.entries:
            return
        del _OVERRIDES[model]
        if override.had_own:
            model.generate = override.plain
        else:
            del model.generate


def _generate(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Stands in for ``model.generate`` while something is attached."""
    override = _OVERRIDES.get(self)
    entry = None if override is None else override.current()
    if override is None or entry is None:  # a deep copy, or a context that closed meanwhile
        return type(self).generate(self, *args, **kwargs)
    pruner = entry.pruner
    _remember(pruner, LastRun())  # whatever happens now, nothing is told of an older call
    given = _by_name(override.plain, args, kwargs)
    if not pruner.inactive:
        _refuse(self, pruner, given)
    ids = given.get("input_ids") if given.get("inputs") is None else given["inputs"]
    if ids is None:
        return override.plain(*args, **kwargs)
    if not isinstance(ids, Tensor) or ids.ndim != 2:
        shape = f"a tensor of shape {list(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
        raise InputError(f"input_ids is {shape}; a tensor [batch, tokens] is allowed.")
    ids = ids.cpu()  # once: everything below is told from this
    if not pruner.inactive:
        _check_tensors(self, ids, given)
    visual = _visual_tokens(ids, entry.family.placeholders(self.config).values())
    if pruner.inactive or not visual.any():
        _remember(pruner, LastRun.unpruned(visual.tolist()))
        return override.plain(*args, **kwargs)
    return _pruned(self, pruner, entry.family, override.plain, ids, given)


def _pruned(
    model: nn.Module, pruner: Selector, family: Family, plain: Any, ids: Tensor, kwargs: dict[str, Any]
) -> Any:
    device = inference_device(model)
    inputs = {**kwargs, "input_ids": ids, **_mask(model, ids, kwargs)}
    inputs = {
        name: value.to(device) if isinstance(value, Tensor) and name not in READ else value
        for name, value in inputs.items()
    }
    with torch.no_grad():
        prompt = prune(pruner, model, family, inputs, device=device)
    kwargs = {key: value for key, value in kwargs.items() if key not in CONSUMED}
    _shift_lengths(model, kwargs, prompt.removed_width)
    if kwargs.get("streamer") is not None:
        kwargs["streamer"] = _FullPromptStreamer(kwargs["streamer"], prompt.full_ids)
    if family.position_rows == 1:
        kwargs["use_cache"] = True  # 2-D positions with gaps are only right with a cache
    if pruner.inside_model:  # on a GPU transformers compiles decoding with a static cache
        kwargs.setdefault("disable_compile", True)
    else:
        _remember(pruner, prompt.last)  # already while it generates, for who reads from a streamer
    with pruner.hooks(model, family, prompt):
        result = plain(**prompt.kwargs(), **kwargs)
    _remember(pruner, prompt.last)
    return _restore_prompt(result, prompt.full_ids, prompt.input_ids.shape[1])


def _base_model(model: nn.Module) -> nn.Module:
    """The transformers model below torch.compile and peft wrappers; anything else is refused."""
    model = getattr(model, "_orig_mod", model)
    if hasattr(model, "get_base_model"):
        config = next(iter(model.peft_config.values()))
        if getattr(config, "is_prompt_learning", False):
            raise InputError("prompt-tuning adapters put virtual tokens before the prompt: not supported.")
        model = model.get_base_model()
    what = type(model).__name__
    if not isinstance(model, nn.Module) or not hasattr(model, "generate"):
        parts = (
            dict(model.named_children()) if isinstance(model, nn.Module) else getattr(model, "__dict__", {})
        )
        for name, part in parts.items():
            if hasattr(part, "generate"):
                raise InputError(f"{what} is no transformers model but holds one: attach to its .{name}.")
    if not isinstance(model, nn.Module) or not hasattr(model, "config"):
        raise InputError(f"{what} is no transformers model: attach to what hawk.load(...).model is.")
    if not hasattr(model, "generate"):
        raise InputError(
            f"{what} has no generate, for it has no language head: load the checkpoint with "
            "AutoModelForImageTextToText."
        )
    return model


def _visual_tokens(ids: Tensor, placeholders: Iterable[int]) -> Tensor:
    """Placeholders per row, [batch]."""
    return torch.stack([(ids == token).sum(-1) for token in placeholders]).sum(0)


def _by_name(plain: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """All arguments by name; ``generate`` takes its first ones by position as well."""
    if not args:
        return dict(kwargs)
    bound = inspect.signature(plain).bind_partial(*args, **kwargs).arguments
    extra = bound.pop("kwargs", {})
    return {**bound, **extra}


def _mask(model: nn.Module, ids: Tensor, kwargs: dict[str, Any]) -> dict[str, Tensor]:
    """The attention mask, inferred from the pad token as ``generate`` does when none is given."""
    if kwargs.get("attention_mask") is not None:
        return {}
    pad, eos = _setting(model, kwargs, "pad_token_id"), _setting(model, kwargs, "eos_token_id")
    ends = eos if isinstance(eos, list) else [eos]
    usable = pad is not None and pad not in ends and bool((ids == pad).any())
    return {"attention_mask": (ids != pad).long() if usable else torch.ones_like(ids)}


def _setting(model: nn.Module, kwargs: dict[str, Any], name: str) -> Any:
    """A generation setting: the argument, else the given configuration's, else the model's."""
    sources = (kwargs.get("generation_config"), model.generation_config)
    values = [kwargs.get(name), *(getattr(source, name, None) for source in sources)]
    return next((value for value in values if value is not None), None)


def _check_tensors(model: nn.Module, ids: Tensor, given: dict[str, Any]) -> None:
    """Refuse by name what the engine would trip over, or read as something else than was meant."""
    if ids.dtype.is_floating_point or ids.dtype.is_complex or ids.dtype == torch.bool:
        raise InputError(f"input_ids are {ids.dtype}; whole numbers are allowed.")
    if not ids.numel():
        raise InputError(f"input_ids {list(ids.shape)} hold no token.")
    known = getattr(model.get_input_embeddings(), "num_embeddings", None)
    if known is not None and not 0 <= int(ids.min()) <= int(ids.max()) < known:
        wrong = int(ids.min()) if ids.min() < 0 else int(ids.max())
        raise InputError(f"input_ids hold {wrong}; the model's vocabulary is 0-{known - 1}.")
    for name in (*PIXELS, *LIKE_IDS):
        value = given.get(name)
        if value is not None and not isinstance(value, Tensor):
            raise InputError(f"{name} is {type(value).__name__}; a tensor is allowed.")
        if name in LIKE_IDS and value is not None and value.shape != ids.shape:
            raise InputError(f"{name} {list(value.shape)} does not fit input_ids {list(ids.shape)}.")
    mask = given.get("attention_mask")
    if mask is not None and mask.is_floating_point() and not torch.isfinite(mask).all():
        raise InputError("attention_mask holds NaN or infinity; zeros and ones are allowed.")


def _refuse(model: nn.Module, pruner: Selector, kwargs: dict[str, Any]) -> None:
    """Refuse by name what a pruned prompt cannot honour; dropped in silence it would change the result."""
    for name in CACHE_NAMES:
        cache = kwargs.get(name)
        if cache is not None and not hasattr(cache, "get_seq_length"):
            raise InputError(f"{name} is {type(cache).__name__}; a transformers Cache is allowed.")
        if cache is not None and cache.get_seq_length() > 0:
            raise InputError(f"{name} is not empty: a pruned prompt cannot continue a cache.")
    if kwargs.get("inputs_embeds") is not None:
        raise InputError("pass input_ids and pixel_values, not inputs_embeds: visual tokens are found by id.")
    if kwargs.get("inputs") is not None and kwargs.get("input_ids") is not None:
        raise InputError("pass the prompt as input_ids or as inputs, not as both.")
    takes = inspect.signature(model.forward).parameters
    for name, value in kwargs.items():
        if value is None:
            continue
        if name in POSITIONS:
            raise InputError(
                f"{name} cannot be given with pruning, which makes positions from the whole prompt."
            )
        # The images are encoded before the model's own pass, as its configuration says.
        if name.startswith("vision_") and value != getattr(model.config, name, None):
            raise InputError(
                f"{name}={value!r} cannot be given with pruning. Set model.config.{name}, which is "
                f"{getattr(model.config, name, None)!r}."
            )
        if name in CONSUMED and name not in (*takes, "inputs", *STORED):
            raise InputError(f"{name} is no argument of {type(model).__name__}.")
    if pruner.inside_model and _setting(model, kwargs, "guidance_scale") not in (None, 1):
        raise InputError(
            "guidance_scale runs a second prompt, which methods that prune inside the model lack."
        )


def _shift_lengths(model: nn.Module, kwargs: dict[str, Any], removed: int) -> None:
    """Lengths that count the prompt keep their unpruned meaning."""
    given = kwargs.get("generation_config")
    shifted = {}
    for name, least in (("max_length", 1), ("min_length", 0)):
        value = _setting(model, kwargs, name)
        if value:  # neither absent nor a minimum of 0
            shifted[name] = max(value - removed, least)
    if given is None or any(kwargs.get(name) is not None for name in shifted):
        kwargs.update(shifted)
    elif shifted:
        given = copy.deepcopy(given)
        for name, value in shifted.items():
            setattr(given, name, value)
        kwargs["generation_config"] = given


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

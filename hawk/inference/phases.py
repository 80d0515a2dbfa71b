"""One generation, taken apart: time by phase, KV-cache bytes, peak memory, tokens.

The model's own ``generate`` runs; the clock is read by hooks on the vision tower and by a logits
processor, which is called once after every forward pass.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from hawk.models.base import VisionLanguageModel
from hawk.models.cache import NAME as CACHE
from hawk.models.hooks import own_hooks
from hawk.pruning.base import Pruner
from hawk.pruning.context import LastRun
from hawk.pruning.prompt import prune


@dataclass(frozen=True)
class Phases:
    """Milliseconds and bytes of one ``generate`` call; tokens are summed over its batch.

    vision_ms: vision tower and projector. token_score_ms: everything that pruning adds before the
    prefill (positions, scores, selection, packing); 0 unpruned. prefill_ms: up to the first new
    token. kv_cache_bytes: of the prompt, after the prefill. peak_memory_bytes: CUDA allocator's on
    a GPU, resident memory of the process on a CPU.
    """

    vision_ms: float
    token_score_ms: float
    prefill_ms: float
    decode_ms_per_token: float
    total_ms: float
    kv_cache_bytes: int
    peak_memory_bytes: int
    prompt_tokens: int
    visual_tokens: int
    kept_tokens: int


@torch.inference_mode()
def generate_by_phase(
    vlm: VisionLanguageModel,
    inputs: Mapping[str, Any],
    pruner: Pruner | None,
    max_new_tokens: int,
    fixed_length: bool = False,
) -> tuple[Phases, Tensor, LastRun]:
    """Greedy generation: what it took, the new tokens [batch, new], and what was kept of every row.

    pruner: None calls the plain model, and what was kept is empty. fixed_length: always
    ``max_new_tokens``, so that runs can be compared.
    """
    model, device = vlm.model, vlm.model.device
    inputs = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in inputs.items()}
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    stamps: list[float] = []
    cache_bytes: list[int] = []

    def stamp(ids: Tensor, scores: Tensor) -> Tensor:
        stamps.append(_now(device))
        if not cache_bytes:
            cache_bytes.append(_cache_bytes(cache))
        return scores

    settings: dict[str, Any] = {
        "do_sample": False, "num_beams": 1, "max_new_tokens": max_new_tokens,
        CACHE: cache, "logits_processor": [stamp], "use_cache": True,
    }  # fmt: skip
    if fixed_length:
        settings["min_new_tokens"] = max_new_tokens
    placeholders = vlm.family.placeholders(model.config).values()
    visual = int(sum((inputs["input_ids"] == token).sum() for token in placeholders))
    last, selected = LastRun(), 0.0
    with _peak_memory(device) as peak, _vision_time(vlm, device) as vision:
        start = _now(device)
        if pruner is None:
            out = model.generate(**inputs, **settings)
            width = inputs["input_ids"].shape[1]
        else:
            prompt = prune(pruner, model, vlm.family, inputs)
            selected = _now(device) - start - sum(vision)
            with pruner.hooks(model, vlm.family, prompt):
                out = model.generate(**prompt.kwargs(), **settings)
            width, last = prompt.input_ids.shape[1], prompt.last
        end = _now(device)
    steps = len(stamps) - 1
    real = inputs.get("attention_mask")
    phases = Phases(
        vision_ms=1e3 * sum(vision),
        token_score_ms=1e3 * selected,
        prefill_ms=1e3 * (stamps[0] - start - sum(vision) - selected),
        decode_ms_per_token=1e3 * (stamps[-1] - stamps[0]) / steps if steps else 0.0,
        total_ms=1e3 * (end - start),
        kv_cache_bytes=cache_bytes[0],
        peak_memory_bytes=peak[0],
        prompt_tokens=int(real.sum()) if real is not None else inputs["input_ids"].numel(),
        visual_tokens=visual,
        kept_tokens=visual if pruner is None else sum(last.kept_tokens),
    )
    return phases, out[:, width:], last


def _now(device: torch.device) -> float:
    """Seconds; what was started on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@contextmanager
def _vision_time(vlm: VisionLanguageModel, device: torch.device) -> Iterator[list[float]]:
    """Seconds of every pass through the vision tower and the projector, where there is one."""
    spent: list[float] = []
    started: list[float] = []
    tower, projector = vlm.family.vision_modules(vlm.model)
    last: nn.Module = tower if projector is None else projector
    with own_hooks() as hooks:
        hooks.before(tower, lambda *given: started.append(_now(device)))
        hooks.after(last, lambda *given: spent.append(_now(device) - started.pop()))
        yield spent


def _cache_bytes(cache: Any) -> int:
    return sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values) if t is not None)


@contextmanager
def _peak_memory(device: torch.device) -> Iterator[list[int]]:
    """One number, filled at the end: the highest memory inside the block, in bytes."""
    peak: list[int] = []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.append(torch.cuda.max_memory_allocated(device))
        return
    reset = Path("/proc/self/clear_refs")
    try:
        reset.write_text("5")  # Linux: forget the highest resident size so far
    except OSError:
        reset = Path()
    yield peak
    peak.append(_resident_peak(reset))


def _resident_peak(reset: Path) -> int:
    if reset.name:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    import resource

    # Without /proc: the highest of the whole process, in bytes on macOS and kilobytes elsewhere.
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else 1024 * highest

"""The mean query of questions: what ``Hawk(query="calibrated")`` asks in place of the prompt's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.models.base import Family
from hawk.pruning.context import PruningContext
from hawk.pruning.methods.hawk import Hawk
from hawk.pruning.prompt import prune


@torch.inference_mode()
def mean_query(
    model: nn.Module,
    family: Family,
    batches: Iterable[Mapping[str, Any]],
    layer: int = 0,
    query_span: str = "instruction",
) -> tuple[Tensor, int]:
    """The mean over prompts of each question's mean query, [heads, head_dim] in float64, and their number.

    As ``Hawk`` asks them: raw products of ``layer``, bias and query norm included, before rotary positions.
    batches: inputs as a processor gives them. Prompts without images are not counted; raises InputError
    where there is no other. ``HeadWeights(…, mean_query=tuple(map(tuple, found.tolist())))`` keeps it.
    """
    recorder = _QueryRecorder(layer=layer, query_span=query_span, score_dtype="float64")
    for inputs in batches:
        prune(recorder, model, family, inputs)
    if not recorder.queries:
        raise InputError("mean query: no prompt with an image.")
    return torch.stack(recorder.queries).mean(0), len(recorder.queries)


@dataclass(frozen=True)
class _QueryRecorder(Hawk):
    """Writes down what every question asks, and removes nothing."""

    queries: list[Tensor] = field(default_factory=list, repr=False)

    def kept_indices(self, context: PruningContext) -> Tensor:
        self.queries.append(self.mean_query(context).cpu())
        return torch.arange(context.tokens, device=context.visual_index.device)

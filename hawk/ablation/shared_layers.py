"""Several heads of one layer in one process: what lies before that layer is computed once per batch.

A head's ablation changes nothing below its layer. So a batch's prompt is prepared once, passes the
layers below once, and every head starts its prefill from there. Values, and so digests, are those of
one head at a time: the same operations on the same inputs, fewer times. What is kept is one batch's,
so memory does not grow with the samples.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hawk.ablation.ablate_heads import AblateHeads
from hawk.core.heads import Head
from hawk.core.progress import progress
from hawk.inference.prompts import Prompts
from hawk.inference.scoring import batches, prepared, score_prompt
from hawk.models.base import Family
from hawk.models.cache import given_cache
from hawk.models.hooks import Hooks, own_hooks
from hawk.models.partial import run_to
from hawk.pruning.methods.unpruned import Unpruned
from hawk.pruning.prompt import PrunedPrompt


@torch.inference_mode()
def score_layer(
    prompts: Prompts,
    batch_size: int,
    heads: Sequence[Head],
    mode: str,
    means: Mapping[int, Tensor] | None = None,
    what: str = "score",
) -> list[list[dict[str, Any]]]:
    """Per head the rows of every sample, as from :func:`hawk.inference.scoring.score_samples`.

    heads: of one layer.
    """
    model, family = prompts.vlm.model, prompts.vlm.family
    (layer,) = {head.layer for head in heads}
    rows_by_head: list[list[dict[str, Any] | None]] = [[None] * len(prompts.samples) for _ in heads]
    for chosen in progress(batches([*map(len, prompts.ids)], batch_size), what):
        pruner = Unpruned()
        prompt = prepared(prompts, pruner, chosen)
        below = LayersBelow(model, family, layer, prompt)
        for rows, head in zip(rows_by_head, heads, strict=True):
            with AblateHeads([head], mode=mode, means=means).attach(model), below.reused():
                scored = score_prompt(prompts, pruner, prompt, chosen)
            for i, row in zip(chosen, scored, strict=True):
                rows[i] = row
    return [[row for row in rows if row is not None] for rows in rows_by_head]


class LayersBelow:
    """What the untouched layers below ``layer`` make of a batch of prompts: hidden states and cache."""

    def __init__(self, model: nn.Module, family: Family, layer: int, prompt: PrunedPrompt) -> None:
        self.layers, self.layer = family.layers(model), layer
        self.hidden: Tensor | None = None  # [batch, L, hidden], the input of ``layer``
        self.cached: list[tuple[Tensor, Tensor]] = []  # keys and values per layer below
        if layer > 0:
            self._run(model, prompt)

    def _run(self, model: nn.Module, prompt: PrunedPrompt) -> None:
        args, kwargs = run_to(
            model, self.layers[self.layer], **prompt.kwargs(), use_cache=True, logits_to_keep=1
        )
        filled = given_cache(kwargs).layers[: self.layer]
        self.hidden, self.cached = args[0], [(layer.keys, layer.values) for layer in filled]

    @contextmanager
    def reused(self) -> Iterator[None]:
        """Inside, a prefill of these prompts starts at ``layer``. The model is as before after it."""
        if self.hidden is None:
            yield
            return

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if given_cache(kwargs).get_seq_length(self.layer) == 0:
                return (self.hidden, *args[1:]), kwargs
            return None

        with _REPLACING, own_hooks() as hooks:
            before = {number: self.layers[number].__dict__.get("forward") for number in range(self.layer)}
            hooks.before(self.layers[self.layer], enter)
            try:
                for number, (keys, values) in enumerate(self.cached):
                    layer = self.layers[number]
                    layer.forward = _from_cache(hooks, layer.forward, number, keys, values)
                yield
            finally:
                for number, forward in before.items():
                    if forward is None:
                        self.layers[number].__dict__.pop("forward", None)
                    else:
                        self.layers[number].forward = forward


# No hook can leave a layer out, so ``forward`` itself is replaced: by one thread at a time, because two
# would put back each other's. Other threads' passes go through as ever.
_REPLACING = threading.RLock()


def _from_cache(hooks: Hooks, forward: Any, number: int, keys: Tensor, values: Tensor) -> Any:
    """A layer that in an own prefill only fills its cache; what it would return is not needed."""

    def pass_on(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        cache = given_cache(kwargs) if hooks.opened_here else None
        if cache is None or cache.get_seq_length(number) > 0:
            return forward(hidden_states, *args, **kwargs)
        cache.update(keys, values, number)
        return hidden_states

    return pass_on

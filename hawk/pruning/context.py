"""One sample as a pruner sees it, what happened to it, and what the engine asks of a pruner."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.models.base import Family, ScoringLayer, VisualItem, markers_of
from hawk.models.turns import instruction_index, text_of
from hawk.pruning.fetch import send, take

T = TypeVar("T")


@dataclass
class PruningContext:
    """One sample of a batch, padding removed, as a pruner sees it. n visual tokens, T in all.

    Ids, positions and indices lie on the CPU, wherever features and hidden states are: nothing that is made
    of them waits for a GPU. :func:`hawk.pruning.fetch.send` brings an index to what it is an index into.
    """

    model: nn.Module
    family: Family
    ids: Tensor  # [T]
    positions: Tensor  # [rows, T], of the unpruned prompt
    items: list[VisualItem]  # in prompt order
    visual_index: Tensor  # [n] positions in the prompt, ascending
    key: bytes  # names the sample: what a seeded pruner draws from, the same in every batch
    hidden_at: Callable[[int], Tensor]  # layer → input of that decoder layer, [T, hidden]
    projected: Callable[[str, int], Tensor]  # "queries" or "keys", layer → [T, heads, head_dim]
    query_ids: Tensor | None = None  # [Q] another sample's question instead of this one's
    relevant: Callable[[], Tensor] | None = None  # → bool [n], which tokens show the asked object
    observed: Tensor | None = None  # [n] what the pruner's ``watch`` saw in the vision tower
    # Values on a GPU that may be NaN or infinite, and what refuses them: the batch's are looked at together,
    # after all rows have been pruned, for every look is a wait.
    unchecked: list[tuple[Tensor, Callable[[Tensor], object]]] = field(default_factory=list)
    _known: dict[tuple[str, int], tuple[object, Any]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def once(self, what: str, owner: object, compute: Callable[[], T]) -> T:
        """``compute()``, called once per prompt: what a selection image by image needs of all of it.

        owner: the pruner on whose options it depends; None where it depends on nothing but ``what``.
        """
        key = (what, id(owner))
        if key not in self._known:
            self._known[key] = owner, compute()  # the owner stays, so that its id stays its own
        return self._known[key][1]

    @property
    def tokens(self) -> int:
        return len(self.visual_index)

    @property
    def device(self) -> torch.device:
        """Where features and hidden states are."""
        return self.items[0].features.device

    @cached_property
    def features(self) -> Tensor:
        """Visual embeddings in prompt order, [n, hidden]."""
        return torch.cat([item.features for item in self.items])

    @cached_property
    def text_index(self) -> Tensor:
        """Positions of everything that is no visual token."""
        mask = np.ones(len(self.ids), dtype=bool)
        mask[self.visual_index.numpy()] = False
        return torch.from_numpy(np.flatnonzero(mask))

    @cached_property
    def budget_group(self) -> Tensor:
        """Which image, or which frame of a video, every visual token belongs to, [n].

        ``budget: per_image`` gives each of them its own share.
        """
        return self._groups([item.grid[0] if item.modality == "video" else 1 for item in self.items])

    @cached_property
    def tile_group(self) -> Tensor:
        """Which tile of an image, or which frame of a video, every visual token belongs to, [n].

        Raises InputError where a family joins an image's tiles, so that tokens belong to none.
        """
        if any(item.meta.get("tiled") for item in self.items):
            raise InputError(
                f"budget 'per_tile': {self.family.name!r} joins the tiles of an image and resizes them, so "
                "its tokens are of no single tile; use per_image."
            )
        return self._groups([item.grid[0] for item in self.items])

    def _groups(self, counts: list[int]) -> Tensor:
        """``counts`` equal parts of every item, numbered in prompt order."""
        groups, used = [], 0
        for item, frames in zip(self.items, counts, strict=True):
            # A token beyond the last whole frame (a closing newline) goes with that frame.
            of_frame = np.arange(item.tokens) // max(1, item.tokens // frames)
            groups.append(used + np.minimum(of_frame, frames - 1))
            used += frames
        return torch.from_numpy(np.concatenate(groups))

    def query_index(self, span: str = "instruction") -> Tensor:
        """Positions of the query text, see :func:`hawk.models.turns.instruction_index`.

        What stands between the frames of one video (their times, in Qwen3-VL) or the tiles of one image
        (their places, in SmolVLM), or before the first of them, is no query.
        """
        return self.once(f"query {span}", None, lambda: self._find_query(span))

    def _find_query(self, span: str) -> Tensor:
        visual = set(self.family.placeholders(self.model.config).values())
        markers = markers_of(self.model, self.family)
        index = np.array(instruction_index(self.ids.tolist(), visual, markers, span))
        inside = np.zeros(len(self.ids), dtype=bool)
        where, end = self.visual_index.numpy(), 0
        for item in self.items:
            begin, end = end, end + item.tokens
            inside[max(0, where[begin] - item.meta.get("lead", 0)) : where[end - 1]] = True
        outside = index[~inside[index]]
        return torch.from_numpy(outside if len(outside) else index)

    def query_embeddings(self, span: str = "instruction") -> Tensor:
        """Input embeddings of the query text, [Q, hidden]; another sample's when one is given."""
        if self.query_ids is None:
            return take(self.hidden_at(0), self.query_index(span))
        ids = send(self.query_ids, self.device)
        return self.model.get_input_embeddings()(ids[None])[0].to(self.device)

    def query_text(self, span: str = "instruction") -> str:
        """The query in words; another sample's when one is given. Needs a known tokenizer."""
        ids = self.ids[self.query_index(span)] if self.query_ids is None else self.query_ids
        return text_of(self.model, ids.tolist())

    def of_tower(self, what: str) -> Tensor:
        """``observed``, or InputError; ``what``, a method or its option, needs it."""
        if self.observed is None:
            raise InputError(
                f"{what} needs the vision tower, which stored features do not hold. "
                "Run it with features: recomputed, or pass pixel values."
            )
        return self.observed

    def scoring_layer(self, layer: int) -> ScoringLayer:
        return self.family.scoring_layer(self.model, layer)

    def generator(self, seed: int) -> torch.Generator:
        """Random numbers that depend on seed and sample, not on batch or order."""
        state = hashlib.sha256(f"{seed}:".encode() + self.key).digest()
        return torch.Generator().manual_seed(int.from_bytes(state[:8], "little") >> 1)


@dataclass
class LastRun:
    """What happened to a batch, per sample; empty where it is not known."""

    visual_tokens: list[int] = field(default_factory=list)
    kept_tokens: list[int] = field(default_factory=list)
    kept_index: list[Tensor] = field(default_factory=list)  # among its visual tokens, on the CPU

    @classmethod
    def of(cls, visual_tokens: list[int], kept_index: list[Tensor]) -> LastRun:
        return cls(list(visual_tokens), [len(index) for index in kept_index], kept_index)

    @classmethod
    def unpruned(cls, visual_tokens: list[int]) -> LastRun:
        """Of a batch from which nothing was removed."""
        return cls.of(visual_tokens, [torch.arange(count) for count in visual_tokens])


class Selector(Protocol):
    """What :mod:`hawk.pruning.prompt` and :mod:`hawk.pruning.attach` ask of a pruner.

    :class:`hawk.pruning.base.Pruner` says what each of these is.
    """

    @property
    def position_policy(self) -> str: ...

    @property
    def inside_model(self) -> bool: ...

    @property
    def inactive(self) -> bool: ...

    def check(self, model: nn.Module, family: Family) -> None: ...

    def watch(self, model: nn.Module, family: Family) -> AbstractContextManager[list[Tensor]]: ...

    def groups(self, context: PruningContext) -> Tensor: ...

    def kept_indices(self, context: PruningContext) -> Tensor: ...

    def hooks(self, model: nn.Module, family: Family, prompt: Any) -> AbstractContextManager[None]: ...

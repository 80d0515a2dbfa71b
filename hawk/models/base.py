"""What hawk needs to know about a family of multimodal LLMs, and nothing more.

The transformers model stays unmodified. A family says where the decoder's layers and projections
are, which token ids stand for visual tokens, how positions are computed, and in which shape
``generate`` wants pre-encoded features (its public argument ``mm_encoder_outputs``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.core.heads import Geometry
from hawk.core.values import whole
from hawk.models.projections import refuse_sharded
from hawk.models.turns import Markers, chatml_markers, remembered_markers

MODALITIES = ("image", "video")


@dataclass
class VisualItem:
    """One image or video as the language model receives it.

    ``features`` is [tokens, hidden]; ``levels`` are further embeddings of the same tokens that the
    family feeds to later layers (Qwen3-VL's deep stack). ``observed`` is one number per token that
    a pruner's ``watch`` saw in the vision tower, if one watched. ``grid`` counts visual tokens as (frames,
    rows, columns). ``meta`` holds plain numbers that positions are made from (the patch grid, say),
    and for a video whose frames the prompt shows one by one its ``text`` (:meth:`Family.video_text`)
    and the lengths of its ``runs`` of visual tokens; ``lead`` counts ids before its first one that are no
    text of the question.
    """

    features: Tensor
    grid: tuple[int, int, int]
    modality: str = "image"
    levels: tuple[Tensor, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    observed: Tensor | None = None

    @property
    def tokens(self) -> int:
        return self.features.shape[0]

    def to(self, device: torch.device) -> VisualItem:
        levels = tuple(level.to(device) for level in self.levels)
        return replace(self, features=self.features.to(device), levels=levels)

    @property
    def runs(self) -> list[int]:
        """How its visual tokens stand in the prompt: the length of every unbroken run."""
        return self.meta.get("runs") or [self.tokens]


def by_modality(
    items: Iterable[VisualItem],
) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, ...]]]:
    """Features and further levels of items in batch order, by modality."""
    groups: dict[str, list[VisualItem]] = {}
    for item in items:
        groups.setdefault(item.modality, []).append(item)
    features = {m: torch.cat([item.features for item in group]) for m, group in groups.items()}
    levels = {
        m: tuple(torch.cat(level) for level in zip(*(item.levels for item in group), strict=True))
        for m, group in groups.items()
    }
    return features, levels


@dataclass(frozen=True)
class Layout:
    """A grid of cells over an image, and the visual token in each cell, row by row.

    Tokens in no cell (a thumbnail, separators) show nothing of their own or all of the image.
    """

    rows: int
    columns: int
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class ScoringLayer:
    """The modules of one decoder layer from which token scores are computed."""

    norm: nn.Module
    q_proj: nn.Linear
    k_proj: nn.Linear
    heads: int
    kv_heads: int
    head_dim: int
    q_norm: nn.Module | None = None
    k_norm: nn.Module | None = None

    def queries(self, normed: Tensor) -> Tensor:
        """[..., hidden], from ``norm`` → [..., heads, head_dim], before rotary positions."""
        queries = self.q_proj(normed).unflatten(-1, (self.heads, self.head_dim))
        return queries if self.q_norm is None else self.q_norm(queries)

    def keys(self, normed: Tensor) -> Tensor:
        """[..., hidden], from ``norm`` → [..., kv_heads, head_dim], before rotary positions."""
        keys = self.k_proj(normed).unflatten(-1, (self.kv_heads, self.head_dim))
        return keys if self.k_norm is None else self.k_norm(keys)


class Family(ABC):
    """Base class; one subclass per file. The defaults fit decoders in the style of Llama."""

    name: ClassVar[str]
    # Number of rows of position_ids; 1 means plain 2-D positions.
    position_rows: ClassVar[int] = 1
    # Whether an image alone in its sample is encoded otherwise than one of several.
    several_differ: ClassVar[bool] = False
    takes_video: ClassVar[bool] = True
    # Whether the vision tower attends within windows that it packs into one sequence.
    packs_vision: ClassVar[bool] = False

    # --- where things are -------------------------------------------------------------------
    def text_config(self, model: nn.Module) -> Any:
        return model.config.text_config

    def decoder(self, model: nn.Module) -> nn.Module:
        return model.model.language_model

    def layers(self, model: nn.Module) -> nn.ModuleList:
        return self.decoder(model).layers

    def output_projection(self, model: nn.Module, layer: int) -> nn.Linear:
        """The module whose *input* holds the heads side by side: ``o_proj``."""
        projection: nn.Linear = self.layers(model)[layer].self_attn.o_proj
        refuse_sharded(projection, f"the output projection of layer {layer}")
        return projection

    def geometry(self, model: nn.Module) -> Geometry:
        return self.config_geometry(model.config)

    def config_geometry(self, config: Any) -> Geometry:
        """From the configuration alone; ``head_dim`` need not be hidden_size / heads."""
        text = getattr(config, "text_config", config)
        heads = whole(text.num_attention_heads, "the model's num_attention_heads", 1, 100_000)
        return Geometry(
            layers=text.num_hidden_layers,
            heads=heads,
            kv_heads=getattr(text, "num_key_value_heads", None) or heads,
            head_dim=getattr(text, "head_dim", None) or text.hidden_size // heads,
        )

    def scoring_layer(self, model: nn.Module, layer: int) -> ScoringLayer:
        geometry = self.geometry(model)
        block = self.layers(model)[layer]
        attention = block.self_attn
        refuse_sharded(attention.q_proj, f"the query projection of layer {layer}")
        return ScoringLayer(
            norm=block.input_layernorm,
            q_proj=attention.q_proj,
            k_proj=attention.k_proj,
            heads=geometry.heads,
            kv_heads=geometry.kv_heads,
            head_dim=geometry.head_dim,
            q_norm=getattr(attention, "q_norm", None),
            k_norm=getattr(attention, "k_norm", None),
        )

    def vision_modules(self, model: nn.Module) -> tuple[nn.Module, nn.Module | None]:
        """The vision tower, and the projector behind it where that is a module of its own."""
        towers = [getattr(model.model, name, None) for name in ("visual", "vision_tower")]
        tower = next(module for module in towers if module is not None)
        return tower, getattr(model.model, "multi_modal_projector", None)

    def drop_vision(self, model: nn.Module) -> None:
        """Free the vision tower of a model that will only see stored features."""
        for name in ("visual", "vision_tower"):
            if hasattr(model.model, name):
                setattr(model.model, name, nn.Identity())

    # --- visual tokens -------------------------------------------------------------------------
    @abstractmethod
    def placeholders(self, config: Any) -> dict[str, int]:
        """Modality → the token id that stands once for every visual token."""

    def check_config(self, config: Any) -> None:  # noqa: B027
        """Raise InputError for a model of this family that hawk does not know."""

    def pixel_shape(self, config: Any) -> tuple[int, ...]:
        """The last sizes of ``pixel_values``, which the vision tower fixes: channels, rows and columns."""
        vision = config.vision_config
        size = vision.image_size
        height, width = size if isinstance(size, list | tuple) else (size, size)
        return vision.num_channels, height, width

    @abstractmethod
    def encode(self, model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, list[VisualItem]]:
        """Run the vision tower, or read ``inputs["mm_encoder_outputs"]``: modality → its items."""

    def place_observed(
        self, model: nn.Module, inputs: Mapping[str, Any], seen: Sequence[Tensor]
    ) -> list[Tensor]:
        """What a pruner's ``watch`` saw, one tensor per run of the tower → a number per visual token.

        For most towers it is that already. Families that rearrange, resize or add tokens behind the
        tower, with sizes that only ``inputs`` tell, do so here.
        """
        return list(seen)

    def encoder_outputs(
        self, features: Mapping[str, Tensor], levels: Mapping[str, Sequence[Tensor]]
    ) -> dict[str, Any]:
        """Pruned features (modality → [kept, hidden]) in the shape ``mm_encoder_outputs`` wants.

        Rows are in batch order. One entry per token, because ``generate`` regroups entries by
        sample for beams and none may straddle two samples. Make a new object for every call:
        the expansion for beams writes into it.
        """
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        return {
            modality: BaseModelOutputWithPooling(pooler_output=list(values.split(1)))
            for modality, values in features.items()
            if len(values)
        }

    def stored_inputs(self, items: Sequence[VisualItem]) -> dict[str, Any]:
        """The processor's keyword arguments other than ids and pixels that belong to items."""
        return {}

    def expand(self, ids: Sequence[int], items: Sequence[VisualItem], config: Any) -> list[int]:
        """A prompt with one placeholder per run of an item → the prompt with one per visual token."""
        placeholders = set(self.placeholders(config).values())
        queue = iter([run for item in items for run in item.runs])
        out: list[int] = []
        for token in ids:
            if token in placeholders:
                run = next(queue, None)
                if run is None:
                    raise InputError("the prompt has more visual placeholders than images.")
                out.extend([token] * run)
            else:
                out.append(token)
        if next(queue, None) is not None:
            raise InputError("the sample has more images than the prompt has visual placeholders.")
        return out

    def video_text(self, processor: Any, clip: Any) -> tuple[str, int] | None:
        """What the processor writes in place of a video's placeholder, and its number of runs.

        With one placeholder of a visual token per run. None: the placeholder itself, repeated.
        clip: the :class:`hawk.core.video.Clip` that was encoded.
        """
        return None

    def visible(self, processor: Any, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Which part of an image of (height, width) the model sees: left, top, right, bottom."""
        return 0, 0, size[1], size[0]

    def layout(self, model: nn.Module, processor: Any, item: VisualItem, size: tuple[int, int]) -> Layout:
        """Where an image's tokens lie on its visible part, for drawing; ``size`` is (height, width) of that.

        For a video: where a frame's tokens lie on that frame.
        """
        _, rows, columns = item.grid
        return Layout(rows, columns, tuple(range(rows * columns)))

    def layouts(
        self, model: nn.Module, processor: Any, item: VisualItem, size: tuple[int, int]
    ) -> list[Layout]:
        """Every grid over an image's visible part: its layout, and that of its thumbnail if it has one.

        Of tiles of one square each a thumbnail, if there is one, stands last.
        """
        first = self.layout(model, processor, item, size)
        side = item.grid[1]
        behind = range(len(first.tokens), item.tokens) if item.modality == "image" else ()
        return [first, Layout(side, side, tuple(behind))] if len(behind) == side**2 else [first]

    # --- positions -------------------------------------------------------------------------------
    def position_ids(self, model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
        """Positions of the unpruned prompt, [batch, T], or [rows, batch, T] for mRoPE.

        In the mRoPE form row 0 is the text row, which transformers continues when decoding.
        """
        return (inputs["attention_mask"].long().cumsum(-1) - 1).clamp(min=0)

    # --- instruction --------------------------------------------------------------------------
    def markers(self, tokenizer: Any, config: Any) -> Markers:
        """Chat-template ids read off a tokenizer."""
        return chatml_markers(tokenizer, self.visual_markers(tokenizer, config))

    def visual_markers(self, tokenizer: Any, config: Any) -> frozenset[int]:
        return frozenset()

    def published_markers(self, config: Any) -> Markers | None:
        """The ids of the published checkpoints, if ``config`` has their vocabulary; else None."""
        return None


@dataclass
class VisionLanguageModel:
    """A transformers model, its processor and its family, as :func:`hawk.load` returns them."""

    model: nn.Module
    processor: Any
    family: Family
    source: Mapping[str, Any] = field(default_factory=dict)  # id, revision, dtype, attention

    @property
    def geometry(self) -> Geometry:
        return self.family.geometry(self.model)


def markers_of(model: nn.Module, family: Family) -> Markers:
    """The template ids of a model: those of its processor, else the published checkpoints'."""
    markers = remembered_markers(model) or family.published_markers(model.config)
    if markers is None:
        raise InputError(
            "this model's chat template is not known, so the instruction cannot be found in the "
            "prompt. Load it with hawk.load, or pass processor= to attach."
        )
    return markers

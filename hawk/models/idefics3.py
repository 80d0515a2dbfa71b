"""Idefics3 and SmolVLM: tiles of one size with their places as text between them, the whole image last.

An image is one item of several runs, each run one tile of ``side`` x ``side`` tokens; the last shows the
whole image. Before every run stand ``<fake_token_around_image>`` and the tile's place, which is one token in
some vocabularies (SmolVLM-256M) and many in others (Idefics3-8B); behind an image's last run stands one more
fake token. Which runs make one image is read off the prompt: between two runs of one image there is one fake
token, between two images there are at least two. Text between the tiles of one image is no query. The chat
template has no user token: "User:" … ``<end_of_utterance>``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.models.base import Family, Layout, VisualItem
from hawk.models.turns import Markers, token_id


class Idefics3(Family):
    """``Idefics3ForConditionalGeneration``."""

    name = "idefics3"
    takes_video = False

    def decoder(self, model: nn.Module) -> nn.Module:
        return model.model.text_model

    def vision_modules(self, model: nn.Module) -> tuple[nn.Module, nn.Module | None]:
        return model.model.vision_model, model.model.connector

    def drop_vision(self, model: nn.Module) -> None:
        model.model.vision_model = nn.Identity()

    def placeholders(self, config: Any) -> dict[str, int]:
        return {"image": config.image_token_id}

    def encode(self, model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, list[VisualItem]]:
        output = (inputs.get("mm_encoder_outputs") or {}).get("image")
        if output is None and inputs.get("pixel_values") is None:
            return {}
        if output is None:
            mask = inputs.get("pixel_attention_mask")
            output = model.model.get_image_features(inputs["pixel_values"], mask, return_dict=True)
        flat = torch.cat(list(output.pooler_output))
        tile = _side(model.config) ** 2
        images = [image for row in inputs["input_ids"].tolist() for image in _images(row, model.config)]
        lengths = [sum(image.runs) for image in images]
        if sum(lengths) != len(flat):
            raise InputError(
                f"{sum(lengths)} image placeholders in the prompts, but {len(flat)} visual tokens in "
                f"{len(flat) // tile} tiles."
            )
        side = _side(model.config)
        return {
            "image": [
                VisualItem(
                    features=features,
                    grid=(len(image.runs), side, side),
                    meta={"runs": image.runs, "written": image.written, "lead": image.lead},
                )
                for features, image in zip(flat.split(lengths), images, strict=True)
            ]
        }

    def place_observed(
        self, model: nn.Module, inputs: Mapping[str, Any], seen: Sequence[Tensor]
    ) -> list[Tensor]:
        return [values.flatten() for values in seen]  # [tiles, tokens]

    def expand(self, ids: Sequence[int], items: Sequence[VisualItem], config: Any) -> list[int]:
        """The template writes one placeholder per image; the processor its tiles and their places."""
        single = [VisualItem(features=torch.empty(1, 0), grid=(1, 1, 1))] * len(items)
        written = iter([item.meta["written"] for item in items])
        out: list[int] = []
        for token in super().expand(ids, single, config):  # refuses too many and too few
            out += next(written) if token == config.image_token_id else [token]
        return out

    def layout(self, model: nn.Module, processor: Any, item: VisualItem, size: tuple[int, int]) -> Layout:
        tiles, side, _ = item.grid
        if tiles == 1:
            return super().layout(model, processor, item, size)
        down = _tile_rows(item.meta["written"], model.config.image_token_id)
        across = (tiles - 1) // down
        order = torch.arange(down * across * side**2).view(down, across, side, side)
        return Layout(down * side, across * side, tuple(order.permute(0, 2, 1, 3).flatten().tolist()))

    def markers(self, tokenizer: Any, config: Any) -> Markers:
        user = tokenizer("User:", add_special_tokens=False)["input_ids"]
        end = token_id(tokenizer, "<end_of_utterance>")
        return Markers(tuple(user), (end,), frozenset({token_id(tokenizer, "<fake_token_around_image>")}))


class SmolVLM(Idefics3):
    """``SmolVLMForConditionalGeneration``: the same with a smaller language model."""

    name = "smolvlm"


@dataclass(frozen=True)
class _Image:
    """One image of a prompt.

    runs: the lengths of its runs. written: all its ids, from its first fake token to its closing one. lead:
    how many of them stand before its first visual token.
    """

    runs: list[int]
    written: list[int]
    lead: int


def _images(row: Sequence[int], config: Any) -> list[_Image]:
    """The images of one prompt, in order."""
    runs = _runs(row, config.image_token_id)
    if not runs:
        return []
    fake = row[runs[-1][1]] if runs[-1][1] < len(row) else None
    groups = [runs[:1]]
    for before, after in pairwise(runs):
        if row[before[1] : after[0]].count(fake) > 1:  # one closes an image, one opens the next
            groups.append([])
        groups[-1].append(after)
    return [_image(row, group, fake) for group in groups]


def _image(row: Sequence[int], runs: Sequence[tuple[int, int]], fake: int | None) -> _Image:
    begin, end = runs[0][0], runs[-1][1]
    openings = [i for i in range(begin) if row[i] == fake]
    if not openings:
        raise InputError(
            "an image has no <fake_token_around_image> on both sides; make prompts with the processor."
        )
    return _Image(
        runs=[stop - start for start, stop in runs],
        written=[*row[openings[-1] : end + 1]],
        lead=begin - openings[-1],
    )


def _runs(row: Sequence[int], token: int) -> list[tuple[int, int]]:
    """(begin, end) of every unbroken run of ``token``."""
    edges = [i for i in range(len(row) + 1) if (row[i : i + 1] == [token]) != (i > 0 and row[i - 1] == token)]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _tile_rows(written: Sequence[int], token: int) -> int:
    """Rows of tiles: behind the last of a row stands a line break, behind the others a fake token."""
    return sum(written[end] != written[0] for _, end in _runs(written, token))


def _side(config: Any) -> int:
    return config.vision_config.image_size // config.vision_config.patch_size // config.scale_factor

"""Idefics3 and SmolVLM: tiles of one size with their places as text between them, the whole image last.

An image is one item of several runs, each run one tile of ``side`` x ``side`` tokens; the last shows the
whole image and follows ``<global-img>``. Which runs make one image is read off the prompt: the last run of
a prompt is always a whole image, so the id before it is that of ``<global-img>``. Text between the tiles of
one image is no query. The chat template has no user token: "User:" … ``<end_of_utterance>``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.models.base import Family, Layout, VisualItem
from hawk.models.turns import Markers, token_id

LEAD = 2  # ids before an image's first visual token: the token around tiles, and the tile's place


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
                    meta={"runs": image.runs, "written": image.written, "lead": LEAD},
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
        visual = {token_id(tokenizer, "<fake_token_around_image>"), token_id(tokenizer, "<global-img>")}
        return Markers(tuple(user), (end,), frozenset(visual))


class SmolVLM(Idefics3):
    """``SmolVLMForConditionalGeneration``: the same with a smaller language model."""

    name = "smolvlm"


class _Image:
    """One image of a prompt: the lengths of its runs, and all its ids, closing token included."""

    def __init__(self, runs: list[int], written: list[int]) -> None:
        self.runs, self.written = runs, written


def _images(row: Sequence[int], config: Any) -> list[_Image]:
    """The images of one prompt, in order."""
    runs = _runs(row, config.image_token_id)
    if not runs:
        return []
    whole = row[runs[-1][0] - 1]
    images, first = [], 0
    for i, (begin, end) in enumerate(runs):
        if row[begin - 1] == whole:
            written = [*row[runs[first][0] - LEAD : end + 1]]
            images.append(_Image([stop - start for start, stop in runs[first : i + 1]], written))
            first = i + 1
    return images


def _runs(row: Sequence[int], token: int) -> list[tuple[int, int]]:
    """(begin, end) of every unbroken run of ``token``."""
    edges = [i for i in range(len(row) + 1) if (row[i : i + 1] == [token]) != (i > 0 and row[i - 1] == token)]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _tile_rows(written: Sequence[int], token: int) -> int:
    """Rows of tiles: a line break ends a row, so more than a fake token and a place follow it."""
    runs = _runs(written, token)
    gaps = [after[0] - before[1] for before, after in zip(runs[:-1], runs[1:], strict=True)]
    return sum(gap > 2 for gap in gaps)


def _side(config: Any) -> int:
    return config.vision_config.image_size // config.vision_config.patch_size // config.scale_factor

"""Prompts with random pixels for the models of ``tests/tiny_random.py``, as a processor gives them.

A prompt is a list of parts: an int is a text id, an :class:`Image` or a :class:`Video` what it says.
A row's pixels depend on its draw alone (its number, unless given), so that a row can be had again
by itself or several times in one batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tiny_random import (
    END,
    IMAGE,
    NEWLINE,
    PAD,
    START,
    USER,
    VIDEO,
    VISION_END,
    VISION_START,
)
from torch import Tensor

ASSISTANT = 40


@dataclass(frozen=True)
class Image:
    """Height and width in visual tokens (Qwen), or in tiles (InternVL, LLaVA-NeXT and -OneVision)."""

    height: int = 2
    width: int = 2


@dataclass(frozen=True)
class Video:
    """Frames, each of height x width visual tokens (Qwen) or one tile (the others)."""

    frames: int = 3
    height: int = 2
    width: int = 2


def prompt_ids(parts: list[list[int]]) -> list[int]:
    """One user turn and the opening of the answer."""
    body = [token for part in parts for token in part]
    return [START, USER, NEWLINE, *body, END, START, ASSISTANT, NEWLINE]


def left_padded(prompts: list[list[int]]) -> dict[str, Tensor]:
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), PAD)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for i, prompt in enumerate(prompts):
        ids[i, width - len(prompt) :] = torch.tensor(prompt)
        mask[i, width - len(prompt) :] = 1
    return {"input_ids": ids, "attention_mask": mask}


def generators(draws: Sequence[int]) -> Iterator[torch.Generator]:
    for draw in draws:
        yield torch.Generator().manual_seed(draw)


def qwen(rows: list[list[Any]], draws: Sequence[int], family: str) -> dict[str, Tensor]:
    """The frames of a video stand apart in Qwen3-VL; only Qwen2.5-VL knows their times."""
    frame_groups = family == "qwen3_vl"
    grids: dict[str, list[list[int]]] = {"image": [], "video": []}
    pixels: dict[str, list[Tensor]] = {"image": [], "video": []}
    prompts = []
    for row, generator in zip(rows, generators(draws), strict=True):
        parts = []
        for part in row:
            if isinstance(part, int):
                parts.append([part])
                continue
            modality, token = ("image", IMAGE) if isinstance(part, Image) else ("video", VIDEO)
            frames = getattr(part, "frames", 1)
            area = part.height * part.width
            if frame_groups:
                groups = [[VISION_START, *[token] * area, VISION_END]] * frames
                # A frame's time, as text before each frame of a video.
                groups = [[50 + i, *g] if modality == "video" else g for i, g in enumerate(groups)]
                parts += groups
            else:
                parts.append([VISION_START, *[token] * (frames * area), VISION_END])
            grids[modality].append([frames, 2 * part.height, 2 * part.width])
            pixels[modality].append(torch.randn(4 * frames * area, 96, generator=generator))
        prompts.append(prompt_ids(parts))
    inputs = left_padded(prompts)
    ids = inputs["input_ids"]
    for modality, name in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        if grids[modality]:
            inputs[name] = torch.cat(pixels[modality])
            inputs[f"{modality}_grid_thw"] = torch.tensor(grids[modality])
    if grids["image"] or grids["video"]:
        inputs["mm_token_type_ids"] = (ids == IMAGE).long() + 2 * (ids == VIDEO).long()
    if grids["video"] and family == "qwen2_5_vl":
        inputs["second_per_grid_ts"] = torch.tensor([0.7] * len(grids["video"]))
    return inputs


def internvl(rows: list[list[Any]], draws: Sequence[int]) -> dict[str, Tensor]:
    """Tiles and a thumbnail where an image has more than one tile; video frames are images."""
    pixels, prompts = [], []
    for row, generator in zip(rows, generators(draws), strict=True):
        parts = []
        for part in row:
            if isinstance(part, int):
                parts.append([part])
            elif isinstance(part, Image):
                count = part.height * part.width
                count += count > 1
                pixels.append(torch.randn(count, 3, 32, 32, generator=generator))
                parts.append([VISION_START, *[IMAGE] * (16 * count), VISION_END])
            else:
                pixels.append(torch.randn(part.frames, 3, 32, 32, generator=generator))
                parts += [[50 + i, VISION_START, *[IMAGE] * 16, VISION_END] for i in range(part.frames)]
        prompts.append(prompt_ids(parts))
    inputs = left_padded(prompts)
    if pixels:
        inputs["pixel_values"] = torch.cat(pixels)
    return inputs


def llava_onevision(rows: list[list[Any]], draws: Sequence[int]) -> dict[str, Tensor]:
    """A lone image is tiled (base view, then rows that end in a newline), several are not."""
    sizes, counts, views, videos, prompts = [], [], [], [], []
    for row, generator in zip(rows, generators(draws), strict=True):
        images = [part for part in row if isinstance(part, Image)]
        counts += [len(images)] if images else []
        parts = []
        for part in row:
            if isinstance(part, int):
                parts.append([part])
            elif isinstance(part, Image):
                sizes.append([16 * part.height, 16 * part.width])
                views.append(torch.randn(10, 3, 16, 16, generator=generator))
                area = part.height * part.width * 16
                tokens = 16 + area + 4 * part.height if len(images) == 1 else 17
                parts.append([IMAGE] * tokens)
            else:
                videos.append(torch.randn(part.frames, 3, 16, 16, generator=generator))
                parts.append([VIDEO] * (part.frames * 4 + 1))
        prompts.append(prompt_ids(parts))
    inputs = left_padded(prompts)
    if sizes:
        inputs["image_sizes"] = torch.tensor(sizes)
        inputs["batch_num_images"] = torch.tensor(counts)
        inputs["pixel_values"] = torch.stack(views)
    if videos:
        inputs["pixel_values_videos"] = torch.stack(videos)
    return inputs


def llava(rows: list[list[Any]], draws: Sequence[int]) -> dict[str, Tensor]:
    """Every image is one square, whatever its size; frames of a video are images."""
    pixels, prompts = [], []
    for row, generator in zip(rows, generators(draws), strict=True):
        parts = []
        for part in row:
            if isinstance(part, int):
                parts.append([part])
                continue
            for _ in range(getattr(part, "frames", 1)):
                pixels.append(torch.randn(3, 16, 16, generator=generator))
                parts.append([IMAGE] * 16)
        prompts.append(prompt_ids(parts))
    inputs = left_padded(prompts)
    if pixels:
        inputs["pixel_values"] = torch.stack(pixels)
    return inputs


def llava_next(rows: list[list[Any]], draws: Sequence[int]) -> dict[str, Tensor]:
    """Every image is a base view and rows of tiles that end in a newline; frames of a video are images."""
    sizes, views, prompts = [], [], []
    for row, generator in zip(rows, generators(draws), strict=True):
        parts = []
        for part in row:
            if isinstance(part, int):
                parts.append([part])
                continue
            height, width = (part.height, part.width) if isinstance(part, Image) else (1, 1)
            for _ in range(getattr(part, "frames", 1)):
                sizes.append([16 * height, 16 * width])
                views.append(torch.randn(10, 3, 16, 16, generator=generator))
                parts.append([IMAGE] * (16 + 16 * height * width + 4 * height))
        prompts.append(prompt_ids(parts))
    inputs = left_padded(prompts)
    if sizes:
        inputs["image_sizes"] = torch.tensor(sizes)
        inputs["pixel_values"] = torch.stack(views)
    return inputs


def idefics3(rows: list[list[Any]], draws: Sequence[int]) -> dict[str, Tensor]:
    """Tiles, each after its place, a line break after every row of them, then the whole image.

    VISION_START is the token around tiles, VISION_END the sign of the whole image. Frames are images.
    """
    pixels, prompts = [], []
    for row, generator in zip(rows, generators(draws), strict=True):
        parts, views = [], []
        for part in row:
            if isinstance(part, int):
                parts.append([part])
                continue
            height, width = (part.height, part.width) if isinstance(part, Image) else (1, 1)
            for _ in range(getattr(part, "frames", 1)):
                whole = [VISION_START, VISION_END, *[IMAGE] * 4, VISION_START]
                for y in range(height if height * width > 1 else 0):
                    for x in range(width):
                        parts.append([VISION_START, 60 + 6 * y + x, *[IMAGE] * 4])
                    parts.append([NEWLINE])
                parts.append([NEWLINE, *whole] if height * width > 1 else whole)
                count = height * width + (height * width > 1)
                views.append(torch.randn(count, 3, 16, 16, generator=generator))
        pixels.append(torch.cat(views) if views else torch.zeros(0, 3, 16, 16))
        prompts.append(prompt_ids(parts))
    inputs = left_padded(prompts)
    most = max(map(len, pixels))
    if most:
        padded = [torch.cat([one, torch.zeros(most - len(one), 3, 16, 16)]) for one in pixels]
        inputs["pixel_values"] = torch.stack(padded)
    return inputs


def build(family: str, rows: list[list[Any]], draws: Sequence[int] | None = None) -> dict[str, Tensor]:
    """The batch for a family's tiny model."""
    draws = range(len(rows)) if draws is None else draws
    if family == "internvl":
        return internvl(rows, draws)
    if family == "llava_onevision":
        return llava_onevision(rows, draws)
    if family in ("idefics3", "smolvlm"):
        return idefics3(rows, draws)
    if family in ("llava", "llava_next"):
        return (llava if family == "llava" else llava_next)(rows, draws)
    return qwen(rows, draws, family)

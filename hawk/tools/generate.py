"""``hawk generate``: one prompt with images or a video, answered on fewer visual tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from hawk.core.atomic import atomic_path
from hawk.core.errors import InputError
from hawk.core.video import Clip
from hawk.inference.phases import Phases, generate_by_phase
from hawk.models.base import VisionLanguageModel, VisualItem
from hawk.pruning.base import Pruner


@dataclass(frozen=True)
class Answer:
    """What the model said, what it took, and which tokens stayed."""

    text: str
    phases: Phases
    kept: list[int]  # among the prompt's visual tokens


def answer(
    vlm: VisionLanguageModel, inputs: dict[str, Any], pruner: Pruner | None, max_new_tokens: int
) -> Answer:
    """Greedy decoding; ``pruner=None`` keeps every visual token."""
    phases, new, last = generate_by_phase(vlm, inputs, pruner, max_new_tokens)
    text = vlm.processor.tokenizer.decode(new[0], skip_special_tokens=True).strip()
    kept = last.kept_index[0].tolist() if last.kept_index else list(range(phases.visual_tokens))
    return Answer(text, phases, kept)


def save_overlay(
    path: str | Path,
    vlm: VisionLanguageModel,
    items: Sequence[VisualItem],
    pictures: Sequence[Any],
    kept: Sequence[int],
) -> list[str]:
    """Draw the kept tokens on every image, or on the frames of a video; returns the files written.

    items and pictures are in prompt order, one picture per image and one per frame of a video.
    Several get numbers: ``picture-1.png``, ``picture-2.png``.
    """
    from hawk.report.figures.kept_tokens import draw_kept_tokens

    figures = []
    chosen, offset = set(kept), 0
    remaining = iter(pictures)
    for item in items:
        frames = item.grid[0] if item.modality == "video" else 1
        for frame in range(frames):
            picture = next(remaining)
            picture = picture.crop(vlm.family.visible(vlm.processor, picture.size[::-1]))
            layout = vlm.family.layout(vlm.model, vlm.processor, item, picture.size[::-1])
            begin = offset + frame * (item.grid[1] * item.grid[2])
            cells = [i for i, token in enumerate(layout.tokens) if begin + token in chosen]
            title = f"{len(cells)} of {len(layout.tokens)} visual tokens kept"
            if frames == 1 and item.tokens > len(layout.tokens):
                elsewhere = sum(offset + i in chosen for i in range(item.tokens)) - len(cells)
                title += f", {elsewhere} of {item.tokens - len(layout.tokens)} off the grid"
            figures.append(draw_kept_tokens(picture, layout.rows, layout.columns, cells, title))
        offset += item.tokens
    path = Path(path)
    written = []
    for number, figure in enumerate(figures, 1):
        target = path if len(figures) == 1 else path.with_stem(f"{path.stem}-{number}")
        try:
            with atomic_path(target) as temporary:
                figure.savefig(temporary, dpi=200, format=target.suffix.lstrip("."))
        except (ValueError, OSError) as error:  # an ending that is no picture format, a full disk
            raise InputError(f"{target}: the overlay cannot be written ({error}).") from None
        written.append(str(target))
    return written


def frame_pictures(clip: Clip, frames: int) -> list[Any]:
    """One picture per temporal position of the model, which may stand for several frames."""
    step = len(clip.frames) / frames
    return [Image.fromarray(clip.frames[int(i * step)]) for i in range(frames)]

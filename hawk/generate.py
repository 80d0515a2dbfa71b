"""``hawk generate``: one prompt with images or a video, answered on fewer visual tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hawk.encoding import image_arguments, video_arguments
from hawk.errors import InputError
from hawk.models.base import VisionLanguageModel, VisualItem
from hawk.phases import Phases, generate_by_phase
from hawk.pruning.base import Pruner
from hawk.video import Clip, decode_video


@dataclass(frozen=True)
class Answer:
    """What the model said, what it took, and which tokens stayed."""

    text: str
    phases: Phases
    kept: list[int]  # among the prompt's visual tokens


def read_image(path: str | Path) -> Any:
    """A PIL image in RGB, turned upright as its EXIF data says."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            return ImageOps.exif_transpose(file).convert("RGB")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{path}: not an image that can be read ({error}).") from None


def read_video(path: str | Path, frames: int) -> Clip:
    return decode_video(path, frames)


def prompt_inputs(
    vlm: VisionLanguageModel,
    prompt: str,
    images: Sequence[Any] = (),
    clip: Clip | None = None,
    system: str | None = None,
    preprocessing: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the processor makes of images, video and text, in this order in one user turn.

    preprocessing: pixel limits, as in a config's section.
    """
    content: list[dict[str, Any]] = [{"type": "image"} for _ in images]
    content += [{"type": "video"}] * (clip is not None)
    content.append({"type": "text", "text": prompt})
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
    text = vlm.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    call: dict[str, Any] = {"text": [text], "return_tensors": "pt"}
    if images:
        # Nested: the images of the one sample.
        call.update(images=[list(images)], **image_arguments(vlm, preprocessing or {}))
    if clip is not None:
        call.update(video_arguments(vlm, clip, preprocessing or {}))
    inputs = dict(vlm.processor(**call))
    for name in ("pixel_values", "pixel_values_videos"):
        if name in inputs:
            inputs[name] = inputs[name].to(vlm.model.dtype)
    return inputs


def answer(
    vlm: VisionLanguageModel, inputs: dict[str, Any], pruner: Pruner | None, max_new_tokens: int
) -> Answer:
    """Greedy decoding; ``pruner=None`` keeps every visual token."""
    phases, new = generate_by_phase(vlm, inputs, pruner, max_new_tokens)
    text = vlm.processor.tokenizer.decode(new[0], skip_special_tokens=True).strip()
    kept = list(range(phases.visual_tokens))
    if pruner is not None and phases.visual_tokens:
        kept = pruner.last.kept_index[0].tolist()
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
    from hawk.figures_retention import draw_kept_tokens

    figures = []
    chosen, offset = set(kept), 0
    remaining = iter(pictures)
    for item in items:
        frames = item.grid[0] if item.modality == "video" else 1
        for frame in range(frames):
            picture = next(remaining)
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
    path.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for number, figure in enumerate(figures, 1):
        target = path if len(figures) == 1 else path.with_stem(f"{path.stem}-{number}")
        try:
            figure.savefig(target, dpi=200)
        except (ValueError, OSError) as error:  # an ending that is no picture format, a full disk
            raise InputError(f"{target}: the overlay cannot be written ({error}).") from None
        written.append(str(target))
    return written


def frame_pictures(clip: Clip, frames: int) -> list[Any]:
    """One picture per temporal position of the model, which may stand for several frames."""
    from PIL import Image

    step = len(clip.frames) / frames
    return [Image.fromarray(clip.frames[int(i * step)]) for i in range(frames)]

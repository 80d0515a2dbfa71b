"""From image and video files to what a processor takes: one way for features, prompts and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import ImageOps

from hawk.benchmarks import Benchmark, Sample
from hawk.core.errors import InputError
from hawk.core.images import open_image, rgb
from hawk.core.values import refuse
from hawk.core.video import DEFAULT_FRAMES, Clip, decode_video
from hawk.inference.visual_files import VisualFile, visual_files
from hawk.models.base import VisionLanguageModel
from hawk.pruning.base import Pruner
from hawk.pruning.methods.downscale import target_size


def sample_inputs(
    vlm: VisionLanguageModel,
    bench: Benchmark,
    protocol: str,
    preprocessing: Mapping[str, Any],
    sample: Sample,
) -> dict[str, Any]:
    """What the processor makes of a sample, pixels included."""
    text = sample_text(vlm, bench, sample, bench.messages(sample, protocol))
    call = _call(vlm, text)
    if sample.images:
        pictures = [prepare_image(vlm, image["bytes"], preprocessing) for image in sample.images]
        call.update(images=[pictures], **image_arguments(vlm, preprocessing))
    if sample.video is not None:
        clip = read_clip(vlm, visual_files(vlm.family, sample)[-1], preprocessing)
        call.update(video_arguments(vlm, clip, preprocessing))
    inputs = dict(vlm.processor(**call))
    for key in ("pixel_values", "pixel_values_videos"):
        if key in inputs:
            inputs[key] = inputs[key].to(vlm.model.dtype)
    return inputs


def shrink(
    vlm: VisionLanguageModel, image: Any, limits: Mapping[str, Any], pruner: Pruner
) -> tuple[Any, dict[str, Any]]:
    """The image resized to the budget that ``pruner`` has for it, and arguments that keep it so."""
    processor = vlm.processor.image_processor
    grid = processor([image], return_tensors="pt", **limits.get("images_kwargs", {})).get("image_grid_thw")
    if grid is None:
        raise InputError(
            "downscale needs a vision tower that takes images of any size; "
            f"{vlm.family.name!r} cuts them into tiles of one size."
        )
    merge = processor.merge_size
    frames, rows, columns = grid[0].tolist()
    tokens = (frames, rows // merge, columns // merge)
    factor = processor.patch_size * merge
    height, width = target_size(tokens, factor, pruner.pruning_ratio, pruner.rounding)
    return image.resize((width, height), 3), {"images_kwargs": {"do_resize": False}}  # 3: bicubic


def prepare_image(vlm: VisionLanguageModel, content: bytes, preprocessing: Mapping[str, Any]) -> Any:
    """Decode, apply EXIF rotation, convert to RGB, pad to a square if the config says so."""
    image = rgb(open_image(content))
    if preprocessing.get("pad_to_square"):
        side = max(image.size)
        image = ImageOps.pad(image, (side, side), color=_mean_color(vlm.processor.image_processor))
    return image


def read_clip(vlm: VisionLanguageModel, file: VisualFile, preprocessing: Mapping[str, Any]) -> Clip:
    """The frames of a video, as many as the config says, padded to squares if it says so."""
    assert file.source is not None
    if not vlm.family.takes_video:
        raise InputError(f"models of the family {vlm.family.name!r} take images, no video.")
    clip = decode_video(file.source, preprocessing.get("frames") or DEFAULT_FRAMES)
    if not preprocessing.get("pad_to_square"):
        return clip
    count, height, width, _ = clip.frames.shape
    side = max(height, width)
    frames = np.empty((count, side, side, 3), dtype=clip.frames.dtype)
    frames[:] = _mean_color(vlm.processor.video_processor)
    top, left = (side - height) // 2, (side - width) // 2
    frames[:, top : top + height, left : left + width] = clip.frames
    return Clip(frames, clip.indices, clip.total, clip.fps)


def _mean_color(processor: Any) -> tuple[int, ...]:
    """What normalizes to zero."""
    mean = getattr(processor, "image_mean", None) or [0.5] * 3
    return tuple(round(255 * value) for value in mean)


def image_arguments(vlm: VisionLanguageModel, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """Processor arguments for the config's pixel limits."""
    size = _pixel_limits(vlm.processor.image_processor, preprocessing)
    return {"images_kwargs": size} if size else {}


def video_arguments(vlm: VisionLanguageModel, clip: Clip, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """Processor arguments for frames that were chosen already; pixel limits hold for each of them."""
    processor = vlm.processor.video_processor
    options = {
        "do_sample_frames": False,
        "video_metadata": [clip.metadata],
        **_pixel_limits(processor, preprocessing),
    }
    if hasattr(processor, "cap_pixels_per_frame"):
        # As Qwen's own code: a video of very many frames gets smaller ones. The default has changed.
        options["cap_pixels_per_frame"] = True
    return {"videos": [clip.frames], "videos_kwargs": options}


def _pixel_limits(processor: Any, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    limits = {
        "shortest_edge": preprocessing.get("min_pixels"),
        "longest_edge": preprocessing.get("max_pixels"),
    }
    if all(value is None for value in limits.values()):
        return {}
    size = dict(processor.size)
    if not set(limits) <= set(size):
        raise InputError(
            "preprocessing.min_pixels and max_pixels are set, but this model's processor does not "
            f"resize by pixel count; its size has the keys {', '.join(size)}."
        )
    size.update({key: value for key, value in limits.items() if value is not None})
    low, high = size["shortest_edge"], size["longest_edge"]
    if low > high:  # a processor takes either and says nothing
        raise InputError(
            f"min_pixels {low} is larger than max_pixels {high}; the one that is not given is the "
            "processor's own. Give both."
        )
    return {"size": size}


def prompt_inputs(
    vlm: VisionLanguageModel,
    prompt: str,
    images: Sequence[Any] = (),
    clip: Clip | None = None,
    system: str | None = None,
    preprocessing: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the processor makes of images, video and text, in this order in one user turn.

    preprocessing: pixel limits, as in a config's section. Raises InputError for a text that holds a token
    which stands for a picture: it would count as one.
    """
    content: list[dict[str, Any]] = [{"type": "image"} for _ in images]
    content += [{"type": "video"}] * (clip is not None)
    content.append({"type": "text", "text": prompt})
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
    text = _chat_text(vlm, messages)
    call = _call(vlm, text)
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


def _call(vlm: VisionLanguageModel, text: str) -> dict[str, Any]:
    """The processor's arguments for one conversation, without its pictures."""
    adds = adds_special_tokens(vlm.processor.tokenizer, text)
    return {"text": [text], "return_tensors": "pt", "add_special_tokens": adds}


def adds_special_tokens(tokenizer: Any, text: str) -> bool:
    """Whether the tokenizer adds its own to a conversation, as ``apply_chat_template`` decides it.

    LLaVA's template leaves the first token of a text to the tokenizer, that of Idefics3 writes it.
    """
    return not (tokenizer.bos_token and text.startswith(tokenizer.bos_token))


def sample_text(
    vlm: VisionLanguageModel, bench: Benchmark, sample: Sample, messages: Sequence[Mapping[str, Any]]
) -> str:
    """A sample's conversation as the chat template writes it, its pictures still one placeholder each.

    Raises InputError, with the sample's name, for a text that holds a token which stands for a picture.
    """
    try:
        return _chat_text(vlm, messages)
    except InputError as error:
        raise InputError(f"benchmark {bench.name!r}, sample {sample.sample_id!r}: {error}") from None


def _chat_text(vlm: VisionLanguageModel, messages: Sequence[Mapping[str, Any]]) -> str:
    for message in messages:
        what = "system prompt" if message["role"] == "system" else "prompt"
        texts = [part["text"] for part in message["content"] if part["type"] == "text"]
        for words in texts:
            if not isinstance(words, str) or words != words.encode("utf-8", "replace").decode("utf-8"):
                raise refuse(f"the {what}", words, "text that UTF-8 can hold")
            for token in _placeholders(vlm):
                if token in words:
                    raise InputError(f"the {what} holds {token}, which stands for a picture in its prompts.")
    text: str = vlm.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text


def _placeholders(vlm: VisionLanguageModel) -> set[str]:
    """The tokens that stand for pictures in a prompt, as texts; before and behind the processor."""
    ids = vlm.family.placeholders(vlm.model.config).values()
    written = {getattr(vlm.processor, name, None) for name in ("image_token", "video_token")}
    return {token for token in (*vlm.processor.tokenizer.convert_ids_to_tokens(list(ids)), *written) if token}

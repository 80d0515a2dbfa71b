"""``hawk generate``: try pruning on one prompt."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hawk.cli.options import Command, split_options
from hawk.core.atomic import check_output, refuse_overwriting
from hawk.core.errors import InputError

PICTURES = ("png", "jpg", "jpeg", "webp", "tif", "tiff", "pdf", "svg", "eps", "ps")  # what matplotlib writes


@click.command("generate", cls=Command)
@click.argument("model")
@click.argument("prompt")
@click.option("--image", "images", multiple=True, type=click.Path(), help="An image; may be repeated.")
@click.option("--video", type=click.Path(), help="A video file.")
@click.option("--frames", type=int, show_default="8", help="Frames taken from the video.")
@click.option(
    "--ratio", default="0.8", show_default=True, help="Fraction of visual tokens removed, in [0, 1)."
)
@click.option(
    "--method", default="hawk", show_default=True, help="The pruning method; docs/methods.md lists them."
)
@click.option(
    "--weights",
    default="uniform",
    show_default=True,
    help="Head weights: uniform, a shipped name, a file, or a Hub id.",
)
@click.option(
    "--option", "options", multiple=True, metavar="KEY=VALUE", help="A further option of the method."
)
@click.option("--system", help="A system prompt.")
@click.option("--max-new-tokens", default=64, show_default=True, type=click.IntRange(min=1))
@click.option("--max-pixels", type=click.IntRange(min=1), help="Shrink larger images to so many pixels.")
@click.option("--min-pixels", type=click.IntRange(min=1), help="Enlarge smaller images to so many pixels.")
@click.option("--dtype", default="float32", show_default=True, help="float32, bfloat16 or float16.")
@click.option(
    "--attention", default="sdpa", show_default=True, help="sdpa, eager, flash_attention_2 or varlen."
)
@click.option("--device", default="auto", show_default=True)
@click.option("--revision", help="Pinned revision of a Hub model.")
@click.option("--save-overlay", type=click.Path(), help="A picture of the kept tokens on the image.")
def generate(
    model: str,
    prompt: str,
    images: tuple[str, ...],
    video: str | None,
    frames: int | None,
    ratio: str,
    method: str,
    weights: str,
    options: tuple[str, ...],
    system: str | None,
    max_new_tokens: int,
    max_pixels: int | None,
    min_pixels: int | None,
    dtype: str,
    attention: str,
    device: str,
    revision: str | None,
    save_overlay: str | None,
) -> None:
    """Ask a model about images or a video, with pruning.

    MODEL is a folder or a Hub id, PROMPT the question.

    Prints the answer; tokens and times go to stderr. With a ratio of 0 the plain model answers.
    """
    if images and video is not None:
        raise InputError("--image and --video: give one or the other.")
    if min_pixels is not None and max_pixels is not None and min_pixels > max_pixels:
        raise InputError(f"--min-pixels {min_pixels} is larger than --max-pixels {max_pixels}.")
    if frames is not None and video is None:
        raise InputError(f"--frames {frames} is of a video; give a --video.")
    pictured = bool(images) or video is not None
    for option, pixels in (("--min-pixels", min_pixels), ("--max-pixels", max_pixels)):
        if pixels is not None and not pictured:
            raise InputError(f"{option} {pixels} is of pictures; give an --image or a --video.")
    if save_overlay is not None and not pictured:
        raise InputError("--save-overlay needs an --image or a --video to draw on.")
    pruner = _pruner(method, weights, ratio, options)
    if save_overlay is not None:
        check_overlay(save_overlay, [*images, *([video] if video is not None else [])])
    _check_device(device)
    if not pictured:
        click.echo("no --image and no --video: there are no visual tokens, so nothing is pruned.", err=True)

    from hawk.core.images import read_image, refuse_long_side
    from hawk.core.video import DEFAULT_FRAMES, decode_video
    from hawk.inference.preprocessing import prompt_inputs
    from hawk.models.loading import load
    from hawk.pruning.measured_on import warn_of_another_model
    from hawk.tools import generate as step

    pictures: list[Any] = [read_image(path) for path in images]
    clip = None if video is None else decode_video(video, DEFAULT_FRAMES if frames is None else frames)
    if clip is not None:
        refuse_long_side(clip.frames.shape[2], clip.frames.shape[1], str(video))
    vlm = load(model, revision=revision, dtype=dtype, attention=attention, device=device)
    pruner.check(vlm.model, vlm.family)
    warn_of_another_model(pruner, model)
    limits = {"min_pixels": min_pixels, "max_pixels": max_pixels}
    inputs = prompt_inputs(vlm, prompt, pictures, clip, system, limits)
    answer = step.answer(vlm, inputs, None if pruner.inactive else pruner, max_new_tokens)
    click.echo(answer.text)
    _report(answer.phases)
    if save_overlay is not None:
        encoded = vlm.family.encode(vlm.model, {k: _on(vlm, v) for k, v in inputs.items()})
        items = [item for kind in ("image", "video") for item in encoded.get(kind, [])]
        if clip is not None:
            pictures = step.frame_pictures(clip, sum(_frames(item) for item in items))
        for path in step.save_overlay(save_overlay, vlm, items, pictures, answer.kept):
            click.echo(f"wrote {path}", err=True)


def check_overlay(path: str, read: Sequence[str]) -> None:
    """Refuse a picture that could not be written, or would replace one that is read, before there is one."""
    target = Path(path)
    if target.is_dir() or path.endswith(("/", os.sep)):
        raise InputError(
            f"--save-overlay {path!r} is a folder; give a file, such as {target / 'overlay.png'}."
        )
    if target.suffix.lower().lstrip(".") not in PICTURES:
        raise InputError(
            f"--save-overlay {path!r}: the name must end in {', '.join(f'.{p}' for p in PICTURES)}."
        )
    check_output(path)
    # Of several images each picture has its number.
    numbered = (target.with_stem(f"{target.stem}-{number}") for number in range(1, len(read) + 1))
    for each in (target, *numbered):
        refuse_overwriting("--save-overlay", each, *read)


def _check_device(device: str) -> None:
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", device):
        raise InputError(f"--device {device!r}: allowed are auto, cpu, cuda and cuda:NUMBER.")
    if device.startswith("cuda"):
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(device.partition(":")[2] or 0) >= count:
            raise InputError(f"--device {device!r}: torch sees {count} CUDA devices here; use auto or cpu.")


def _pruner(method: str, weights: str, ratio: str, options: tuple[str, ...]) -> Any:
    """The pruner; every mistake in it is told before a model is loaded."""
    from hawk.pruning.written import written_pruner

    pruner = written_pruner(method, weights, ratio, split_options(options))
    if pruner.other_images:
        raise InputError(f"--method {method}: it works on images before the model; only evaluations use it.")
    return pruner


def _frames(item: Any) -> int:
    return item.grid[0] if item.modality == "video" else 1


def _on(vlm: Any, value: Any) -> Any:
    return value.to(vlm.model.device) if hasattr(value, "to") else value


def _report(phases: Any) -> None:
    rows = [
        ("visual tokens", f"{phases.visual_tokens} → {phases.kept_tokens}"),
        ("prompt tokens", f"{phases.prompt_tokens} → {_remaining(phases)}"),
        ("vision", f"{phases.vision_ms:.1f} ms"),
        ("token scores", f"{phases.token_score_ms:.1f} ms"),
        ("prefill", f"{phases.prefill_ms:.1f} ms"),
        ("decode", f"{phases.decode_ms_per_token:.1f} ms per token"),
        ("total", f"{phases.total_ms:.1f} ms"),
        ("KV cache", f"{phases.kv_cache_bytes / 1e6:.2f} MB after the prefill"),
    ]
    for name, value in rows:
        click.echo(f"{name:>14}  {value}", err=True)


def _remaining(phases: Any) -> int:
    return phases.prompt_tokens - phases.visual_tokens + phases.kept_tokens


COMMANDS = [generate]

"""The images and videos of a sample, each under the key of its features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hawk.benchmarks import Sample
from hawk.core.images import item_key
from hawk.models.base import Family

PATH = "path:"


@dataclass(frozen=True)
class VisualFile:
    """One image or video of a sample, under the key of its features.

    source: its bytes, or the path of a video; None where only the key was read. among_others: for
    families that encode a lone image otherwise than one of several (:attr:`Family.several_differ`).
    """

    key: str
    modality: str
    source: bytes | str | None = None
    among_others: bool = False

    @classmethod
    def of(cls, file: Mapping[str, Any], modality: str = "image", among_others: bool = False) -> VisualFile:
        """From a samples file's {"bytes", "path"}, or {"key"} in place of the bytes."""
        content, path = file.get("bytes"), file.get("path")
        key = file.get("key") or (f"{PATH}{path}" if content is None else item_key(content))
        if among_others:
            key += "-among-others"
        return cls(key, modality, path if content is None else content, among_others)


def visual_files(family: Family, sample: Sample) -> list[VisualFile]:
    """A sample's images, then its video."""
    among_others = family.several_differ and len(sample.images) > 1
    files = [VisualFile.of(image, among_others=among_others) for image in sample.images]
    return files if sample.video is None else [*files, VisualFile.of(sample.video, "video")]


def in_prompt_order(messages: Sequence[Mapping[str, Any]], files: Sequence[VisualFile]) -> list[VisualFile]:
    """The files as the conversation's visual parts ask for them, which may stand anywhere."""
    waiting = {name: [file for file in files if file.modality == name] for name in ("image", "video")}
    ordered = []
    for part in (part for message in messages for part in message["content"]):
        queue = waiting.get(part.get("type", "")) if isinstance(part, Mapping) else None
        if queue:
            ordered.append(queue.pop(0))
    # What no part asked for comes last, for the count of placeholders to be refused.
    return [*ordered, *waiting["image"], *waiting["video"]]

"""easy-VQA (Victor Zhou, MIT licence): one shape per 64x64 image, 13 answers; its own test split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from hawk.benchmarks.base import Benchmark, Sample
from hawk.core.images import pixel_hash


class EasyVQA(Benchmark):
    """Shape, colour and presence questions about a single object. Metric: exact match."""

    name: ClassVar[str] = "easy_vqa"
    family: ClassVar[str] = "easy_vqa"
    knows_relevant: ClassVar[bool] = True

    def load(self) -> Iterator[Sample]:
        from hawk.benchmarks.toy.easy_vqa import read_images

        for image in read_images("test"):
            group, box = pixel_hash(image.png), image.box()
            for number, question in enumerate(image.questions):
                yield Sample(
                    sample_id=f"{image.image_id}-{number}",
                    group_id=group,
                    question=question.text,
                    references=(question.answer,),
                    images=({"bytes": image.png, "path": f"{image.image_id}.png"},),
                    split="test",
                    relevant=(box,),
                )

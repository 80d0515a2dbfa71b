"""Four tasks on drawn scenes: which tokens matter depends on the question (hawk.benchmarks.toy.scenes).

All four ask about the same scenes, so they are one family; and so are the same four on busy scenes, where
objects are too many for a small budget to cover. Metric: exact match. The digits are test scans.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from hawk.benchmarks.base import Benchmark, Sample
from hawk.core.images import pixel_hash

if TYPE_CHECKING:
    from hawk.benchmarks.toy.questions import Question
    from hawk.benchmarks.toy.scenes import Scene

SCENES = 1200
SEED, BUSY_SEED = 7, 17


class _SceneTask(Benchmark):
    """Option ``scene_seed``: other scenes than those of every run, never seen by any of its roles."""

    family: ClassVar[str] = "scenes"
    busy: ClassVar[bool] = False
    knows_relevant: ClassVar[bool] = True
    takes: ClassVar[Mapping[str, str]] = {"protocol": "str", "scene_seed": "int"}

    def scene_and_question(self, index: int) -> tuple[Scene, Question | None]:
        """Scene and question of the sample ``f"{index:04d}"``; the question knows the object's box."""
        import numpy as np

        from hawk.benchmarks.toy.questions import ask
        from hawk.benchmarks.toy.scenes import BUSY, USUAL, make_scene

        seed = self.options.get("scene_seed", BUSY_SEED if self.busy else SEED)
        scene = make_scene("test", seed, index, BUSY if self.busy else USUAL)
        # The task's own random state: one task's questions do not depend on another's.
        random = np.random.default_rng([seed, index, *self.name.encode()])
        return scene, ask(self.name.removesuffix("_busy"), scene.objects, random)

    def load(self) -> Iterator[Sample]:
        from PIL import Image

        for index in range(SCENES):
            scene, question = self.scene_and_question(index)
            if question is None:
                continue
            file = io.BytesIO()
            Image.fromarray(scene.image).save(file, format="PNG")
            yield Sample(
                sample_id=f"{index:04d}",
                group_id=pixel_hash(file.getvalue()),
                question=question.text,
                references=(question.answer,),
                images=({"bytes": file.getvalue(), "path": f"{index:04d}.png"},),
                split="test",
                relevant=question.relevant,
            )


class _BusyTask(_SceneTask):
    family: ClassVar[str] = "scenes_busy"
    busy: ClassVar[bool] = True


class Digits(_SceneTask):
    """Which digit is red? Finds by colour, reads a handwritten digit."""

    name: ClassVar[str] = "digits"


class Shapes(_SceneTask):
    """What shape is blue?"""

    name: ClassVar[str] = "shapes"


class Colors(_SceneTask):
    """What color is the 7?"""

    name: ClassVar[str] = "colors"


class Presence(_SceneTask):
    """Is there a green 4? About half are."""

    name: ClassVar[str] = "presence"


class DigitsBusy(_BusyTask):
    """Which digit is red, among 10 to 13 objects?"""

    name: ClassVar[str] = "digits_busy"


class ShapesBusy(_BusyTask):
    """What shape is blue, among 10 to 13 objects?"""

    name: ClassVar[str] = "shapes_busy"


class ColorsBusy(_BusyTask):
    """What color is the 7, among 10 to 13 objects?"""

    name: ClassVar[str] = "colors_busy"


class PresenceBusy(_BusyTask):
    """Is there a green 4, among 10 to 13 objects? About half are."""

    name: ClassVar[str] = "presence_busy"

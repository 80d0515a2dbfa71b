"""Four tasks on drawn scenes: which tokens matter depends on the question (hawk.benchmarks.toy.scenes).

All four ask about the same scenes, so they are one family. Metric: exact match.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import ClassVar

from hawk.benchmarks.base import Benchmark, Sample
from hawk.core.images import pixel_hash

SCENES = 1200
SEED = 7


class _SceneTask(Benchmark):
    """Option ``scene_seed``: other scenes than those of every run, never seen by any of its roles."""

    family: ClassVar[str] = "scenes"

    def load(self) -> Iterator[Sample]:
        import numpy as np
        from PIL import Image

        from hawk.benchmarks.toy.questions import ask
        from hawk.benchmarks.toy.scenes import make_scene

        seed = int(self.options.get("scene_seed", SEED))
        for index in range(SCENES):
            scene = make_scene("test", seed, index)
            # The task's own random state: one task's questions do not depend on another's.
            random = np.random.default_rng([seed, index, *self.name.encode()])
            question = ask(self.name, scene.objects, random)
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
            )


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

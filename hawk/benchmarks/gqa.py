"""GQA, test-dev balanced: one-word answers about scenes; equality.

VLMEvalKit ``utils/vqa_eval.py``, method ``accuracy``: equal after lower-casing and stripping, so
"yes." is wrong. lmms-eval ignores case and punctuation. Questions and images are two tables.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.bases.dataset import DatasetBenchmark, Identities
from hawk.benchmarks.rules.metrics import bare_text, same_text
from hawk.benchmarks.rules.protocols import LMMS_EVAL, SHORT_WORDS, SINGLE_WORD
from hawk.benchmarks.sources.tables import local_parquet, open_source, parquet_rows
from hawk.core.errors import InputError

_IMAGES = "testdev_balanced_images"


@dataclass(frozen=True)
class GQA(DatasetBenchmark):
    name: ClassVar[str] = "gqa"
    family: ClassVar[str] = "gqa"
    hub_id: ClassVar[str] = "lmms-lab-encoder/GQA"
    hub_config: ClassVar[str | None] = "testdev_balanced_instructions"
    hub_split: ClassVar[str] = "testdev"
    columns: ClassVar[tuple[str, ...]] = ("id", "imageId", "question", "answer")
    tsv: ClassVar[str | None] = "GQA_TestDev_Balanced"
    published_rows: ClassVar[int] = 12578
    licence: ClassVar[str] = "MIT (tag)"

    # --- data ---------------------------------------------------------------------------------
    def load(self) -> Iterator[Sample]:
        if self.source().kind == "tsv":
            yield from super().load()
            return
        images, identify = self._images(), Identities(self.name)
        for row in self._questions():
            image = images.get(str(row["imageId"]))
            if image is None:
                raise InputError(
                    f"benchmark 'gqa', question {row['id']!r}: image {row['imageId']!r} is not in "
                    f"the table {_IMAGES}."
                )
            sample = self.from_hub({**row, "image": image}, 0)
            yield dataclasses.replace(sample, group_id=identify(sample))

    def _questions(self) -> Iterator[dict[str, Any]]:
        source = self.source()
        if source.kind == "hub":
            return source.rows(self.columns)
        return parquet_rows(self._local(str(self.hub_config)), self.columns)

    def _images(self) -> dict[str, dict[str, Any]]:
        """All 398 images, by id."""
        rows = parquet_rows(self._image_files(), ("id", "image"))
        return {str(row["id"]): row["image"] for row in rows}

    def files(self) -> tuple[Path, ...]:
        source = self.source()
        return source.files + (self._image_files() if source.kind == "hub" else ())

    def _image_files(self) -> tuple[Path, ...]:
        source = self.source()
        if source.kind != "hub":
            return self._local(_IMAGES)
        options = {"id": source.described["id"], "revision": source.described["revision"]}
        return open_source(
            self.name, options, hub_id=self.hub_id, config=_IMAGES, split=self.hub_split, tsv=None
        ).files

    def _local(self, table: str) -> tuple[Path, ...]:
        return local_parquet(self.name, Path(self.options["path"]).expanduser() / table)

    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample:
        return self.sample(row, str(row["id"]))

    def from_tsv(self, row: Mapping[str, Any], number: int) -> Sample:
        return self.sample(row, str(row["index"]))

    # --- prompt and scoring ---------------------------------------------------------------------
    def prompt(self, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        self.check_protocol(protocol)
        short = protocol != LMMS_EVAL and self.style == "qwen"
        return f"{sample.question}\n{SHORT_WORDS if short else SINGLE_WORD}"

    def parse(self, prediction: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        self.check_protocol(protocol)
        return bare_text(prediction) if protocol == LMMS_EVAL else prediction.strip().lower()

    def score(self, parsed: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> float:
        if protocol == LMMS_EVAL:
            return float(any(parsed == bare_text(reference) for reference in sample.references))
        return max((same_text(parsed, reference) for reference in sample.references), default=0.0)

"""MMStar: 1,500 multiple-choice questions that cannot be answered without the picture.

VLMEvalKit ``MMStar`` reports the mean over rows, lmms-eval (``tasks/mmstar``) the mean over eighteen
second-level categories. On the Hub the options stand in the question; VLMEvalKit's TSV has them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.choices import extract_option
from hawk.benchmarks.dataset import LEVEL, levels
from hawk.benchmarks.multiple_choice import MultipleChoice, split_options
from hawk.benchmarks.protocols import LETTER, LMMS_EVAL

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class MMStar(MultipleChoice):
    name: ClassVar[str] = "mmstar"
    family: ClassVar[str] = "science"  # takes images of AI2D, ScienceQA and MMBench
    hub_id: ClassVar[str] = "Lin-Chen/MMStar"
    hub_split: ClassVar[str] = "val"
    hub_config: ClassVar[str | None] = "val"
    columns: ClassVar[tuple[str, ...]] = (
        "index",
        "question",
        "image",
        "answer",
        "category",
        "l2_category",
    )
    tsv: ClassVar[str | None] = "MMStar"
    published_rows: ClassVar[int] = 1500
    lmms_tokens: ClassVar[int] = 128  # the task names none; lmms-eval's chat classes default to it

    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample:
        """The question stays as stored: lmms-eval asks it so. Options are read from it besides."""
        return self.sample(
            row,
            str(row["index"]),
            str(row["question"]),
            split_options(str(row["question"]))[1],
            str(row["answer"]).strip(),
            LEVEL.join([str(row["category"]), str(row["l2_category"])]),
        )

    def prompt(self, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        if protocol != LMMS_EVAL:
            stem, options = split_options(sample.question)
            if options and options == sample.options:
                sample = replace(sample, question=stem)
        return super().prompt(sample, protocol)

    def lmms_prompt(self, sample: Sample) -> str:
        return f"{sample.question.strip()}\n{LETTER.removesuffix('.')}"

    def lmms_parse(self, prediction: str, sample: Sample) -> str | None:
        return extract_option(prediction, "ABCD")

    # --- aggregate ------------------------------------------------------------------------------
    def contributions(self, rows: pd.DataFrame) -> np.ndarray:
        """Right and all, once; for lmms-eval once per second-level category, in sorted order."""
        import numpy as np

        if self.protocol != LMMS_EVAL:
            return super().contributions(rows)
        second = levels(rows)[1]
        columns = []
        for one in sorted(second.unique()):
            inside = (second == one).to_numpy(np.float64)
            columns += [rows["score"].to_numpy(np.float64) * inside, inside]
        return np.column_stack(columns)

    def value(self, sums: np.ndarray) -> np.ndarray:
        return (100.0 * sums[..., 0::2] / sums[..., 1::2]).mean(axis=-1)

"""AI2D: multiple choice about school diagrams.

VLMEvalKit ``AI2D_TEST`` (the rows of the Hub copies agree in number: 3,088); lmms-eval ``tasks/ai2d``.
In ``lmms-lab/ai2d`` letters in the picture stand in boxes ("masked labels").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.bases.multiple_choice import MultipleChoice, as_letter
from hawk.benchmarks.rules.cells import text
from hawk.benchmarks.rules.metrics import bare_text
from hawk.benchmarks.rules.protocols import LMMS_EVAL

_LEADING = re.compile(r"\s*([A-Z])\.")


@dataclass(frozen=True)
class AI2D(MultipleChoice):
    name: ClassVar[str] = "ai2d"
    family: ClassVar[str] = "science"  # MMStar takes images of AI2D and ScienceQA
    hub_id: ClassVar[str] = "lmms-lab-encoder/ai2d"
    columns: ClassVar[tuple[str, ...]] = ("question", "options", "answer", "image")
    tsv: ClassVar[str | None] = "AI2D_TEST"
    published_rows: ClassVar[int] = 3088

    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample:
        options = self.options_of(row["options"], str(number))
        return self.sample(row, str(number), text(row["question"]) or "", options)

    def letter(self, answer: str, options: Sequence[str]) -> str:
        """The Hub's table has the number of an option from 0, VLMEvalKit's its letter."""
        return as_letter(answer, options)

    def lmms_parse(self, prediction: str, sample: Sample) -> str:
        """A leading "B." is cut out; then case and punctuation are ignored."""
        match = _LEADING.match(prediction)
        return bare_text(match.group(1) if match else prediction)

    def score(self, parsed: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> float:
        if protocol == LMMS_EVAL:
            return float(parsed == bare_text(sample.references[0]))
        return super().score(parsed, sample, protocol)

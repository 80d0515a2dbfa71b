"""OCRBench: reading text in five kinds of picture; the count of hits out of 1,000.

VLMEvalKit ``image_vqa.py:OCRBench``; lmms-eval ``tasks/ocrbench``. A hit is a reference that occurs in
the answer. VLMEvalKit also lowers the minimum of pixels to 78,400 here: set
``preprocessing.min_pixels`` in a config of its own to follow that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.bases.dataset import DatasetBenchmark
from hawk.benchmarks.rules.cells import text
from hawk.benchmarks.rules.metrics import contains_reference, formula_text, ocr_text
from hawk.benchmarks.rules.protocols import LMMS_EVAL, SHORT_WORDS, SINGLE_WORD

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_FORMULAS = "Handwritten Mathematical Expression Recognition"
_RECOGNITION = tuple(
    f"{kind} Recognition"
    for kind in (
        "Regular Text",
        "Irregular Text",
        "Artistic Text",
        "Handwriting",
        "Digit String",
        "Non-Semantic Text",
    )
)
_OTHERS = ("Scene Text-centric VQA", "Doc-oriented VQA", "Key Information Extraction", _FORMULAS)
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: " "}


@dataclass(frozen=True)
class OCRBench(DatasetBenchmark):
    name: ClassVar[str] = "ocrbench"
    family: ClassVar[str] = "reading"  # takes images of TextVQA and ChartQA
    native_max: ClassVar[float] = 1000.0
    hub_id: ClassVar[str] = "echo840/OCRBench"
    columns: ClassVar[tuple[str, ...]] = ("dataset", "question", "question_type", "answer", "image")
    tsv: ClassVar[str | None] = "OCRBench"
    tsv_columns: ClassVar[tuple[str, ...]] = ("index", "question", "answer", "category")
    published_rows: ClassVar[int] = 1000
    lmms_tokens: ClassVar[int] = 128

    # --- data ---------------------------------------------------------------------------------
    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample:
        kind = text(row["question_type"]) or text(row.get("category"))
        if not kind and row["dataset"] == "HME100k":  # as lmms-eval tells them
            kind = _FORMULAS
        return self.sample(row, str(number), category=kind or None)

    def from_tsv(self, row: Mapping[str, Any], number: int) -> Sample:
        return self.sample(row, str(row["index"]), category=text(row["category"]) or None)

    def stand_ins(self) -> dict[str, Any]:
        return {"dataset": "", "question_type": ""}

    # --- prompt and scoring ---------------------------------------------------------------------
    def prompt(self, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        self.check_protocol(protocol)
        if protocol == LMMS_EVAL:
            return sample.question.strip()
        line = {"qwen": SHORT_WORDS, "internvl": SINGLE_WORD}.get(self.style)
        return f"{sample.question}\n{line}" if line else sample.question

    def parse(self, prediction: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        """The text in which references are looked for."""
        self.check_protocol(protocol)
        return _cleaner(sample, protocol)(prediction)

    def score(self, parsed: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> float:
        return contains_reference(parsed, sample.references, _cleaner(sample, protocol))

    # --- aggregate ------------------------------------------------------------------------------
    def value(self, sums: np.ndarray) -> np.ndarray:
        """Hits per 1,000 questions; of the whole benchmark, the count."""
        return 1000.0 * sums[..., 0] / sums[..., 1]

    def report(self, rows: pd.DataFrame) -> dict[str, float]:
        """Counts of hits; ``Final Score Norm`` is a tenth of their sum."""
        hits = rows.groupby("category")["score"].sum()
        counts = {"Text Recognition": int(sum(hits.get(category, 0) for category in _RECOGNITION))}
        counts |= {category: int(hits.get(category, 0)) for category in _OTHERS}
        total = int(rows["score"].sum())
        return {**counts, "Final Score": total, "Final Score Norm": total / 10}


def _cleaner(sample: Sample, protocol: str) -> Any:
    if sample.category == _FORMULAS:
        return formula_text
    if protocol == LMMS_EVAL:  # full-width ASCII counts as ASCII there
        return lambda text: ocr_text(text.translate(_FULL_WIDTH))
    return ocr_text

"""ChartQA: questions about charts; relaxed accuracy, numbers within 5 %.

VLMEvalKit ``utils/vqa_eval.py:relaxed_correctness``; lmms-eval ``tasks/chartqa``. In ms-vlmeval
0.0.18 prediction and target are swapped in the call (mended upstream in PR #1204), so the tolerance
is relative to the prediction: "95" for 100 is wrong there, "105.2" right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.bases.dataset import DatasetBenchmark
from hawk.benchmarks.rules.cells import answers, text
from hawk.benchmarks.rules.metrics import listed, relaxed_match
from hawk.benchmarks.rules.protocols import LMMS_EVAL, MS_VLMEVAL, SHORT_WORDS, SINGLE_WORD

if TYPE_CHECKING:
    import pandas as pd

# VLMEvalKit's names of the halves, by the Hub's.
_HALVES = {"human_test": "test_human", "augmented_test": "test_augmented"}


@dataclass(frozen=True)
class ChartQA(DatasetBenchmark):
    name: ClassVar[str] = "chartqa"
    family: ClassVar[str] = "reading"  # OCRBench takes images of ChartQA
    hub_id: ClassVar[str] = "lmms-lab-encoder/ChartQA"
    columns: ClassVar[tuple[str, ...]] = ("type", "question", "answer", "image")
    tsv: ClassVar[str | None] = "ChartQA_TEST"
    published_rows: ClassVar[int] = 2500
    licence: ClassVar[str] = "GPL-3.0 (original)"

    # --- data ---------------------------------------------------------------------------------
    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample:
        half = text(row["type"]) or text(row.get("split"))
        return self.sample(row, str(number), category=_HALVES.get(str(half), half) or None)

    def from_tsv(self, row: Mapping[str, Any], number: int) -> Sample:
        return self.sample(row, str(row["index"]), category=text(row.get("split")) or None)

    def stand_ins(self) -> dict[str, Any]:
        return {"type": ""}

    def as_references(self, value: Any, options: Sequence[str] = ()) -> tuple[str, ...]:
        """The text of a list stays one reference: the harnesses read it differently."""
        references = answers(value, split=False)
        for answer in references:
            answers(answer)  # a list of nothing
        return references

    def perfect_answers(self, sample: Sample) -> tuple[str, ...]:
        return (*sample.references, *(target for text in sample.references for target in listed(text)))

    # --- prompt and scoring ---------------------------------------------------------------------
    def prompt(self, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        self.check_protocol(protocol)
        if protocol == LMMS_EVAL:
            return f"{sample.question}\nAnswer the question with a single word."
        return f"{sample.question}\n{SHORT_WORDS if self.style == 'qwen' else SINGLE_WORD}"

    def parse(self, prediction: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        """The whole answer; lmms-eval keeps even spaces at its ends."""
        self.check_protocol(protocol)
        return prediction if protocol == LMMS_EVAL else prediction.strip()

    def score(self, parsed: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> float:
        """The best over the references. A list literal is several for VLMEvalKit, one for lmms-eval."""
        if protocol == LMMS_EVAL:
            return max(relaxed_match(parsed, reference) for reference in sample.references)
        targets = [target for reference in sample.references for target in listed(reference)]
        if protocol == MS_VLMEVAL:
            return max((relaxed_match(target, parsed) for target in targets), default=0.0)
        return max((relaxed_match(parsed, target) for target in targets), default=0.0)

    # --- aggregate ------------------------------------------------------------------------------
    def report(self, rows: pd.DataFrame) -> dict[str, float]:
        """Percent overall (mean over rows) and per half."""
        halves = rows["category"].dropna().unique()
        by_half = {
            category: self.aggregate(rows[rows["category"] == category]) for category in sorted(halves)
        }
        return {**by_half, "Overall": self.aggregate(rows)}

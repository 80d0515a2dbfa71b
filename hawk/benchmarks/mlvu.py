"""MLVU, the seven multiple-choice tasks of its dev split (the two written tasks need a judge).

VLMEvalKit ``utils/mlvu.py:check_ans_with_model`` and M-Avg, which pools all questions; lmms-eval
``tasks/mlvu`` takes the mean over the seven tasks, a task without a question counting 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.bases.multiple_choice import LETTERS, lettered
from hawk.benchmarks.bases.video import VideoBenchmark
from hawk.benchmarks.rules.cells import text
from hawk.benchmarks.rules.choices import REFUSED, infer_option
from hawk.benchmarks.rules.protocols import LMMS_EVAL, MS_VLMEVAL
from hawk.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TASKS = ("anomaly_reco", "count", "ego", "needle", "order", "plotQA", "topic_reasoning")
_SYSTEM = (
    "Carefully watch this video and pay attention to every detail. Based on your observations, "
    "select the best option that accurately addresses the question."
)


@dataclass(frozen=True)
class MLVU(VideoBenchmark):
    name: ClassVar[str] = "mlvu"
    family: ClassVar[str] = "mlvu"
    hub_id: ClassVar[str] = "sy1998/MLVU_dev"
    columns: ClassVar[tuple[str, ...]] = ("video_name", "question", "candidates", "answer", "task_type")
    published_rows: ClassVar[int] = 2174  # of the seven tasks, from memory: not confirmed
    licence: ClassVar[str] = "CC-BY-NC-SA-4.0"

    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample:
        """``candidates`` are bare texts; the answer is a letter or one of them."""
        options = self.options_of(row["candidates"], str(number))
        question = (text(row["question"]) or "").partition("\n(A)")[0]
        video = self.video(str(row["video_name"]), str(number))
        return self.sample(row, str(number), question, options, text(row["task_type"]), video=video)

    def letter(self, answer: str, options: Sequence[str]) -> str:
        """A letter, or an option's text."""
        if answer not in options:
            return answer
        letter = LETTERS[options.index(answer)]
        if answer in LETTERS[: len(options)] and answer != letter:
            raise InputError(f"the answer {answer!r} is a letter, and the text of option {letter}.")
        return letter

    def stand_ins(self) -> dict[str, Any]:
        """lmms-eval takes the mean over tasks; VLMEvalKit pools them."""
        return {} if self.protocol == LMMS_EVAL else {"task_type": ""}

    # --- prompt and scoring ---------------------------------------------------------------------
    def prompt(self, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        self.check_protocol(protocol)
        if protocol == LMMS_EVAL:
            return self.lmms_prompt(sample)
        options = "".join(f"({key}) {option}\n" for key, option in lettered(sample.options).items())
        return f"Question: {sample.question}\nOptions:\n{options.rstrip()}\nOnly give the best option."

    def lmms_prompt(self, sample: Sample) -> str:
        options = [f"({letter}) {option}" for letter, option in lettered(sample.options).items()]
        question = "\n".join([sample.question, *options])
        return f"{question}\nOnly give the best option.\nBest option: ("

    def messages(self, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> list[dict[str, Any]]:
        messages = super().messages(sample, protocol)
        if protocol == LMMS_EVAL:
            return messages
        return [{"role": "system", "content": [{"type": "text", "text": _SYSTEM}]}, *messages]

    def parse(self, prediction: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str | None:
        """What stands before the first ")" if that is an option's letter, else as in images."""
        self.check_protocol(protocol)
        if protocol == LMMS_EVAL:
            return self.lmms_parse(prediction, sample)
        options = lettered(sample.options)
        bracket = prediction.find(")")
        letter = prediction[bracket - 1 : bracket] if bracket >= 0 else prediction
        if letter == sample.references[0]:
            return letter
        inferred = infer_option(prediction, options, plain=protocol == MS_VLMEVAL)
        return None if inferred == REFUSED else inferred

    # --- aggregate ------------------------------------------------------------------------------
    def contributions(self, rows: pd.DataFrame) -> np.ndarray:
        """Right and all, once; for lmms-eval once per task."""
        import numpy as np

        if self.protocol != LMMS_EVAL:
            return super().contributions(rows)
        score = rows["score"].to_numpy(np.float64)
        inside = [(rows["category"] == task).to_numpy(np.float64) for task in TASKS]
        return np.column_stack([column for part in inside for column in (score * part, part)])

    def value(self, sums: np.ndarray) -> np.ndarray:
        import numpy as np

        right, count = sums[..., 0::2], sums[..., 1::2]
        return (100.0 * np.divide(right, count, out=np.zeros_like(right), where=count > 0)).mean(-1)

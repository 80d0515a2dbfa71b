"""MMBench-EN dev and CCBench: every question again with its options rolled; all copies must be right.

VLMEvalKit ``utils/multiple_choice.py:mcq_circular_eval``: copy k of question g has index
g + k · 1,000,000. lmms-eval's default asks a GPT judge; what we follow under its name is its task
``mmbench_en_dev_static``, which uses rules only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hawk.benchmarks.base import Sample
from hawk.benchmarks.bases.dataset import COUNT, LEVEL, check_groups
from hawk.benchmarks.bases.multiple_choice import MultipleChoice, lettered, split_hint, with_hint
from hawk.benchmarks.rules.cells import options_by_letter, text
from hawk.benchmarks.rules.choices import extract_option
from hawk.benchmarks.rules.protocols import LETTER, LMMS_EVAL, MS_VLMEVAL, VLMEVALKIT
from hawk.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_COPY = 1_000_000
_SHORT_NAMES = {
    "coarse_perception": "CP",
    "finegrained_perception (instance-level)": "FP-S",
    "finegrained_perception (cross-instance)": "FP-C",
    "logic_reasoning": "LR",
    "relation_reasoning": "RR",
    "attribute_reasoning": "AR",
}


@dataclass(frozen=True)
class MMBench(MultipleChoice):
    name: ClassVar[str] = "mmbench"
    family: ClassVar[str] = "science"  # MMStar takes images of MMBench
    grouped: ClassVar[bool] = True
    keys: ClassVar[tuple[str, ...]] = ("index",)
    hub_id: ClassVar[str] = "lmms-lab-encoder/MMBench"
    hub_config: ClassVar[str | None] = "en"
    hub_split: ClassVar[str] = "dev"
    columns: ClassVar[tuple[str, ...]] = (
        "index",
        "question",
        "hint",
        "answer",
        "A",
        "B",
        "C",
        "D",
        "category",
        "image",
        "L2-category",
    )
    tsv: ClassVar[str | None] = "MMBench_DEV_EN"
    published_rows: ClassVar[int] = 4329
    lmms_tokens: ClassVar[int] = 1024

    # --- data ---------------------------------------------------------------------------------
    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample:
        return self.from_tsv(row, number)

    def from_tsv(self, row: Mapping[str, Any], number: int) -> Sample:
        index = self._index(row["index"])
        second = text(row.get("l2-category")) or text(row.get("L2-category"))  # the Hub's name
        category = [text(row.get("category")), second]
        return self.sample(
            row,
            str(index),
            with_hint(text(row.get("hint")), text(row["question"]) or ""),
            options_by_letter(row),
            LEVEL.join(level for level in category if level) or None,
            str(index % _COPY),
        )

    def _index(self, value: Any) -> int:
        try:  # pandas makes 7.0 of a 7 above an empty cell
            if isinstance(value, bool) or float(value) != int(float(value)) or float(value) < 0:
                raise ValueError
            return int(value) if isinstance(value, str) and value.strip().isdecimal() else int(float(value))
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"benchmark {self.name!r}: index {value!r} is no whole number.") from None

    def stand_ins(self) -> dict[str, Any]:
        return dict.fromkeys(("hint", "C", "D", "category", "L2-category"), "")

    def lacking(self, members: Sequence[tuple[str, int]], rows: int) -> list[str]:
        """A question has as many copies as options. Where one is empty, in some copy it is not the last."""
        indices = [self._index(sample_id) for sample_id, _ in members]
        count = max([*(options for _, options in members), *(index // _COPY + 1 for index in indices)])
        question = indices[0] % _COPY
        every = [question + copy * _COPY for copy in range(count)]
        return [str(index) for index in every if index not in indices]

    # --- lmms-eval ------------------------------------------------------------------------------
    def lmms_prompt(self, sample: Sample) -> str:
        hint, question = split_hint(sample.question)
        lines = [f"{letter}. {option}" for letter, option in lettered(sample.options).items()]
        options = "\n".join(["There are several options:", *lines, ""])
        return f"{f'{hint} ' if hint else ''}{question} {options}\n{LETTER}"

    def lmms_parse(self, prediction: str, sample: Sample) -> str | None:
        options = lettered(sample.options)
        return static_option(prediction.strip(), options) or extract_option(prediction, list(options))

    # --- aggregate ------------------------------------------------------------------------------
    def contributions(self, rows: pd.DataFrame) -> np.ndarray:
        """On each question's first row: 1 if all its copies are right, and 1."""
        import numpy as np

        groups = rows["metric_group"]
        check_groups(self.name, rows)
        self._check_copies(rows)
        right = rows["score"].groupby(groups.to_numpy()).transform("min").to_numpy(np.float64)
        first = ~groups.duplicated().to_numpy()
        return np.column_stack([(right == 1.0) * first, first]).astype(np.float64)

    def _check_copies(self, rows: pd.DataFrame) -> None:
        """Refuse a question whose copies have a gap, as where its first is missing."""
        import numpy as np

        index = np.array([self._index(sample_id) for sample_id in rows["sample_id"]])
        copies = np.bincount(np.unique(index % _COPY, return_inverse=True)[1])
        last = np.zeros(len(copies), dtype=np.int64)
        questions, position = np.unique(index % _COPY, return_inverse=True)
        np.maximum.at(last, position, index // _COPY)
        gaps = questions[last + 1 != copies]
        if len(gaps):
            raise InputError(
                f"benchmark {self.name!r}: question {gaps[0]} (group {gaps[0]}{COUNT}…) lacks one of "
                f"its rolled copies; it has indices {sorted(index[index % _COPY == gaps[0]].tolist())}."
            )

    def report(self, rows: pd.DataFrame) -> dict[str, float]:
        return {_SHORT_NAMES.get(name, name): value for name, value in super().report(rows).items()}


@dataclass(frozen=True)
class CCBench(MMBench):
    """Chinese culture, rolled as MMBench. Only VLMEvalKit's TSV is known to hold it."""

    name: ClassVar[str] = "ccbench"
    family: ClassVar[str] = "ccbench"
    protocols: ClassVar[tuple[str, ...]] = (VLMEVALKIT, MS_VLMEVAL)
    refused: ClassVar[Mapping[str, str]] = {LMMS_EVAL: "its task asks a GPT judge."}
    tsv: ClassVar[str | None] = "CCBench"
    published_rows: ClassVar[int] = 2040  # four copies of 510; EvalScope's page counts as many

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.options.get("source", "tsv") != "tsv":
            raise InputError("data.ccbench.source: only 'tsv' is supported (VLMEvalKit's CCBench.tsv).")
        object.__setattr__(self, "options", {**self.options, "source": "tsv"})


# --- lmms-eval's rules for MMBench ---------------------------------------------------------------
_FORMS = ("{}.", "{},", "{}:", "{})", "{}).", "({})", "({}).", ":{}", ":{},", ":{}.", ":{})", ":{}).")


def static_option(prediction: str, options: Mapping[str, str]) -> str | None:
    """``mmbench_evals.py:can_infer``: a letter as a word of its own in some form, else an option's text.

    Letters A to E are looked for, whatever options there are. A bare letter does not count where
    "A" stands among more than three words.
    """
    words = prediction.split()
    letter = None
    if "Failed to obtain answer via API" not in prediction:
        named = [letter for letter in "ABCDE" if letter in words]
        if len(named) == 1 and not ("A" in words and len(words) > 3):
            letter = named[0]
        for form in _FORMS if letter is None else ():
            named = [letter for letter in "ABCDE" if form.format(letter) in words]
            if len(named) == 1:
                letter = named[0]
                break
    if letter is not None:
        return letter
    lowered = prediction.lower()
    named = [letter for letter, option in options.items() if option.lower() in lowered]
    return named[0] if len(named) == 1 else None

"""What the head explorer shows of single questions: which ones a head wins and loses, in few bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hawk.analysis.answers import KEPT, Answers, HeadAnswers, read_answers
from hawk.benchmarks.bases.multiple_choice import lettered
from hawk.core.heads import Head
from hawk.core.progress import progress
from hawk.report.run import Run

BYTES = 600_000  # of the questions shown per run and ablation: a page stays under 5 MB
# Questions per head and direction, and whether heads within noise show theirs too: the first that fits.
AMOUNTS = ((KEPT, True), (KEPT, False), (1, False), (0, False))
LONGEST = 160  # characters of a question or an answer; the rest is cut


def answers_of(run: Run) -> dict[str, dict[str, Answers | None]]:
    """Ablation → benchmark → its answers, from every score file of the run's drops."""
    by_ablation: dict[str, dict[str, Answers | None]] = {}
    if run.drops is None:
        return by_ablation
    pairs = list(run.drops.groupby(["ablation", "benchmark"], sort=False))
    for (ablation, benchmark), part in progress(pairs, "answers"):
        heads = [Head(layer, head) for layer, head in zip(part["layer"], part["head"], strict=True)]
        by_ablation.setdefault(ablation, {})[benchmark] = read_answers(
            run.paths, benchmark, ablation, part["intervention"].iloc[0], heads
        )
    return by_ablation


def answer_lists(
    answers: Mapping[str, Answers | None],
    benchmarks: Sequence[str],
    heads: Sequence[Head],
    noise: Sequence[Sequence[int]],
) -> dict[str, Any]:
    """The part of an explorer's panel about single questions. noise: ``[benchmark][head]``, 1 within noise.

    ``won`` and ``lost``, ``[benchmark][head]``: numbers of questions, None without a score file.
    ``asked``, per benchmark: [question, right answers, answer of the reference run] of the questions shown.
    ``said``, per benchmark: the other answers. ``shown``, ``[benchmark][head]``: 0, or the questions won and
    lost as two lists [question, answer, question, answer, …] of numbers in these.
    ``most``: questions shown per head and direction, as many as BYTES allow; ``of_all``: whether of heads
    within noise too.
    """
    by_benchmark = [answers.get(name) for name in benchmarks]

    def counts(of: str) -> list[list[int | None]]:
        return [
            [getattr(of_heads[head], of) if head in of_heads else None for head in heads]
            for of_heads in (answers.heads if answers else {} for answers in by_benchmark)
        ]

    for most, of_all in AMOUNTS:
        parts = [
            _shown(answers, heads, [0 if hidden and not of_all else most for hidden in line])
            for answers, line in zip(by_benchmark, noise, strict=True)
        ]
        shown = {key: [part[key] for part in parts] for key in ("asked", "said", "shown")}
        if len(json.dumps(shown)) <= BYTES:
            break
    return {"won": counts("won"), "lost": counts("lost"), "most": most, "of_all": of_all, **shown}


def _shown(answers: Answers | None, heads: Sequence[Head], most: Sequence[int]) -> dict[str, list[Any]]:
    """most: ``[heads]``, questions of each kind."""
    asked: dict[int, int] = {}  # row → its place in the list
    said: dict[str, int] = {}

    def pairs(first: Mapping[int, str], count: int) -> list[int]:
        return [
            number
            for row, text in list(first.items())[:count]
            for number in (asked.setdefault(row, len(asked)), said.setdefault(_cut(text), len(said)))
        ]

    def cell(head: HeadAnswers | None, count: int) -> Any:
        lists = [pairs(head.first_won, count), pairs(head.first_lost, count)] if head else []
        return lists if any(lists) else 0

    if answers is None:
        return {"asked": [], "said": [], "shown": [0] * len(heads)}
    shown = [cell(answers.heads.get(head), count) for head, count in zip(heads, most, strict=True)]
    questions = [
        [_question(answers.samples[row]), _right(answers.samples[row]), _cut(answers.reference_run[row])]
        for row in asked
    ]
    return {"asked": questions, "said": list(said), "shown": shown}


def _question(sample: Mapping[str, Any]) -> str:
    options = lettered(sample["options"] or ())
    return " ".join([_cut(sample["question"]), *(_cut(f"{key}. {text}") for key, text in options.items())])


def _right(sample: Mapping[str, Any]) -> str:
    """The right answers, each once: ten people may have given the same."""
    return _cut(", ".join(dict.fromkeys(sample["references"] or ())))


def _cut(text: str | None) -> str:
    text = " ".join((text or "").split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"

"""Measure a saved model on the test splits as a user runs it: template, `generate`, exact match.

Run as `python -m hawk.tiny.evaluate FOLDER`. Beside the accuracy stand two that need no image:
always the commonest answer, and the same prompt without any visual token.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hawk.benchmarks.toy.easy_vqa import read_images
from hawk.benchmarks.toy.questions import TASKS, Question, make_sample

if TYPE_CHECKING:
    import torch


BENCHMARKS = ("easy_vqa", *TASKS)
SEED = 0  # of the test scenes
MAX_NEW_TOKENS = 8


@dataclass(frozen=True)
class Sample:
    image: np.ndarray  # [64, 64, 3], uint8
    question: Question


@dataclass(frozen=True)
class Measurement:
    """Shares of right answers."""

    benchmark: str
    questions: int
    accuracy: float
    majority: float
    blind: float


def benchmark_samples(benchmark: str, number: int, seed: int = SEED) -> Iterator[Sample]:
    """Test questions: scenes 0, 1, … of a task, or a random choice of those of easy-VQA."""
    if benchmark == "easy_vqa":
        pairs = [(image, question) for image in read_images("test") for question in image.questions]
        if number > len(pairs):
            raise ValueError(f"easy_vqa has {len(pairs)} test questions; {number} were asked for")
        for i in np.random.default_rng(seed).permutation(len(pairs))[:number]:
            yield Sample(pairs[i][0].pixels(), pairs[i][1])
    elif benchmark in TASKS:
        for i in range(number):
            scene, question = make_sample(benchmark, "test", seed, i)
            yield Sample(scene.image, question)
    else:
        raise ValueError(f"benchmark {benchmark!r} is unknown; allowed: {', '.join(BENCHMARKS)}")


def parse(text: str) -> str:
    """The answer as it is compared. Nothing is guessed: a second word makes it wrong."""
    return text.strip().lower()


class Answerer:
    """A saved model, loaded with the plain Auto classes."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = AutoModelForImageTextToText.from_pretrained(folder).eval()

    def answer(self, samples: list[Sample], blind: bool = False) -> list[str]:
        from PIL import Image

        conversations = [
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "image": Image.fromarray(sample.image)},
                        {"type": "text", "text": sample.question.text},
                    ],
                }
            ]
            for sample in samples
        ]
        inputs = self.processor.apply_chat_template(
            conversations,
            tokenize=True,
            return_dict=True,
            add_generation_prompt=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
        if blind:
            inputs = self._without_visual_tokens(inputs["input_ids"], inputs["attention_mask"])
        output = self.model.generate(**inputs, do_sample=False, max_new_tokens=MAX_NEW_TOKENS)
        new = output[:, inputs["input_ids"].shape[1] :]
        return [parse(text) for text in self.processor.batch_decode(new, skip_special_tokens=True)]

    def _without_visual_tokens(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every prompt has one image, so every row loses the same number of tokens."""
        keep = ids != self.model.config.image_token_id
        rows = len(ids)
        return {"input_ids": ids[keep].view(rows, -1), "attention_mask": mask[keep].view(rows, -1)}


def evaluate(folder: Path, questions: int = 600, batch: int = 50) -> list[Measurement]:
    """Measure the model in `folder` on every benchmark."""
    answerer = Answerer(folder)
    return [_measure(answerer, name, questions, batch) for name in BENCHMARKS]


def _measure(answerer: Answerer, benchmark: str, questions: int, batch: int) -> Measurement:
    samples = list(benchmark_samples(benchmark, questions))
    expected = [sample.question.answer for sample in samples]
    batches = [samples[i : i + batch] for i in range(0, questions, batch)]

    def accuracy(blind: bool) -> float:
        answers = [answer for part in batches for answer in answerer.answer(part, blind)]
        return sum(a == b for a, b in zip(answers, expected, strict=True)) / questions

    majority = Counter(expected).most_common(1)[0][1] / questions
    return Measurement(benchmark, questions, accuracy(blind=False), majority, accuracy(blind=True))


def as_table(measurements: list[Measurement]) -> str:
    """A Markdown table in percent."""
    lines = [
        "| benchmark | test questions | accuracy | always the commonest answer | no visual token |",
        "|---|---|---|---|---|",
    ]
    for m in measurements:
        shares = " | ".join(f"{100 * share:.1f} %" for share in (m.accuracy, m.majority, m.blind))
        lines.append(f"| {m.benchmark} | {m.questions} | {shares} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure an embedded model on the test splits.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions", type=int, default=600, help="per benchmark")
    arguments = parser.parse_args()
    print(as_table(evaluate(arguments.folder, arguments.questions)))


if __name__ == "__main__":
    main()

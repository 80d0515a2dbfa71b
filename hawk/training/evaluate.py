"""Measure a saved model on the test splits as a user runs it: template, `generate`, exact match.

Run as `python -m hawk.training.evaluate FOLDER`. Beside the accuracy stand two that need no image
(always the commonest answer, and the same prompt without any visual token), and the accuracy on a fifth
of the visual tokens, in subsets that no method of selection made.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from hawk.benchmarks.toy.easy_vqa import read_images
from hawk.benchmarks.toy.questions import TASKS, Question, make_sample
from hawk.benchmarks.toy.scenes import BUSY, USUAL
from hawk.models import family_of
from hawk.models.loading import read
from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext
from hawk.pruning.prompt import prune
from hawk.training.architectures import VISUAL_TOKENS
from hawk.training.labels import shows_object
from hawk.training.subsets import with_background

BENCHMARKS = ("easy_vqa", *TASKS, *(f"{task}_busy" for task in TASKS))
SEED, BUSY_SEED = 0, 10  # of the test scenes
MAX_NEW_TOKENS = 8
# Tokens of the background among the kept ones, as a share; None: whatever a blind choice gives.
SUBSETS = {"random": None, "only objects": 0.0, "mostly background": 0.8}
RETENTION = 0.2


@dataclass(frozen=True)
class Sample:
    image: np.ndarray  # [64, 64, 3], uint8
    question: Question
    shows_object: np.ndarray  # bool [64], by visual token


@dataclass(frozen=True)
class Outcome:
    """Shares of the answers to one set of prompts."""

    right: float
    goes_on: float  # another word follows the first


@dataclass(frozen=True)
class Measurement:
    benchmark: str
    questions: int
    full: Outcome
    majority: float
    blind: Outcome
    subsets: dict[str, Outcome]


def benchmark_samples(benchmark: str, number: int, seed: int | None = None) -> Iterator[Sample]:
    """Test questions: scenes 0, 1, … of a task, or a random choice of those of easy-VQA."""
    task = benchmark.removesuffix("_busy")
    if benchmark == "easy_vqa":
        pairs = [(image, question) for image in read_images("test") for question in image.questions]
        if number > len(pairs):
            raise ValueError(f"easy_vqa has {len(pairs)} test questions; {number} were asked for")
        for i in np.random.default_rng(SEED if seed is None else seed).permutation(len(pairs))[:number]:
            image, question = pairs[i]
            yield Sample(image.pixels(), question, shows_object(image))
    elif benchmark in BENCHMARKS:
        busy = task != benchmark
        if seed is None:
            seed = BUSY_SEED if busy else SEED
        for i in range(number):
            scene, question = make_sample(task, "test", seed, i, BUSY if busy else USUAL)
            yield Sample(scene.image, question, shows_object(scene))
    else:
        raise ValueError(f"benchmark {benchmark!r} is unknown; allowed: {', '.join(BENCHMARKS)}")


def draw_kept(samples: list[Sample], kind: str, retention: float = RETENTION, seed: int = SEED) -> np.ndarray:
    """Which tokens each sample keeps, bool `[samples, 64]`, for one of `SUBSETS`."""
    random = np.random.default_rng((seed, list(SUBSETS).index(kind)))
    count, share = round(VISUAL_TOKENS * retention), SUBSETS[kind]
    kept = np.zeros((len(samples), VISUAL_TOKENS), dtype=bool)
    for row, sample in zip(kept, samples, strict=True):
        if share is None:
            row[random.permutation(VISUAL_TOKENS)[:count]] = True
        else:
            row[with_background(round(share * count), count, sample.shows_object, random)] = True
    return kept


def parse(text: str) -> str:
    """The answer as it is compared. Nothing is guessed: a second word makes it wrong."""
    return text.strip().lower()


@dataclass(frozen=True)
class Given(Pruner):
    """Keeps the tokens it is told to; a sample's key is its row."""

    kept: np.ndarray | None = None  # bool [samples, 64]

    def kept_indices(self, context: PruningContext) -> torch.Tensor:
        assert self.kept is not None
        return torch.from_numpy(np.flatnonzero(self.kept[int(context.key)]))


class Answerer:
    """A saved model, loaded with the plain Auto classes."""

    def __init__(self, folder: Path) -> None:
        self.processor = read(AutoProcessor, str(folder), "processor")
        self.model = read(AutoModelForImageTextToText, str(folder), "model").eval()

    def answer(self, samples: list[Sample], blind: bool = False, kept: np.ndarray | None = None) -> list[str]:
        """Answers as they are compared. `blind`: without any visual token; `kept`: with these alone."""
        if kept is None:
            return self.generate(samples, None, blind)[0]
        return self.generate(samples, Given(kept=kept))[0]

    @torch.no_grad()
    def generate(
        self, samples: list[Sample], pruner: Pruner | None = None, blind: bool = False
    ) -> tuple[list[str], list[bool]]:
        """Answers, and of each whether it goes on after its first token."""
        inputs = self._inputs(samples)
        if blind:
            inputs = self._without_visual_tokens(inputs["input_ids"], inputs["attention_mask"])
        elif pruner is not None:
            keys = [str(row) for row in range(len(samples))]
            inputs = prune(pruner, self.model, family_of(self.model), inputs, keys).kwargs()
        output = self.model.generate(**inputs, do_sample=False, max_new_tokens=MAX_NEW_TOKENS)
        new = output[:, inputs["input_ids"].shape[1] :]
        texts = self.processor.batch_decode(new, skip_special_tokens=True)
        end = self.processor.tokenizer.eos_token_id
        goes_on = [end not in row[:2] for row in new.tolist()]
        return [parse(text) for text in texts], goes_on

    def _inputs(self, samples: list[Sample]) -> dict[str, torch.Tensor]:
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
        inputs: dict[str, torch.Tensor] = self.processor.apply_chat_template(
            conversations,
            tokenize=True,
            return_dict=True,
            add_generation_prompt=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
        return inputs

    def _without_visual_tokens(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every prompt has one image, so every row loses the same number of tokens."""
        keep = ids != self.model.config.image_token_id
        rows = len(ids)
        return {"input_ids": ids[keep].view(rows, -1), "attention_mask": mask[keep].view(rows, -1)}


def evaluate(
    folder: Path, questions: int = 600, batch: int = 50, seed: int | None = None
) -> list[Measurement]:
    """Measure the model in `folder` on every benchmark.

    seed: of other scenes than the card's (and of another choice of easy-VQA's questions), to confirm it.
    """
    answerer = Answerer(folder)
    return [
        _measure(answerer, name, list(benchmark_samples(name, questions, seed)), batch) for name in BENCHMARKS
    ]


def _measure(answerer: Answerer, benchmark: str, samples: list[Sample], batch: int) -> Measurement:
    questions = len(samples)
    expected = [sample.question.answer for sample in samples]
    parts = [slice(i, i + batch) for i in range(0, questions, batch)]

    def outcome(blind: bool = False, kept: np.ndarray | None = None) -> Outcome:
        answers: list[str] = []
        going_on: list[bool] = []
        for part in parts:
            pruner = None if kept is None else Given(kept=kept[part])
            texts, goes_on = answerer.generate(samples[part], pruner, blind)
            answers += texts
            going_on += goes_on
        right = sum(a == b for a, b in zip(answers, expected, strict=True))
        return Outcome(right / questions, sum(going_on) / questions)

    return Measurement(
        benchmark,
        questions,
        full=outcome(),
        majority=Counter(expected).most_common(1)[0][1] / questions,
        blind=outcome(blind=True),
        subsets={kind: outcome(kept=draw_kept(samples, kind)) for kind in SUBSETS},
    )


def as_table(measurements: list[Measurement]) -> str:
    """A Markdown table in percent."""
    lines = [
        "| benchmark | test questions | accuracy | always the commonest answer | no visual token |",
        "|---|---|---|---|---|",
    ]
    for m in measurements:
        shares = " | ".join(f"{100 * share:.1f} %" for share in (m.full.right, m.majority, m.blind.right))
        lines.append(f"| {m.benchmark} | {m.questions} | {shares} |")
    return "\n".join(lines)


def as_subset_table(measurements: list[Measurement]) -> str:
    """The same for subsets: accuracy, and in brackets the share of answers that go on after a word."""
    lines = [
        f"| benchmark | all tokens | {' | '.join(SUBSETS)} |",
        "|---|" + "---|" * (1 + len(SUBSETS)),
    ]
    for m in measurements:
        cells = " | ".join(
            f"{100 * each.right:.1f} % ({100 * each.goes_on:.1f} %)" for each in (m.full, *m.subsets.values())
        )
        lines.append(f"| {m.benchmark} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure an embedded model on the test splits.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions", type=int, default=600, help="per benchmark")
    parser.add_argument("--seed", type=int, help="of other scenes than those of the card")
    arguments = parser.parse_args()
    measurements = evaluate(arguments.folder, arguments.questions, seed=arguments.seed)
    print(as_table(measurements), as_subset_table(measurements), sep="\n\n")


if __name__ == "__main__":
    main()

"""The shipped folders: they load like any checkpoint, answer, stop, and are right."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hawk.core.shipped import shipped
from hawk.training.evaluate import BENCHMARKS, SUBSETS, Answerer, Given, benchmark_samples, draw_kept

MODELS = sorted(config.parent.name for config in (shipped("data") / "models").glob("tiny-*/config.json"))
# What each must reach on every benchmark.
FLOOR = 0.92
QUESTIONS = 100
# Its accuracy is nearest to the bound; of 100 questions a sample varies by 2.4 points.
EASY_VQA_QUESTIONS = 300
SUBSET_QUESTIONS = 40
LARGEST = 8 * 1024 * 1024


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest) -> Path:
    return shipped("data") / "models" / request.param


@pytest.fixture(scope="module")
def answerer(folder: Path) -> Answerer:
    return Answerer(folder)


def test_the_default_model_is_shipped() -> None:
    assert "tiny-qwen2.5-vl" in MODELS


def test_folder_is_small_and_has_a_card(folder: Path) -> None:
    assert sum(file.stat().st_size for file in folder.iterdir()) <= LARGEST
    # Two tables: accuracy, and accuracy on parts of the tokens.
    assert (folder / "README.md").read_text().count("| easy_vqa |") == 2


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_answers_are_right(folder: Path, answerer: Answerer, benchmark: str) -> None:
    # A fixed part of the test split; the card has more.
    number = EASY_VQA_QUESTIONS if benchmark == "easy_vqa" else QUESTIONS
    samples = list(benchmark_samples(benchmark, number))
    answers = answerer.answer(samples)
    right = sum(a == s.question.answer for a, s in zip(answers, samples, strict=True))
    assert right / number >= FLOOR


def test_generation_stops_by_itself(answerer: Answerer) -> None:
    (sample,) = benchmark_samples("shapes", 1)
    tokenizer = answerer.processor.tokenizer
    end = answerer.model.generation_config.eos_token_id
    assert tokenizer.convert_ids_to_tokens(end) == "<|im_end|>"
    (answer,) = answerer.answer([sample])
    assert answer == sample.question.answer, "max_new_tokens is 8: a second word would show"


@pytest.mark.parametrize("retention", [0.1, 0.2, 0.4])
@pytest.mark.parametrize("kind", SUBSETS)
def test_generation_stops_on_a_part_of_the_visual_tokens(
    answerer: Answerer, kind: str, retention: float
) -> None:
    going_on: list[bool] = []
    for benchmark in BENCHMARKS:
        samples = list(benchmark_samples(benchmark, SUBSET_QUESTIONS))
        kept = draw_kept(samples, kind, retention)
        going_on += answerer.generate(samples, Given(kept=kept))[1]
    assert sum(going_on) / len(going_on) <= 0.01


def test_subsets_have_the_background_they_are_named_for() -> None:
    samples = [s for benchmark in ("shapes", "digits_busy") for s in benchmark_samples(benchmark, 20)]
    shows_object = np.stack([s.shows_object for s in samples])
    counts = {}
    for kind in SUBSETS:
        kept = draw_kept(samples, kind)
        assert (kept.sum(1) == 13).all()
        counts[kind] = (kept & ~shows_object).sum(1)
    assert (counts["only objects"] == 0).all()
    assert (counts["mostly background"] == 10).all()
    assert len(set(counts["random"])) > 3


def test_without_visual_tokens_the_answers_are_lost(answerer: Answerer) -> None:
    samples = list(benchmark_samples("digits", QUESTIONS))
    answers = answerer.answer(samples, blind=True)
    right = sum(a == s.question.answer for a, s in zip(answers, samples, strict=True))
    assert right / QUESTIONS < 0.4


@torch.no_grad()
def test_alone_as_in_a_batch(answerer: Answerer) -> None:
    samples = [s for benchmark in BENCHMARKS for s in benchmark_samples(benchmark, 3)]
    assert answerer.answer(samples) == [answerer.answer([sample])[0] for sample in samples]

"""Train an embedded model from nothing and save it as a Hugging Face folder with its card.

Run as `hawk train-tiny --family qwen2_5_vl --seed 0 FOLDER`, or by Snakemake, as the card says. Interrupted,
the same command goes on after the last finished stage. The folder appears only when it is complete.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from hawk.benchmarks.toy.digits import TRAINING_SCANS
from hawk.benchmarks.toy.vocabulary import WORDS
from hawk.core.atomic import check_output
from hawk.core.errors import InputError, unknown
from hawk.models.loading import read
from hawk.training.architectures import TinyModel, build
from hawk.training.card import write_card
from hawk.training.evaluate import as_table, evaluate
from hawk.training.language_base import adopt_language
from hawk.training.language_stage import IMAGES, QUESTIONS, SUBSET_CYCLE, TrainingImages, train_language
from hawk.training.vision_stage import EASY_VQA_IMAGES, SCENES, train_vision

LANGUAGE_BASE = "tiny-qwen2.5-vl"
# Steps; in every cycle the learning rate starts again and falls.
VISION_CYCLES = {"qwen2_5_vl": (900, 700), "internvl": (900, 700, 700)}
# InternVL's language model comes from the Qwen sibling, so its first cycle is a later one.
LANGUAGE_CYCLES = {"qwen2_5_vl": {0: 1100, 1: 700, 2: 300, 3: 600}, "internvl": {2: 300, 3: 600}}

# For the card of a continued model.
CONTINUED = (
    "This folder was made in two parts: point 3 continued a folder that had been saved before, with\n"
    "`hawk train-tiny --continue`. "
)

log = logging.getLogger(__name__)


def train(family: str, seed: int, output: Path, threads: int = 1) -> None:
    """Train the tiny model of `family` and write it to `output`, replacing a model that is there."""

    check_folder(output)
    base = None if family == "qwen2_5_vl" else output.with_name(LANGUAGE_BASE)
    if base and not (base / "config.json").is_file():
        raise InputError(f"{output.name} starts from the language model of {base}: train that first.")
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    tiny = build(family)
    work = output.with_name(f"{output.name}.seed{seed}.tmp")
    work.mkdir(parents=True, exist_ok=True)
    for cycle, steps in enumerate(VISION_CYCLES[family]):
        finished = work / f"vision{cycle}"
        if finished.exists():
            log.info("vision, cycle %d: taken from %s", cycle, finished)
        else:
            train_vision(tiny, seed, steps, cycle)
            _save(tiny, finished)
        tiny.model = read(type(tiny.model), str(finished), "model")
    if base:
        adopt_language(tiny, base, seed)
    _run_language_cycles(tiny, work, seed, LANGUAGE_CYCLES[family])
    _finish(tiny, work, output, seed, threads, made="")


def continue_folder(folder: Path, seed: int, output: Path, threads: int = 1) -> None:
    """Give a model saved before the last cycle that cycle, and write it to `output`."""

    check_folder(output)
    torch.set_num_threads(threads)
    model = read(AutoModelForImageTextToText, str(folder), "model")
    family = model.config.model_type
    if family not in LANGUAGE_CYCLES:
        raise unknown(f"family of the model in {folder}", family, LANGUAGE_CYCLES)
    tiny = TinyModel(family, model, read(AutoProcessor, str(folder), "processor"))
    work = output.with_name(f"{output.name}.seed{seed}.tmp")
    work.mkdir(parents=True, exist_ok=True)
    _run_language_cycles(tiny, work, seed, {SUBSET_CYCLE: LANGUAGE_CYCLES[family][SUBSET_CYCLE]})
    _finish(tiny, work, output, seed, threads, made=CONTINUED)


def check_folder(output: Path) -> None:
    """Refuse, before an hour of training, a place that is no new folder and no model's, which is replaced."""
    check_output(output / "config.json")
    if not output.name or output.name == "..":
        raise InputError(f"{str(output)!r} is no name of a folder to make; give one, such as tiny-model.")
    if output.is_dir() and any(output.iterdir()):
        known = ("config.json", "model.safetensors")
        if not all((output / name).is_file() for name in known):
            raise InputError(
                f"{output} is a folder that holds more than a model ({', '.join(known)}), and would "
                "be replaced; give another name."
            )


def _run_language_cycles(tiny: TinyModel, work: Path, seed: int, cycles: dict[int, int]) -> None:
    """Train with the steps given by cycle, or take from `work` what is finished there."""
    images = None
    for cycle, steps in cycles.items():
        finished = work / f"language{cycle}"
        if finished.exists():
            log.info("language, cycle %d: taken from %s", cycle, finished)
        else:
            images = images or TrainingImages(tiny, seed)
            train_language(tiny, images, seed, steps, cycle)
            _save(tiny, finished)
        tiny.model = read(type(tiny.model), str(finished), "model")


def _finish(tiny: TinyModel, work: Path, output: Path, seed: int, threads: int, made: str) -> None:
    """Measure, write the card, and put the folder where it belongs."""
    complete = work / "complete"
    _save(tiny, complete)
    _write_card(
        tiny,
        complete,
        output.name,
        seed=seed,
        threads=threads,
        language_steps=sum(LANGUAGE_CYCLES[tiny.family].values()),
        made=made,
        language_start="random weights" if tiny.family == "qwen2_5_vl" else LANGUAGE_BASE,
    )
    if output.exists():
        output.rename(work / "replaced")
    complete.rename(output)
    shutil.rmtree(work)
    log.info("wrote %s", output)


def _save(tiny: TinyModel, folder: Path) -> None:
    """Write beside, then rename: a folder of this name is always complete."""
    beside = folder.with_name(f"{folder.name}.writing")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    tiny.model.save_pretrained(beside)
    tiny.processor.save_pretrained(beside)
    (beside / "model.safetensors").chmod(0o644)  # saved readable by the owner only
    beside.rename(folder)


def _write_card(tiny: TinyModel, folder: Path, name: str, **facts: object) -> None:
    measurements = evaluate(folder)
    log.info("measured on test questions:\n%s", as_table(measurements))
    card = write_card(
        measurements,
        name=name,
        family=tiny.family,
        architecture=type(tiny.model).__name__,
        parameters=tiny.model.num_parameters(),
        words=len(WORDS),
        training_scans=TRAINING_SCANS,
        vision_steps=sum(VISION_CYCLES[tiny.family]),
        vision_images=f"{SCENES} crowded scenes and {EASY_VQA_IMAGES} easy-VQA images",
        subset_steps=LANGUAGE_CYCLES[tiny.family][SUBSET_CYCLE],
        language_images=f"{IMAGES} images with {QUESTIONS} questions each",
        **facts,
    )
    (folder / "README.md").write_text(card)

"""Which images the study uses for what: no image has two roles, anywhere in the study.

Calibration and development images come from the benchmarks as every run sees them, by role.
Evaluation images are fresh: scenes are drawn anew from another seed, and of easy-VQA, which has a
fixed test split, images that the demo evaluates are left out, because its report was looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hawk.benchmarks import Benchmark, Sample, benchmark
from hawk.benchmarks.samples import checked, draw, read_samples, role_of, sample_list_hash, to_row
from hawk.config.load import load_config
from hawk.core.errors import InputError
from hawk.core.files import read_table, write_table
from hawk.core.paths import RunPaths
from hawk.core.provenance import provenance
from hawk.core.schemas import SAMPLES
from hawk.inference.encoding import encode
from hawk.inference.feature_store import feature_writer
from hawk.inference.prompts import Prompts
from hawk.inference.visual_files import visual_files
from hawk.models.base import VisionLanguageModel, VisualItem
from hawk.steps.session import Session

log = logging.getLogger(__name__)

FRESH_SCENES = 2011  # seed of the scenes that only the evaluation of the study sees
LOOKED_AT = Path(__file__).parents[2] / "config" / "config.yaml"  # the demo, whose results were read


def chosen_samples(config: Mapping[str, Any], name: str, role: str) -> tuple[Benchmark, list[Sample]]:
    """The samples of one benchmark for one role, drawn as a run draws them."""
    seed, options = config["seed"], dict(config["data"].get(name) or {})
    bench = benchmark(name, options)
    fresh = role == "evaluation" and bench.family == "scenes"
    if fresh:
        bench = benchmark(name, {**options, "scene_seed": FRESH_SCENES})
    samples = [one for one in checked(bench, bench.load()) if role_of(one.group_id, seed) == role]
    if role == "evaluation" and not fresh:
        seen = _looked_at(bench, samples, seed)
        samples = [one for one in samples if one.group_id not in seen]
    wanted = config["evaluation" if role == "evaluation" else "calibration"]["samples"]
    return bench, draw(bench, samples, wanted, seed)


def _looked_at(bench: Benchmark, samples: Sequence[Sample], seed: int) -> set[str]:
    demo = load_config(LOOKED_AT)
    if bench.name not in demo["evaluation"]["benchmarks"]:
        return set()
    if demo["seed"] != seed:
        raise InputError(f"the study's seed {seed} is not the demo's {demo['seed']}: roles would not agree.")
    return {one.group_id for one in draw(bench, samples, demo["evaluation"]["samples"], seed)}


def prepare(
    config: Mapping[str, Any], vlm: VisionLanguageModel, files: RunPaths, role: str, names: Sequence[str]
) -> None:
    """Write samples and features of a role where they are missing, and check that roles are apart."""
    encoded: dict[str, VisualItem] = {}  # benchmarks share scenes
    for name in names:
        path = files.samples(role, name)
        if not Path(path).exists():
            bench, chosen = chosen_samples(config, name, role)
            settings = {"seed": config["seed"], "samples": sample_list_hash(chosen), "data": bench.options}
            block = provenance({"role": role, "benchmark": name}, **settings)
            write_table(path, [to_row(one) for one in chosen], SAMPLES, block)
        if not Path(files.features(role, name)).exists():
            _encode(config, vlm, files, role, name, encoded)
    refuse_shared(files, role)


def _encode(
    config: Mapping[str, Any],
    vlm: VisionLanguageModel,
    files: RunPaths,
    role: str,
    name: str,
    encoded: dict[str, VisualItem],
) -> None:
    samples = read_samples(files.samples(role, name), role, name)
    images = {file.key: file for sample in samples for file in visual_files(vlm.family, sample)}
    block = provenance(
        {"role": role, "benchmark": name},
        model=dict(vlm.source),
        preprocessing=config["preprocessing"],
    )
    with feature_writer(files.features(role, name), block) as add:
        for key, file in images.items():
            if key not in encoded:
                encoded[key] = encode(vlm, file, config["preprocessing"])
            add(key, encoded[key])
    log.info("%s, %s: %d images encoded", role, name, len(images))


def refuse_shared(files: RunPaths, role: str) -> None:
    """No image of a role in any other role, over all benchmarks of the study."""
    groups: dict[str, set[str]] = {}
    for folder in sorted(Path(files.root, "samples").iterdir()):
        found: set[str] = set()
        for path in folder.glob("*.parquet"):
            found |= set(read_table(path, SAMPLES, columns=["group_id"]).column("group_id").to_pylist())
        groups[folder.name] = found
    for other, found in groups.items():
        if other != role and found & groups.get(role, set()):
            raise InputError(
                f"{files.root}: {len(found & groups[role])} images serve both {role!r} and {other!r}. "
                "Delete the folder: its samples were drawn by different rules."
            )


def session_of(
    config: Mapping[str, Any], vlm: VisionLanguageModel, files: RunPaths, role: str, name: str
) -> Session:
    """A benchmark's samples on their stored features, for a model that is loaded already."""
    session = Session.open(config, files, name, role, pixels=True)
    session.vlm = vlm
    return session


def prompts_of(
    config: Mapping[str, Any], vlm: VisionLanguageModel, files: RunPaths, role: str, name: str
) -> tuple[Prompts, Benchmark]:
    """The prompts of a benchmark with their stored features."""
    session = session_of(config, vlm, files, role, name)
    return session.prompts, session.benchmark

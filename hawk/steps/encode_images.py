"""The step encode_images: the vision tower once per distinct image or video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hawk.benchmarks.samples import read_samples
from hawk.config.queries import model_state
from hawk.core.images import file_hash
from hawk.core.paths import RunPaths
from hawk.core.progress import progress
from hawk.core.provenance import provenance
from hawk.inference.encoding import encode
from hawk.inference.feature_store import feature_writer
from hawk.inference.visual_files import PATH, visual_files
from hawk.steps.session import load_for

READS = ("model", "preprocessing")


def encode_images(config: Mapping[str, Any], paths: RunPaths, role: str, benchmark: str) -> None:
    """Encode every distinct image and video of a samples file and write the features."""
    samples = read_samples(paths.samples(role, benchmark), role, benchmark)
    vlm = load_for(config, vision=True)
    files = {file.key: file for sample in samples for file in visual_files(vlm.family, sample)}
    block = provenance(
        {"role": role, "benchmark": benchmark},
        model={**vlm.source, "state": model_state(config["model"]["path"])},
        preprocessing=config["preprocessing"],
    )
    with feature_writer(paths.features(role, benchmark), block) as add:
        for key, file in progress(files.items(), f"encode {benchmark}"):
            item = encode(vlm, file, config["preprocessing"])
            if key.startswith(PATH):
                add(file_hash(key.removeprefix(PATH)), item, key)
            else:
                add(key, item)

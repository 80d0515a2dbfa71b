"""What the steps that run a model open first: model, benchmark, samples, features, prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from transformers.utils import logging

from hawk.benchmarks import Benchmark, Sample
from hawk.benchmarks.samples import read_samples
from hawk.config.queries import benchmark_named, model_state
from hawk.core.errors import InputError
from hawk.core.files import sample_provenance
from hawk.core.ledger import pinned
from hawk.core.paths import RunPaths
from hawk.inference.encoding import Recomputed
from hawk.inference.feature_store import FeatureStore
from hawk.inference.prompts import Features, Prompts
from hawk.inference.scoring import score_samples
from hawk.models.base import VisionLanguageModel
from hawk.models.devices import hardware_name
from hawk.models.loading import load
from hawk.pruning.base import Pruner


def load_for(config: Mapping[str, Any], vision: bool) -> VisionLanguageModel:
    """The config's model, its declared layers and heads checked against the loaded one.

    Without a revision in the config it is the one that `hawk fetch` wrote down, if it did.
    """
    logging.disable_progress_bar()  # in a log file every refresh is a line
    section = config["model"]
    torch.set_num_threads(section["threads"])
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32, in the patch convolution too
    vlm = load(
        section["path"],
        revision=section["revision"] or pinned(section["path"], "model"),
        dtype=section["dtype"],
        attention=section["attention"],
        device=section["device"],
        vision=vision,
    )
    geometry = vlm.geometry
    for name in ("layers", "heads"):
        if section.get(name) not in (None, getattr(geometry, name)):
            raise InputError(
                f"model.{name} is {section[name]} in the config; {section['path']} has "
                f"{getattr(geometry, name)}."
            )
    return vlm


@dataclass
class Session:
    """One benchmark's samples in one role, and the model that answers them: what a step opens first.

    config: the step's own part of the config (:func:`hawk.config.declared.declared`).

    The model is loaded when something first needs it, so that wrong inputs are found before.
    """

    config: Mapping[str, Any]
    paths: RunPaths
    benchmark: Benchmark
    role: str
    samples: Sequence[Sample]
    features_path: str | None

    @classmethod
    def open(
        cls,
        config: Mapping[str, Any],
        paths: RunPaths,
        name: str,
        role: str,
        tower: bool = False,
        pixels: bool = False,
    ) -> Session:
        """Read the samples of a run.

        tower: run the vision tower although features are stored, for methods that look into it.
        pixels: read the images' bytes although features are stored, to draw them.
        """
        stored = config["features"] == "stored" and not tower
        features_path = paths.features(role, name) if stored else None
        images = pixels or features_path is None
        samples = read_samples(paths.samples(role, name), role, name, images=images)
        return cls(config, paths, benchmark_named(config, name), role, samples, features_path)

    @property
    def name(self) -> str:
        return self.benchmark.name

    @property
    def protocol(self) -> str:
        return self.config["generation"]["protocol"]

    @property
    def batch_size(self) -> int:
        return self.config["generation"]["batch_size"]

    @cached_property
    def vlm(self) -> VisionLanguageModel:
        return load_for(self.config, vision=self.features_path is None)

    @cached_property
    def prompts(self) -> Prompts:
        """All samples as prompts on the features of the unpruned images."""
        return self.prompts_for(None)

    def prompts_for(self, pruner: Pruner | None) -> Prompts:
        """The samples as prompts, for a pruner that takes other images or looks into the tower."""
        features: Features
        if self.features_path is None:
            features = Recomputed(self.vlm, self.samples, self.config["preprocessing"], pruner)
        else:
            features = FeatureStore(self.features_path, {"role": self.role, "benchmark": self.name})
            state = model_state(self.config["model"]["path"])
            text = self.vlm.family.text_config(self.vlm.model)
            features.check(
                {**self.vlm.source, "state": state}, self.config["preprocessing"], text.hidden_size
            )
        return Prompts(
            self.vlm, self.benchmark, self.samples, features, self.protocol, self.config["preprocessing"]
        )

    def score(self, prompts: Prompts | None = None, **how: Any) -> list[dict[str, Any]]:
        """Generate and score every sample: :func:`hawk.inference.scoring.score_samples`."""
        return score_samples(prompts or self.prompts, self.batch_size, **how)

    def settings(self, pruner: Pruner | None = None) -> dict[str, Any]:
        """What every score file says about how it was made, beside the samples and prompts it rests on."""
        device = self.vlm.model.device
        return {
            "model": {**self.vlm.source, "family": self.vlm.family.name},
            "geometry": asdict(self.vlm.geometry),
            "device": str(device),
            "hardware": hardware_name(device),
            "threads": self.config["model"]["threads"],
            "benchmark_version": self.benchmark.version,
            "protocol": self.protocol,
            "batch_size": self.batch_size,
            "preprocessing": self.config["preprocessing"],
            "pruner": None if pruner is None else repr(pruner),
            "seed": self.config["seed"],
            **sample_provenance(self.paths.samples(self.role, self.name), self.role, self.name),
        }

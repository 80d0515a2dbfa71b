"""What the steps that run a model open first: model, benchmark, samples, features, prompts."""

from __future__ import annotations

import gc
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from hawk.benchmarks import Sample
from hawk.config.queries import TOKEN_SCORE
from hawk.core.errors import InputError
from hawk.core.ledger import pinned
from hawk.inference.encoding import Recomputed
from hawk.inference.feature_store import FeatureStore
from hawk.inference.prompts import Features
from hawk.models.base import VisionLanguageModel
from hawk.models.loading import load
from hawk.pruning.base import Pruner


def load_for(config: Mapping[str, Any], vision: bool) -> VisionLanguageModel:
    """The config's model, its declared layers and heads checked against the loaded one.

    Without a revision in the config it is the one that `hawk fetch` wrote down, if it did.
    """
    from transformers.utils import logging

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
    if not gc.isenabled():  # the command line turned it off for the imports
        gc.freeze()
        gc.enable()
    _refuse_sliding_windows(vlm)
    geometry = vlm.geometry
    for name in ("layers", "heads"):
        if section.get(name) not in (None, getattr(geometry, name)):
            raise InputError(
                f"model.{name} is {section[name]} in the config; {section['path']} has "
                f"{getattr(geometry, name)}."
            )
    return vlm


def _refuse_sliding_windows(vlm: VisionLanguageModel) -> None:
    kinds = getattr(vlm.family.text_config(vlm.model), "layer_types", None) or ()
    if any("sliding" in kind for kind in kinds):
        raise InputError(
            f"model.path {vlm.source['id']!r}: layers with sliding-window attention cannot be scored; "
            "their cache forgets what the reference's log-probability starts from."
        )


def features_for(
    config: Mapping[str, Any],
    vlm: VisionLanguageModel,
    samples: Sequence[Sample],
    path: str | None,
    pruner: Pruner | None = None,
) -> Features:
    """Stored features, checked against model and preprocessing; or, without a path, the vision tower itself.

    pruner: one for which the tower must run (:attr:`Pruner.uses_tower`).
    """
    if path is None:
        return Recomputed(vlm, samples, config["preprocessing"], pruner)
    store = FeatureStore(path)
    store.check(vlm.source, config["preprocessing"])
    return store


def common_settings(
    config: Mapping[str, Any], vlm: VisionLanguageModel, bench: Any, pruner: Pruner | None
) -> dict[str, Any]:
    """What every score file says about how it was made."""
    scoring, device = config.get("scoring", {}), vlm.model.device
    return {
        "model": {**vlm.source, "family": vlm.family.name},
        "geometry": asdict(vlm.geometry),
        "device": str(device),
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": config["model"]["threads"],
        "benchmark_version": bench.version,
        "protocol": config["generation"]["protocol"],
        "batch_size": config["generation"]["batch_size"],
        "preprocessing": config["preprocessing"],
        "token_score": {key: scoring[key] for key in TOKEN_SCORE if key in scoring},
        "pruner": None if pruner is None else repr(pruner),
        "seed": config["seed"],
    }

"""Head weights of every setting, by every way from drops to weights."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hawk.ablation.ablate_heads import AblateHeads
from hawk.analysis import statistics
from hawk.analysis.resampling import bootstrap_counts, group_codes, percentile_interval, rng_of
from hawk.benchmarks import benchmark
from hawk.core.atomic import write_json
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Head
from hawk.core.paths import RunPaths
from hawk.core.provenance import provenance
from hawk.models.base import VisionLanguageModel
from hawk.pruning.methods.hawk import Hawk
from hawk.study.forced import Forced, ForcedScorer
from hawk.study.images import prepare, prompts_of
from hawk.study.plan import SETTINGS, ZERO, Setting, setting_of

log = logging.getLogger(__name__)

Drops = dict[str, np.ndarray]


def calibrate(
    config: Mapping[str, Any], vlm: VisionLanguageModel, files: RunPaths, wanted: Sequence[str]
) -> None:
    """Weights of the wanted settings; what was measured before is not measured again."""
    names = config["calibration"]["benchmarks"]
    missing = {n: [one for one in wanted if not _measured(files, one, n).exists()] for n in names}
    if any(missing.values()):
        prepare(config, vlm, files, "calibration", names)
    for name in names:
        if not missing[name]:
            continue
        prompts, bench = prompts_of(config, vlm, files, "calibration", name)
        scorer = ForcedScorer(prompts, bench, config["generation"]["batch_size"])
        groups = [sample.group_id for sample in prompts.samples]
        for one in missing[name]:
            scored = [_scored(vlm, scorer, setting_of(one), head) for head in (None, *_heads(vlm))]
            found = drops(scored[0], scored[1:], groups, config, bench.name)
            write_json(_measured(files, one, name), {key: value.tolist() for key, value in found.items()})
            log.info("%s: %s calibrated", name, one)
    for one in wanted:  # of the same drops always the same weights
        write_weights(config, vlm, files, one, {name: _read(_measured(files, one, name)) for name in names})


def _measured(files: RunPaths, one: str, name: str) -> Path:
    return Path(f"{files.root}/drops/{one}/{name}.json")


def _read(path: Path) -> Drops:
    values = json.loads(path.read_text(encoding="utf-8"))
    return {key: np.asarray(value) for key, value in values.items()}


def _heads(vlm: VisionLanguageModel) -> range:
    return range(vlm.geometry.heads)


def _scored(
    vlm: VisionLanguageModel, scorer: ForcedScorer, setting: Setting | None, head: int | None
) -> Forced:
    """One head ablated, or none (the reference); without a setting by zeroing it in the model."""
    if setting is None:
        ablated = None if head is None else AblateHeads([Head(0, head)], mode="zero").attach(vlm.model)
        return scorer(ablation=ablated)
    left = [float(other != head) for other in _heads(vlm)]
    weights = HeadWeights(tuple(value / sum(left) for value in left), vlm.geometry)
    return scorer(Hawk(pruning_ratio=setting.ratio, weights=weights, **setting.score()))


def drops(
    reference: Forced,
    ablated: Sequence[Forced],
    group_ids: Sequence[str],
    config: Mapping[str, Any],
    name: str,
) -> Drops:
    """Drops in points with the lower ends of their intervals over images, and of the log-probability."""
    gaps = 100 * (reference.score - np.stack([one.score for one in ablated]))  # [heads, samples]
    groups, codes = group_codes(group_ids)
    counts = bootstrap_counts(
        len(groups), config["statistics"]["resamples"], rng_of(config["seed"], "study", name)
    )
    drawn = counts[:, codes]
    draws = (gaps @ drawn.T) / drawn.sum(1)
    return {
        "drops": gaps.mean(1),
        "low": percentile_interval(draws, config["statistics"]["confidence"])[:, 0],
        "logprob": (reference.logprob - np.stack([one.logprob for one in ablated])).mean(1),
        "samples": np.array(len(reference.score)),
        "reference": np.array(100 * reference.score.mean()),
    }


def write_weights(
    config: Mapping[str, Any],
    vlm: VisionLanguageModel,
    files: RunPaths,
    one: str,
    found: Mapping[str, Mapping[str, Any]],
) -> None:
    """Every way from drops to weights, pooled and without each family of benchmarks."""
    families = {name: benchmark(name, config["data"].get(name)).family for name in found}
    subsets = {"pooled": list(found)}
    if len(set(families.values())) > 1:
        for family in sorted(set(families.values())):
            subsets[f"without-{family}"] = [name for name in found if families[name] != family]
    for subset, names in subsets.items():
        measured = {name: found[name]["drops"] for name in names}
        low = {name: found[name]["low"] for name in names}
        logprob = {name: found[name]["logprob"] for name in names}
        ways = {way: _weights(vlm, measured, low, way) for way in statistics.NORMALIZATIONS}
        ways["logprob"] = _weights(vlm, logprob, logprob, statistics.MIN_SHIFT)
        for way, (weights, parts) in ways.items():
            path = files.head_weights(f"{one}-{way}", subset)
            _save(config, vlm, path, one, way, weights, parts, {n: int(found[n]["samples"]) for n in names})
        signed = {"signed": signed_weights(measured, vlm.geometry.heads)}
        write_json(files.head_weights(f"{one}-signed", subset), signed)


def _weights(
    vlm: VisionLanguageModel, measured: Mapping[str, np.ndarray], low: Mapping[str, np.ndarray], way: str
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    if all(np.ptp(values) == 0 for values in measured.values()):
        # Nothing tells heads apart. A run refuses that; here it is an outcome, and means uniform.
        log.warning("%s of %s: no drop differs; the weights are uniform", way, ", ".join(measured))
        heads = vlm.geometry.heads
        return np.full(heads, 1.0 / heads), {}
    return statistics.pooled_weights(measured, low, way)


def signed_weights(measured: Mapping[str, np.ndarray], heads: int) -> list[float]:
    """The mean over benchmarks of drops scaled to absolute sum 1; 1 for all where nothing differs from 0."""
    scaled = [values / np.abs(values).sum() for values in measured.values() if np.abs(values).sum() > 0]
    mean = np.mean(scaled, 0) if scaled else np.zeros(heads)
    return mean.tolist() if np.any(mean) else [1.0] * heads


def _save(
    config: Mapping[str, Any],
    vlm: VisionLanguageModel,
    path: str,
    one: str,
    way: str,
    weights: np.ndarray,
    parts: Mapping[str, np.ndarray],
    samples: Mapping[str, int],
) -> None:
    setting = setting_of(one) or SETTINGS[0]
    HeadWeights(
        weights=tuple(float(w) for w in weights),
        geometry=vlm.geometry,
        model={"id": vlm.source["id"], "revision": vlm.source["revision"], "family": vlm.family.name},
        weight_normalization=way,
        intervention=ZERO if one == ZERO else "selection",
        token_score={"normalization": setting.normalization, "rope": False, "query_span": "instruction"},
        per_benchmark={name: tuple(float(w) for w in part) for name, part in parts.items()},
        samples=samples,
        provenance=provenance({"setting": one}, seed=config["seed"], ratio=setting.ratio),
    ).save(path)

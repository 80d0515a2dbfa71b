"""The step ``head_weights``: from drops to a head-weights file (HAWK, arXiv 2604.07812, section 3)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from hawk import records, statistics
from hawk.benchmarks import all_families
from hawk.benchmarks import benchmark as get_benchmark
from hawk.config import TOKEN_SCORE
from hawk.errors import InputError, unknown
from hawk.heads import Geometry
from hawk.paths import RunPaths
from hawk.provenance import provenance
from hawk.scored import read_scores, require_one_setting
from hawk.weights import HeadWeights

POOLED = "pooled"
WITHOUT = "without-"


def subset_benchmarks(config: Mapping[str, Any], subset: str) -> list[str]:
    """Calibration benchmarks of a subset: all for ``pooled``, else all outside one family."""
    names = list(config["calibration"]["benchmarks"])
    data = config.get("data", {})
    families = {name: get_benchmark(name, data.get(name)).family for name in names}
    # A benchmark that is only evaluated leaves nothing out, but asks for its file all the same.
    allowed = [POOLED, *sorted(WITHOUT + family for family in all_families(data))]
    if subset not in allowed:
        raise unknown("subset of calibration benchmarks", subset, allowed)
    if subset == POOLED:
        return names
    left = [name for name in names if WITHOUT + families[name] != subset]
    if not left:
        raise InputError(
            f"subset {subset!r}: all calibration benchmarks ({', '.join(names)}) are of that family, "
            "so none is left. Add one of another family or set calibration.holdout to disjoint."
        )
    return left


def groups_hash(group_ids: Iterable[str]) -> str:
    """SHA-256 of the sorted set of image groups, one per line."""
    return hashlib.sha256("\n".join(sorted(set(group_ids))).encode()).hexdigest()


def head_weights(
    config: Mapping[str, Any],
    root: str,
    intervention: str,
    subset: str = POOLED,
    output: str | None = None,
) -> str:
    """Write the weights of ``scoring.layer`` from one intervention's drops; returns the path."""
    paths = RunPaths(root)
    output = output or paths.head_weights(intervention, subset)
    if intervention not in config["ablation"]["interventions"]:
        raise unknown("intervention", intervention, config["ablation"]["interventions"])
    names = subset_benchmarks(config, subset)
    layer, heads = config["scoring"]["layer"], config["model"]["heads"]
    drops, lows, samples = _drops(paths.drops(), intervention, names, layer, heads)
    normalization = config["weights"]["normalization"]
    weights, parts = statistics.pooled_weights(drops, lows, normalization)

    settings = _settings(paths, intervention, names)
    token_score = {key: config["scoring"][key] for key in TOKEN_SCORE}
    made_with = settings["token_score"]  # empty where no token was scored: zero, mean
    if made_with and made_with != token_score:
        raise InputError(
            f"{paths.scores(names[0], intervention, 'reference')}: made with token_score {made_with}; "
            f"the config's scoring has {token_score}. Delete the older and run again."
        )
    groups: list[str] = []
    for name in names:
        table = records.read_table(
            paths.samples("calibration", name),
            records.SAMPLES,
            {"benchmark": name, "role": "calibration"},
            ["group_id"],
        )
        groups += table.column("group_id").to_pylist()
    HeadWeights(
        weights=tuple(float(w) for w in weights),
        geometry=Geometry(**settings["geometry"]),
        layer=layer,
        model={key: settings["model"].get(key) for key in ("id", "revision", "family")},
        weight_normalization=normalization,
        intervention=intervention,
        token_score=token_score,
        per_benchmark={name: tuple(float(w) for w in part) for name, part in parts.items()},
        samples=samples,
        calibration_groups=groups_hash(groups),
        provenance=provenance(
            {"intervention": intervention, "subset": subset},
            benchmarks=names,
            data={
                name: records.asked_of(paths.samples("calibration", name), "calibration", name)
                for name in names
            },
            left_out=[name for name in names if name not in parts],
            statistics=dict(config["statistics"]),
            seed=config["seed"],
        ),
    ).save(output)
    return output


def _drops(
    path: str, intervention: str, names: list[str], layer: int, heads: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, int]]:
    """Drops and lower interval ends (points, ``[heads]``) and sample counts per benchmark."""
    frame = records.read_table(path, records.DROPS, {"table": "drops"}).to_pandas()
    frame = frame[(frame["intervention"] == intervention) & (frame["layer"] == layer)]
    drops, lows, samples = {}, {}, {}
    for name in names:
        rows = frame[frame["benchmark"] == name].sort_values("head")
        found = rows["head"].tolist()
        if found != list(range(heads)):
            missing = sorted(set(range(heads)) - set(found))
            raise InputError(
                f"{path}: benchmark {name!r}, intervention {intervention!r}, layer {layer}: "
                f"{len(found)} heads for {heads}; missing {missing}. Weights need every head of "
                "scoring.layer: set ablation.heads to 'all' and list that layer in ablation.layers."
            )
        drops[name] = rows["drop"].to_numpy()
        lows[name] = rows["ci_low"].to_numpy()
        samples[name] = int(rows["samples"].iloc[0])
    return drops, lows, samples


def _settings(paths: RunPaths, intervention: str, names: list[str]) -> dict[str, Any]:
    """Model, geometry and, for selection, token-score options that the reference was scored with."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        path = paths.scores(name, intervention, "reference")
        _, made = read_scores(path, {"benchmark": name, "intervention": intervention}, ["sample_id"])
        settings = made.get("settings", {})
        for key in ("model", "geometry", "token_score"):
            if not isinstance(settings.get(key), dict):
                raise InputError(f"{path}: its provenance has no {key!r}; delete it and run again.")
        found[path] = {key: settings[key] for key in ("model", "geometry", "token_score")}
    return {
        key: require_one_setting({path: one[key] for path, one in found.items()}, key)
        for key in ("model", "geometry", "token_score")
    }

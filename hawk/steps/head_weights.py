"""The step ``head_weights``: from drops to a head-weights file (HAWK, arXiv 2604.07812, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hawk.analysis import statistics
from hawk.analysis.score_files import read_scores, require_one_setting
from hawk.benchmarks.samples import groups_hash
from hawk.config.queries import POOLED, subset_benchmarks
from hawk.core import files, schemas
from hawk.core.errors import InputError, unknown
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry
from hawk.core.paths import RunPaths
from hawk.core.provenance import provenance
from hawk.core.variants import TOKEN_SCORE

READS = ("run", "seed", "model", "scoring", "ablation", "calibration", "statistics", "weights", "data")


def head_weights(config: Mapping[str, Any], paths: RunPaths, intervention: str, subset: str = POOLED) -> None:
    """Write the weights of ``scoring.layer`` from one intervention's drops."""
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
        table = files.read_table(
            paths.samples("calibration", name),
            schemas.SAMPLES,
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
                name: files.sample_provenance(paths.samples("calibration", name), "calibration", name)
                for name in names
            },
            left_out=[name for name in names if name not in parts],
            statistics=dict(config["statistics"]),
            seed=config["seed"],
        ),
    ).save(paths.head_weights(intervention, subset))


def _drops(
    path: str, intervention: str, names: list[str], layer: int, heads: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, int]]:
    """Drops and lower interval ends (points, ``[heads]``) and sample counts per benchmark."""
    frame = files.read_table(path, schemas.DROPS, {"table": "drops"}).to_pandas()
    frame = frame[(frame["intervention"] == intervention) & (frame["layer"] == layer)]
    drops, lows, samples = {}, {}, {}
    for name in names:
        rows = frame[frame["benchmark"] == name].sort_values("head")
        heads_in_table = rows["head"].tolist()
        if heads_in_table != list(range(heads)):
            missing = sorted(set(range(heads)) - set(heads_in_table))
            raise InputError(
                f"{path}: benchmark {name!r}, intervention {intervention!r}, layer {layer}: "
                f"{len(heads_in_table)} heads for {heads}; missing {missing}. Weights need every head of "
                "scoring.layer: set ablation.heads to 'all' and list that layer in ablation.layers."
            )
        drops[name] = rows["drop"].to_numpy()
        lows[name] = rows["ci_low"].to_numpy()
        samples[name] = int(rows["samples"].iloc[0])
    return drops, lows, samples


def _settings(paths: RunPaths, intervention: str, names: list[str]) -> dict[str, Any]:
    """Model, geometry and, for selection, token-score options that the reference was scored with."""
    settings_by_path: dict[str, dict[str, Any]] = {}
    for name in names:
        path = paths.scores(name, intervention, "reference")
        _, provenance = read_scores(path, {"benchmark": name, "intervention": intervention}, ["sample_id"])
        settings = provenance.get("settings", {})
        for key in ("model", "geometry", "token_score"):
            if not isinstance(settings.get(key), dict):
                raise InputError(f"{path}: its provenance has no {key!r}; delete it and run again.")
        settings_by_path[path] = {key: settings[key] for key in ("model", "geometry", "token_score")}
    return {
        key: require_one_setting({path: values[key] for path, values in settings_by_path.items()}, key)
        for key in ("model", "geometry", "token_score")
    }

"""The step ``head_weights``: from drops to a head-weights file (HAWK, arXiv 2604.07812, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hawk.analysis import statistics
from hawk.analysis.score_files import read_scores, require_one_setting
from hawk.benchmarks.samples import groups_hash
from hawk.config.queries import POOLED, subset_benchmarks
from hawk.config.recipes import (
    ESTIMATE,
    ablations_of,
    chooses_layer,
    has_query,
    token_score_of_weights,
    weights_named,
)
from hawk.core import files, schemas, values
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry
from hawk.core.paths import RunPaths
from hawk.core.provenance import provenance

READS = (
    "run",
    "seed",
    "model",
    "scoring",
    "ablation.recipes",
    "ablation.heads",
    "calibration",
    "statistics",
    "weights.recipes",
    "data",
)


def head_weights(config: Mapping[str, Any], paths: RunPaths, name: str, subset: str = POOLED) -> None:
    """Write the weights of one recipe, from the drops of its ablation.

    Of several ablations it takes the one in whose layer tokens are chosen best.
    """
    recipe = weights_named(config, name)
    candidates = ablations_of(config, recipe)
    names, heads = subset_benchmarks(config, subset), config["model"]["heads"]
    tables = [_drops_table(paths.drops(one["name"]), one, names, heads) for one in candidates]
    settings = _settings(paths, candidates, names)
    taken, layers = _best_layer(candidates, tables) if chooses_layer(recipe) else (0, [])
    ablation = candidates[taken]
    own, layer = ablation["name"], ablation["layer"]
    drops, lows, samples = _drops(paths.drops(own), tables[taken], recipe["measure"])
    normalization = recipe["normalization"]
    weights, parts = statistics.pooled_weights(drops, lows, normalization)

    token_score = token_score_of_weights(config, ablation)
    query = None
    if has_query(config, name):
        query = _mean_query(paths, name, names, settings["model"], layer, token_score["query_span"])
    made_with = settings["token_score"]
    if made_with and made_with != token_score:
        raise InputError(
            f"{paths.scores(names[0], own, 'reference')}: made with token_score {made_with}; "
            f"the config has {token_score}. Delete the older and run again."
        )
    groups: list[str] = []
    for bench in names:
        table = files.read_table(
            paths.samples("calibration", bench),
            schemas.SAMPLES,
            {"benchmark": bench, "role": "calibration"},
            ["group_id"],
        )
        groups += table.column("group_id").to_pylist()
    HeadWeights(
        weights=tuple(float(w) for w in weights),
        geometry=Geometry(**settings["geometry"]),
        layer=layer,
        model={key: settings["model"].get(key) for key in ("id", "revision", "family")},
        weight_normalization=normalization,
        intervention=ablation["intervention"],
        token_score=token_score,
        per_benchmark={bench: tuple(float(w) for w in part) for bench, part in parts.items()},
        samples=samples,
        calibration_groups=groups_hash(groups),
        provenance=provenance(
            {"recipe": name, "subset": subset},
            recipe=dict(recipe),
            ablation=dict(ablation),
            **({"layers": layers} if layers else {}),
            benchmarks=names,
            data={
                bench: files.sample_provenance(paths.samples("calibration", bench), "calibration", bench)
                for bench in names
            },
            left_out=[bench for bench in names if bench not in parts],
            statistics=dict(config["statistics"]),
            seed=config["seed"],
        ),
        mean_query=query,
    ).save(paths.head_weights(name, subset))


def _drops_table(
    path: str, ablation: Mapping[str, Any], names: list[str], heads: int
) -> dict[str, pd.DataFrame]:
    """Benchmark → rows of the drops of every head of the ablation's layer, by head."""
    own, layer = ablation["name"], ablation["layer"]
    frame = files.read_table(path, schemas.DROPS, {"table": "drops", "ablation": own}).to_pandas()
    frame = frame[frame["layer"] == layer]
    table = {}
    for name in names:
        rows = frame[frame["benchmark"] == name].sort_values("head")
        heads_in_table = rows["head"].tolist()
        if heads_in_table != list(range(heads)):
            missing = sorted(set(range(heads)) - set(heads_in_table))
            raise InputError(
                f"{path}: benchmark {name!r}, ablation {own!r}, layer {layer}: "
                f"{len(heads_in_table)} heads for {heads}; missing {missing}. Weights need every head of the "
                "layer: set ablation.heads to 'all' and list that layer in the ablation's layers."
            )
        table[name] = rows
    return table


def _best_layer(
    candidates: list[dict[str, Any]], tables: list[dict[str, pd.DataFrame]]
) -> tuple[int, list[dict[str, Any]]]:
    """Which ablation's layer chooses tokens best, and what is said of each; of equal ones the lower layer.

    A layer's score is the one with its tokens chosen by all heads alike; under ``keep_only`` the mean over
    heads that choose alone.
    """
    column = "ablated_value" if candidates[0]["intervention"] == "keep_only" else "reference_value"
    scores = [{name: float(rows[column].mean()) for name, rows in table.items()} for table in tables]
    shares = statistics.layer_shares(scores)
    layers = [
        {"ablation": one["name"], "layer": one["layer"], "score": share, "values": values}
        for one, share, values in zip(candidates, shares, scores, strict=True)
    ]
    # Rounded, so that shares equal but for the last bit are ties.
    best = min(range(len(layers)), key=lambda i: (-round(shares[i], 12), candidates[i]["layer"]))
    return best, layers


def _drops(
    path: str, table: Mapping[str, pd.DataFrame], measure: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, int]]:
    """Drops and lower interval ends (points or nats, ``[heads]``) and sample counts per benchmark."""
    value, low = ("drop", "ci_low") if measure == "value" else (f"{measure}_drop", f"{measure}_low")
    drops, lows, samples = {}, {}, {}
    for name, rows in table.items():
        drops[name] = rows[value].to_numpy()
        if np.isnan(drops[name]).any():
            raise InputError(
                f"{path}: benchmark {name!r} has no {value}, which measure: {measure} of the weights recipe "
                "needs. Take another measure, or leave the benchmark out of calibration.benchmarks."
            )
        lows[name] = rows[low].to_numpy()
        samples[name] = int(rows["samples"].iloc[0])
    return drops, lows, samples


def _mean_query(
    paths: RunPaths, recipe: str, names: list[str], model: Mapping[str, Any], layer: int, span: str
) -> tuple[tuple[float, ...], ...]:
    """The mean over the questions of all benchmarks, ``[heads][head_dim]``."""
    total, count = np.zeros(()), 0
    for name in names:
        path = paths.mean_queries(recipe, name)
        raw = values.read_json(path, "a file of mean queries")
        if not isinstance(raw, dict):
            raise values.refuse(path, raw, "an object")
        try:
            questions = values.whole(values.member(raw, "questions"), "questions", 1, 10**9)
            rows = values.listed(values.member(raw, "mean_query"), "mean_query")
            query = np.array([values.listed(row, "a row of mean_query") for row in rows], dtype=float)
            written_by = values.mapping(values.member(raw, "provenance"), "provenance")
            settings = values.mapping(values.member(written_by, "settings"), "settings")
        except (InputError, ValueError, TypeError) as error:
            raise InputError(f"{path}: {error}; delete it and run again.") from None
        if count and query.shape != np.shape(total):
            raise InputError(f"{path}: a mean query of shape {query.shape}, others have {np.shape(total)}.")
        for key, value in (("model", dict(model)), ("layer", layer), ("query_span", span)):
            if settings.get(key) != value:
                raise InputError(
                    f"{path}: made with {key} {settings.get(key)!r}; the scores and config say {value!r}. "
                    "Delete it and run again."
                )
        total, count = total + questions * query, count + questions
    return tuple(map(tuple, (total / count).tolist()))


def _settings(paths: RunPaths, ablations: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """Model, geometry and, where heads chose tokens, the token score that the references were made with."""
    settings_by_path: dict[str, dict[str, Any]] = {}
    for name in names:
        samples: dict[str, Any] = {}
        for ablation in ablations:
            identity = {"benchmark": name, "ablation": ablation["name"]}
            if ablation["intervention"] == ESTIMATE:
                path = paths.head_gradients(ablation["name"], name)
                table = files.read_table(path, schemas.HEAD_GRADIENTS, identity)
                provenance = files.provenance_of(table, path)
            else:
                path = paths.scores(name, ablation["name"], "reference")
                _, provenance = read_scores(path, identity, ["sample_id"])
            settings = provenance.get("settings", {})
            for key in ("model", "geometry", "token_score"):
                if not isinstance(settings.get(key), dict):
                    raise InputError(f"{path}: its provenance has no {key!r}; delete it and run again.")
            settings_by_path[path] = {key: settings[key] for key in ("model", "geometry", "token_score")}
            samples[path] = settings.get("samples")
        require_one_setting(samples, "samples")
    return {
        key: require_one_setting({path: own[key] for path, own in settings_by_path.items()}, key)
        for key in ("model", "geometry", "token_score")
    }

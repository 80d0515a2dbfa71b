"""Synthetic runs: a complete ``outputs/<run>`` tree with known effects, written in a second.

``with toy_benchmarks(): config = write_run(folder)`` gives a config with all defaults filled and
the files of every step up to evaluation, so that statistics, tables, figures and report can be
tested without a model.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from PIL import Image

from hawk import benchmarks
from hawk.benchmarks.base import Benchmark
from hawk.config.recipes import layers
from hawk.core import files, schemas
from hawk.core.heads import head_table
from hawk.core.paths import RunPaths
from hawk.core.provenance import provenance
from hawk.steps.head_drops import head_drops


class Toy(Benchmark):
    """A mean of scores in percent."""

    name: ClassVar[str] = "toy"
    family: ClassVar[str] = "toys"

    def load(self) -> Iterator[Any]:
        raise NotImplementedError


class Shared(Toy):
    """Another mean, of the same family: its images may be those of ``toy``."""

    name: ClassVar[str] = "shared"


class Pairs(Toy):
    """Not a mean: accuracy plus accuracy over pairs that count only when both are right (0-200)."""

    name: ClassVar[str] = "pairs"
    family: ClassVar[str] = "pairs"
    native_max: ClassVar[float] = 200.0

    def contributions(self, rows: Any) -> np.ndarray:
        score = rows["score"].to_numpy(np.float64)
        both = rows["score"].groupby(rows["metric_group"]).transform("min").to_numpy(np.float64)
        first = (~rows["metric_group"].duplicated()).to_numpy(np.float64)
        return np.column_stack([score, np.ones(len(rows)), both * first, first])

    def value(self, sums: np.ndarray) -> np.ndarray:
        return 100.0 * (sums[..., 0] / sums[..., 1] + sums[..., 2] / sums[..., 3])


TOYS = {cls.name: f"{__name__}:{cls.__name__}" for cls in (Toy, Shared, Pairs)}


@contextlib.contextmanager
def toy_benchmarks() -> Iterator[None]:
    """The toy benchmarks in the registry, for as long as the block runs."""
    before = dict(benchmarks.REGISTRY)
    benchmarks.REGISTRY.update(TOYS)
    try:
        yield
    finally:
        benchmarks.REGISTRY.clear()
        benchmarks.REGISTRY.update(before)


VARIANTS: list[dict[str, Any]] = [
    {"name": "hawk-zero", "method": "hawk", "weights": "zero"},
    {"name": "hawk-uniform", "method": "hawk", "weights": "uniform"},
    {"name": "hawk-permuted", "method": "hawk", "weights": "zero", "permute": True, "seeds": 3},
    {"name": "random", "method": "random", "seeds": 3},
    {"name": "divprune", "method": "divprune"},
    {"name": "blind", "method": "blind"},
]
# Share of right answers that a variant loses at ratio 1 (a model of quality, not of any method).
LOSS = {
    "hawk-zero": 0.75,
    "hawk-uniform": 0.3,
    "hawk-permuted": 0.35,
    "random": 0.7,
    "divprune": 0.1,
}


SCORE = {"normalization": "l2", "reduction": "mean", "rope": False, "query_span": "instruction"}


def ablation(intervention: str, **changes: Any) -> dict[str, Any]:
    """An entry of ``ablation.recipes``, as it is after loading, named like its intervention."""
    chooses = intervention in ("selection", "keep_only")
    own = {"ratio": 0.8, **SCORE} if chooses else {"layers": [0]}
    return {"name": intervention, "intervention": intervention, "layer": 0, **own, **changes}


def weights(of: str, **changes: Any) -> dict[str, Any]:
    """An entry of ``weights.recipes``, as it is after loading, named like its ablation."""
    filled = {"normalization": "min_shift", "measure": "value", "query": "question"}
    return {"name": of, "ablation": of, **filled, **changes}


def make_config(**changes: Any) -> dict[str, Any]:
    """A config with every default filled; ``changes`` replace whole sections."""
    config: dict[str, Any] = {
        "run": "toy-run",
        "seed": 0,
        "model": {
            "path": "data/models/toy",
            "revision": None,
            "dtype": "float32",
            "attention": "sdpa",
            "device": "cpu",
            "threads": 1,
            "layers": 2,
            "heads": 4,
        },
        "scoring": {"layer": 0, **SCORE},
        "ablation": {
            "recipes": [ablation("zero"), ablation("selection")],
            "heads": "all",
            "heads_per_job": 1,
        },
        "calibration": {"benchmarks": ["toy", "pairs"], "samples": 64, "holdout": "disjoint"},
        "weights": {"recipes": [weights("zero"), weights("selection")]},
        "evaluation": {
            "benchmarks": ["toy", "pairs"],
            "samples": 64,
            "ratios": [0.6, 0.8, 0.9],
            "role": "evaluation",
            "reference": "hawk-uniform",
            "hypotheses": [],
            "variants": [dict(one) for one in VARIANTS],  # a test may change its own
        },
        "generation": {"protocol": "vlmevalkit", "batch_size": 8},
        "statistics": {"resamples": 300, "confidence": 0.95, "repeats": 1},
        "data": {},
    }
    return {**config, **changes}


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """The ``settings`` block of the provenance of a score file."""
    model = config["model"]
    return {
        "protocol": config["generation"]["protocol"],
        "model": {"id": model["path"], "revision": None, "family": "toy_vl"},
        "geometry": {
            "layers": model["layers"],
            "heads": model["heads"],
            "kv_heads": 2,
            "head_dim": 8,
        },
        "token_score": dict(SCORE),
        "scoring": dict(config["scoring"]),
    }


def write_samples(config: dict[str, Any], root: str, role: str, benchmark: str) -> None:
    """Two samples per image; a metric group is the image's pair. ``shared`` has the images of ``toy``."""
    count = config["calibration" if role == "calibration" else "evaluation"]["samples"]
    owner = "toy" if benchmark == "shared" else benchmark
    rows = []
    for i in range(count):
        rng = np.random.default_rng([i // 2, len(owner), len(role)])
        pixels = rng.integers(0, 255, size=(8, 8, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        rows.append(
            {
                "sample_id": f"{benchmark}-{role}-{i:04d}",
                "group_id": f"{owner}-{role}-{i // 2:04d}",
                "metric_group": f"{benchmark}-{i // 2:04d}",
                "split": "test",
                "images": [{"bytes": buffer.getvalue(), "path": None}],
                "video": None,
                "question": "Is there a red circle?",
                "options": [],
                "references": ["yes" if i % 3 else "no"],
                "category": "kind" if i % 2 else "other",
                "relevant": None,
            }
        )
    made = provenance({"role": role, "benchmark": benchmark})
    files.write_table(RunPaths(root).samples(role, benchmark), rows, schemas.SAMPLES, made)


def score_rows(samples: Any, right: np.ndarray, kept: int, visual: int = 64) -> list[dict[str, Any]]:
    """Rows of a score table: right answers repeat the reference, wrong ones say the other or nothing."""
    rows = []
    for i, (sample_id, references) in enumerate(
        zip(samples["sample_id"].to_pylist(), samples["references"].to_pylist(), strict=True)
    ):
        answer = references[0] if right[i] else {"yes": "no", "no": "yes"}[references[0]]
        unparsed = not right[i] and i % 7 == 0
        rows.append(
            {
                "sample_id": sample_id,
                "prediction": "hm" if unparsed else answer,
                "parsed": None if unparsed else answer,
                "score": float(right[i]),
                "first_word_score": float(right[i]),
                "stopped": True,
                "reference_logprob": -0.1 if right[i] else -2.0,
                "margin": 3.0 if right[i] else -1.5,
                "prompt_tokens": visual + 20,
                "visual_tokens": visual,
                "kept_tokens": kept,
            }
        )
    return rows


def stored_row(sample_id: str, prediction: str | None, **columns: Any) -> dict[str, Any]:
    """A row of a score table whose marks say nothing about the prediction: a reader marks it anew."""
    row = {
        "sample_id": sample_id,
        "prediction": prediction,
        "parsed": "stale",
        "score": 0.5,
        "first_word_score": 0.5,
        "stopped": True,
        "reference_logprob": -1.0,
        "margin": 0.5,
        "prompt_tokens": 30,
        "visual_tokens": 16,
        "kept_tokens": 16,
    }
    return {**row, **columns}


def write_run(
    root: str | Path,
    config: dict[str, Any] | None = None,
    effects: dict[str, list[float]] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Write samples, baseline, ablation scores and evaluation under ``root``; returns the config.

    effects: per ablation the share of right answers that ablating each head destroys (head 0
    of ``zero`` half of them by default); each ablated run also flips 4 % of the answers at random.
    """
    config = config or make_config()
    root = str(root)
    heads = config["model"]["heads"]
    effects = effects or {
        "zero": [0.5] + [0.0] * (heads - 1),
        "mean": [0.3] + [0.0] * (heads - 1),
        "selection": [0.0] * (heads - 1) + [0.4],
        "keep_only": [0.4] * (heads - 1) + [0.0],
    }
    for name in config["calibration"]["benchmarks"]:
        write_samples(config, root, "calibration", name)
        _write_ablation(config, root, name, effects, seed)
    for name in config["evaluation"]["benchmarks"]:
        write_samples(config, root, config["evaluation"]["role"], name)
        _write_evaluation(config, root, name, seed)
    return config


def _write_ablation(
    config: dict[str, Any], root: str, name: str, effects: dict[str, list[float]], seed: int
) -> None:
    paths, rng = RunPaths(root), np.random.default_rng([seed, len(name)])
    samples = files.read_table(paths.samples("calibration", name), schemas.SAMPLES)
    count = samples.num_rows
    made = settings(config)
    base = rng.random(count) < 0.9
    for recipe in config["ablation"]["recipes"]:
        own, intervention = recipe["name"], recipe["intervention"]
        identity = {"benchmark": name, "ablation": own, "intervention": intervention, "role": "calibration"}
        kept = 13 if "ratio" in recipe else 64

        def write(
            which: str,
            right: np.ndarray,
            identity: dict[str, str] = identity,
            own: str = own,
            kept: int = kept,
            **more: str,
        ) -> None:
            files.write_table(
                paths.scores(name, own, which),
                score_rows(samples, right, kept),
                schemas.SCORES,
                provenance({**identity, "name": which, **more}, **made),
            )

        reference = base & (rng.random(count) < (0.9 if "ratio" in recipe else 1.0))
        write("reference", reference)
        for number in range(1, config["statistics"]["repeats"] + 1):
            write(f"repeat{number}", reference ^ (rng.random(count) < 0.01))
        for head in head_table(layers(recipe), config["model"]["heads"]):
            effect = effects[own][head.index] if head.layer == 0 else 0.0
            right = reference & ~(rng.random(count) < effect)
            right ^= rng.random(count) < 0.04
            write(str(head), right, head=str(head))


def _write_evaluation(config: dict[str, Any], root: str, name: str, seed: int) -> None:
    paths, rng = RunPaths(root), np.random.default_rng([seed, len(name), 7])
    role = config["evaluation"]["role"]
    samples = files.read_table(paths.samples(role, name), schemas.SAMPLES)
    count = samples.num_rows
    base = rng.random(count) < 0.95
    files.write_table(
        paths.baseline(name, role),
        score_rows(samples, base, kept=64),
        schemas.SCORES,
        provenance({"benchmark": name, "role": role}, **settings(config)),
    )
    hard = rng.random(count)  # images that are hard to prune are hard for every variant
    for variant in config["evaluation"]["variants"]:
        rows: list[dict[str, Any]] = []
        floor = rng.random(count) < 0.4
        for ratio in config["evaluation"]["ratios"]:
            for number in range(variant.get("seeds", 1)):
                loss = LOSS.get(variant["name"], 0.2) * ratio**2
                right = base & ~(0.7 * hard + 0.3 * rng.random(count) < loss)
                kept = int(np.ceil(64 * (1 - ratio) - 1e-9))
                if variant["method"] == "blind":
                    right, kept = floor, 0
                rows += [
                    {**row, "keeps_token_0": kept > 0, "pruning_ratio": str(ratio), "seed": number}
                    for row in score_rows(samples, right, kept)
                ]
        files.write_table(
            paths.evaluation(name, variant["name"]),
            rows,
            schemas.EVALUATION,
            provenance({"benchmark": name, "variant": variant["name"]}, **settings(config)),
        )


def measure_drops(config: dict[str, Any], root: str | Path) -> None:
    """The step head_drops of every ablation."""
    for one in config["ablation"]["recipes"]:
        head_drops(config, RunPaths(root), one["name"])


def drops_of(root: str | Path) -> pd.DataFrame:
    """The drops of all ablations, by name."""
    tables = sorted(Path(root, "drops").glob("*.parquet"))
    return pd.concat([files.read_table(one, schemas.DROPS).to_pandas() for one in tables], ignore_index=True)


def stability_of(root: str | Path, name: str) -> dict[str, Any]:
    return json.loads(Path(RunPaths(root).stability(name)).read_text())["stability"]


LAYERS = ("s0", "s1", "s2")  # ablations of which each chooses tokens in another layer


def layers_config(intervention: str = "selection", **recipe: Any) -> dict[str, Any]:
    """A config whose weights ``chosen`` choose between three layers; recipe: more of its keys."""
    config = make_config()
    config["model"]["layers"] = 3
    recipes = [ablation(intervention, name=name, layer=layer) for layer, name in enumerate(LAYERS)]
    config["ablation"] = {**config["ablation"], "recipes": recipes}
    chosen = weights("chosen", ablation=["s2", "s0", "s1"], **recipe)
    config["weights"] = {"recipes": [*(weights(name) for name in LAYERS), chosen]}
    config["evaluation"]["variants"] = [
        {"name": "hawk-chosen", "method": "hawk", "weights": "chosen"},
        {"name": "hawk-uniform", "method": "hawk", "weights": "uniform"},
    ]
    return config


def write_layers(
    root: str | Path,
    config: dict[str, Any],
    together: dict[str, list[float]],
    alone: dict[str, list[float]],
) -> None:
    """Samples and ablation scores: per benchmark and layer the share of right answers.

    together: where all heads choose; alone: of head 0, of which every further head loses some more.
    """
    for name in config["calibration"]["benchmarks"]:
        write_samples(config, str(root), "calibration", name)
        paths = RunPaths(root)
        samples = files.read_table(paths.samples("calibration", name), schemas.SAMPLES)
        count = samples.num_rows
        order = np.random.default_rng(len(name)).permutation(count)
        for recipe in config["ablation"]["recipes"]:
            own, layer = recipe["name"], recipe["layer"]
            shares = dict.fromkeys(("reference", "repeat1"), together[name][layer])
            shares |= {
                str(head): alone[name][layer] - 0.05 * head.index
                for head in head_table([layer], config["model"]["heads"])
            }
            for which, share in shares.items():
                identity = {
                    "benchmark": name, "ablation": own, "intervention": recipe["intervention"],
                    "role": "calibration", "name": which, "head": which,
                }  # fmt: skip
                files.write_table(
                    paths.scores(name, own, which),
                    score_rows(samples, order < share * count, 13),
                    schemas.SCORES,
                    provenance(identity, **settings(config)),
                )

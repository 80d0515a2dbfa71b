"""What the workflow and its steps ask of a config. No torch here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hawk.benchmarks import Benchmark, all_families, benchmark
from hawk.config.recipes import CHOOSING, ablation_named, ablations_of, chooses_layer, weights_named
from hawk.core.errors import InputError, unknown
from hawk.core.head_weights import shipped
from hawk.core.shipped import resolve
from hawk.core.variants import TOKEN_SCORE, weight_source

POOLED = "pooled"
WITHOUT = "without-"


def subset_benchmarks(config: Mapping[str, Any], subset: str) -> list[str]:
    """Calibration benchmarks of a subset: all for ``pooled``, else all outside one family."""
    names = list(config["calibration"]["benchmarks"])
    data = config.get("data", {})
    families = {name: benchmark(name, data.get(name)).family for name in names}
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


# --- what the workflow asks ------------------------------------------------------------------------


def with_variants(config: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The config with only these variants and the weights that they use: a job must not depend on others."""
    chosen = [variant for variant in config["evaluation"]["variants"] if variant["name"] in names]
    used = {weight_source(variant) for variant in chosen}
    recipes = [recipe for recipe in config["weights"]["recipes"] if recipe["name"] in used]
    return {
        **config,
        "evaluation": {**config["evaluation"], "variants": chosen},
        "weights": {"recipes": recipes},
    }


def with_weights(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The config with only this weights recipe and the ablations that it names."""
    recipe = weights_named(config, name)
    ablation = {**config["ablation"], "recipes": ablations_of(config, recipe)}
    return {**config, "ablation": ablation, "weights": {"recipes": [recipe]}}


def evaluation_passes(config: Mapping[str, Any]) -> int:
    """How often an evaluation job scores its samples: at every ratio and seed."""
    seeds = max(variant.get("seeds", 1) for variant in config["evaluation"]["variants"])
    return len(config["evaluation"]["ratios"]) * seeds


def own_weights(config: Mapping[str, Any]) -> list[str]:
    """The names of the weights that this run makes: what ``weights`` of a variant may name."""
    return [recipe["name"] for recipe in config["weights"]["recipes"]]


def weights_path(config: Mapping[str, Any], variant: Mapping[str, Any]) -> str | None:
    """The weights file that a variant, or its scorer, gives by path: an input of its evaluation."""
    source = weight_source(variant)
    is_path = source not in (None, "uniform", *own_weights(config)) and source not in shipped()
    path = resolve(source) if is_path else ""
    return path if Path(path).is_file() else None


def variant_named(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    variants = {variant["name"]: variant for variant in config["evaluation"]["variants"]}
    if name not in variants:
        raise unknown("variant", name, variants)
    return variants[name]


def config_subset(config: Mapping[str, Any], *keys: str) -> str:
    """The named keys of a config as one line of JSON; ``"a.b"`` takes only key b of section a."""
    out: dict[str, Any] = {}
    for key in keys:
        section, _, name = key.partition(".")
        if section not in config:
            continue
        if name:
            if name in config[section]:
                out.setdefault(section, {})[name] = config[section][name]
        elif section == "ablation":
            # How heads are spread over jobs changes no result and must re-run nothing.
            out[section] = {k: v for k, v in config[section].items() if k != "heads_per_job"}
        else:
            out[section] = config[section]
    return json.dumps(out, sort_keys=True)


def benchmark_named(config: Mapping[str, Any], name: str) -> Benchmark:
    """The benchmark of that name with the config's own options for it (``data.<name>``)."""
    return benchmark(name, config.get("data", {}).get(name))


def cost_benchmark(config: Mapping[str, Any]) -> str:
    """The benchmark whose samples are timed."""
    return config["cost"]["benchmark"] or config["evaluation"]["benchmarks"][0]


def cost_variants(config: Mapping[str, Any]) -> list[str]:
    """The names of the variants whose cost is measured."""
    return config["cost"]["variants"] or [variant["name"] for variant in config["evaluation"]["variants"]]


def cost_weights(config: Mapping[str, Any]) -> list[str]:
    """The weights recipes whose files measured cost depends on: their layer is known from these alone."""
    measured = with_variants(config, cost_variants(config))
    return [recipe["name"] for recipe in measured["weights"]["recipes"] if chooses_layer(recipe)]


def model_state(path: str) -> str:
    """What tells one state of a local model folder from another: names, sizes and times of its files.

    Empty for a model of the Hub, which its revision names.
    """
    folder = Path(resolve(path))
    if not folder.is_dir():
        return ""
    files = sorted([*folder.glob("*.json"), *folder.glob("*.safetensors"), *folder.glob("*.jinja")])
    states = [f"{file.name}:{file.stat().st_size}:{int(file.stat().st_mtime)}" for file in files]
    return hashlib.sha256("\n".join(states).encode()).hexdigest()[:16]


def sample_sources(config: Mapping[str, Any], name: str) -> list[str]:
    """The files of ours that a benchmark's samples are made from: inputs, so that an edit is noticed.

    The definition and the table of a benchmark of one's own, or the table that ``data.<name>.path`` names; of
    a folder all its tables. As they are opened: ``~`` is a home.
    """
    options = config["data"].get(name) or {}
    if options.get("definition"):
        bench = benchmark_named(config, name)
        definition = Path(resolve(str(options["definition"]))).expanduser()
        return [str(definition), *_tables(bench.folder / bench.definition["file"])]  # type: ignore[attr-defined]
    return _tables(Path(options["path"]).expanduser()) if options.get("path") else []


def _tables(path: Path) -> list[str]:
    if path.is_dir():
        return [str(file) for file in sorted(path.rglob("*.parquet"))]
    return [str(path)] if path.is_file() else []


def samples_section(role: str) -> str:
    """The config section that says how many samples a role has."""
    return "calibration" if role == "calibration" else "evaluation"


def score_more(config: Mapping[str, Any], ablation: str | None) -> str | None:
    """Which further keys a scoring job reads: a key of ``READS_MORE`` of the step score_samples.

    A baseline reads none; a job of several heads in a batch reads how many.
    """
    if ablation is None:
        return None
    rows = config["ablation"].get("rows_per_batch", 1)
    return "rows" if rows > 1 and ablation_named(config, ablation)["intervention"] not in CHOOSING else "one"


def weight_files(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(weights recipe, subset) of every weight file: pooled, and what the evaluation asks for."""

    def families(names: list[str]) -> set[str]:
        return {benchmark(name, config["data"].get(name)).family for name in names}

    calibrated = families(config["calibration"]["benchmarks"])
    subsets = ["pooled"]
    # Nothing else asks for them, and a family left out may leave too little to tell heads apart.
    if config["calibration"]["holdout"] == "leave_one_benchmark_out" and len(calibrated) > 1:
        evaluated = families(config["evaluation"]["benchmarks"])
        subsets += [f"without-{family}" for family in sorted(calibrated | evaluated)]
    return [(recipe, subset) for recipe in own_weights(config) for subset in subsets]


def weights_subset(
    config: Mapping[str, Any], variant: Mapping[str, Any], name: str
) -> tuple[str, str] | None:
    """(weights recipe, subset) of the run's file that a variant uses on a benchmark, or None.

    Leaving one benchmark out leaves out its whole family: benchmarks that share images.
    """
    source = weight_source(variant)
    if source not in own_weights(config):
        return None
    if config["calibration"]["holdout"] != "leave_one_benchmark_out":
        return source, "pooled"
    return source, f"without-{benchmark(name, config['data'].get(name)).family}"


def scoring_layer(config: Mapping[str, Any], variant: Mapping[str, Any]) -> int:
    """The layer in which a variant, or a scorer, scores tokens, unless its weights say their own."""
    layer = variant.get("layer")
    return int(config["scoring"]["layer"] if layer is None else layer)


def token_score_options(scoring: Mapping[str, Any]) -> dict[str, Any]:
    """The section ``scoring``, or an ablation that chooses tokens, as options of :class:`hawk.Hawk`."""
    return {option: scoring[key] for key, option in TOKEN_SCORE.items()}

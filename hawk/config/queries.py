"""What the workflow and its steps ask of a config. No torch here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hawk.benchmarks import Benchmark, all_families, benchmark
from hawk.core.errors import InputError, unknown
from hawk.core.head_weights import shipped
from hawk.core.heads import Head, head_table
from hawk.core.shipped import resolve
from hawk.core.variants import WEIGHT_SOURCES, weight_source

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


def ablated_heads(config: Mapping[str, Any]) -> list[Head]:
    """The heads whose drops this run measures, layer by layer."""
    heads = config["ablation"]["heads"]
    every = head_table(config["ablation"]["layers"], config["model"]["heads"])
    return every if heads == "all" else [head for head in every if head.index in heads]


def head_groups(config: Mapping[str, Any]) -> list[list[str]]:
    """The heads of every job where several share one, consecutive; empty where each has its own."""
    heads = [str(head) for head in ablated_heads(config)]
    per_job = config["ablation"]["heads_per_job"]
    size = len(heads) if per_job == "all" else per_job
    return [] if size == 1 else [heads[i : i + size] for i in range(0, len(heads), size)]


def with_variants(config: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The config with only these variants: a job must not depend on the others."""
    chosen = [variant for variant in config["evaluation"]["variants"] if variant["name"] in names]
    return {**config, "evaluation": {**config["evaluation"], "variants": chosen}}


def evaluation_passes(config: Mapping[str, Any]) -> int:
    """How often an evaluation job scores its samples: at every ratio and seed."""
    seeds = max(variant.get("seeds", 1) for variant in config["evaluation"]["variants"])
    return len(config["evaluation"]["ratios"]) * seeds


def weights_path(variant: Mapping[str, Any]) -> str | None:
    """The weights file that a variant, or its scorer, gives by path: an input of its evaluation."""
    source = weight_source(variant)
    is_path = source not in (None, "uniform", *WEIGHT_SOURCES) and source not in shipped()
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

    The definition and the table of a benchmark of one's own, or the table that ``data.<name>.path`` names.
    """
    options = config["data"].get(name) or {}
    if options.get("definition"):
        bench = benchmark_named(config, name)
        return [str(options["definition"]), str(bench.folder / bench.definition["file"])]  # type: ignore[attr-defined]
    path = options.get("path")
    return [str(path)] if path and Path(path).is_file() else []


def samples_section(role: str) -> str:
    """The config section that says how many samples a role has."""
    return "calibration" if role == "calibration" else "evaluation"


def score_more(config: Mapping[str, Any], intervention: str | None) -> str | None:
    """Which further keys a scoring job reads: a key of ``READS_MORE`` of the step score_samples.

    A job of ``selection`` reads how tokens are scored, one of several heads in a batch reads how many;
    the others must not depend on either.
    """
    if intervention == "selection":
        return "selection"
    rows = config.get("ablation", {}).get("rows_per_batch", 1)
    return "rows" if intervention in ("zero", "mean") and rows > 1 else None


def weight_files(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(intervention, subset) of every weight file: pooled, and what the evaluation asks for."""
    ablation = config["ablation"]
    if ablation["heads"] != "all" or config["scoring"]["layer"] not in ablation["layers"]:
        return []

    def families(names: list[str]) -> set[str]:
        return {benchmark(name, config["data"].get(name)).family for name in names}

    calibrated = families(config["calibration"]["benchmarks"])
    subsets = ["pooled"]
    # Nothing else asks for them, and a family left out may leave too little to tell heads apart.
    if config["calibration"]["holdout"] == "leave_one_benchmark_out" and len(calibrated) > 1:
        evaluated = families(config["evaluation"]["benchmarks"])
        subsets += [f"without-{family}" for family in sorted(calibrated | evaluated)]
    return [(intervention, subset) for intervention in ablation["interventions"] for subset in subsets]


def weights_subset(
    config: Mapping[str, Any], variant: Mapping[str, Any], name: str
) -> tuple[str, str] | None:
    """(intervention, subset) of the run's weight file that a variant uses on a benchmark, or None.

    Leaving one benchmark out leaves out its whole family: benchmarks that share images.
    """
    source = weight_source(variant)
    if source not in WEIGHT_SOURCES:
        return None
    if config["calibration"]["holdout"] != "leave_one_benchmark_out":
        return source, "pooled"
    return source, f"without-{benchmark(name, config['data'].get(name)).family}"


def token_score_options(scoring: Mapping[str, Any]) -> dict[str, Any]:
    """The config's ``scoring`` section as options of :class:`hawk.Hawk`."""
    return {
        "token_score_normalization": scoring["normalization"],
        "rope": scoring["rope"],
        "query_span": scoring["query_span"],
    }

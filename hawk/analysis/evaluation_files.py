"""Read a run's evaluation files, check that they can be compared, and add the majority answer.

Refuses to compare what is not comparable: other samples, another protocol, another token budget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from hawk.analysis.score_files import (
    SCORE_COLUMNS,
    SampleIndex,
    benchmark_of,
    read_scores,
    require_one_setting,
    sample_ids,
    shared_setting,
)
from hawk.core import schemas
from hawk.core.errors import InputError
from hawk.core.paths import RunPaths
from hawk.core.variants import COMPARISON_KEYS
from hawk.pruning.budget import kept_count, ratio_text
from hawk.pruning.options import facts

# What all files of a comparison must share, and what those of one benchmark must.
EVERYWHERE = (
    "protocol", "model", "geometry", "device", "batch_size", "preprocessing", "threads", "seed",
)  # fmt: skip
ACROSS_RUNS = ("protocol", "benchmark_version", "holdout")  # what runs of several models must share
PER_BENCHMARK = ("samples", "origin", "prompts", "benchmark_version", "holdout")
# What the variants must share, whose files alone have it: the run's token score. A variant may have its own.
PRUNED = ("scoring",)
# What the files of one variant must share: it may come from a weight file, which no config names.
OF_A_VARIANT = ("token_score",)
MAJORITY_CANDIDATES = 50
_COLUMNS = [*SCORE_COLUMNS, "visual_tokens", "kept_tokens", "first_word_score", "stopped"]


@dataclass(frozen=True)
class Scored:
    """One variant at one ratio on one benchmark (or the baseline, or the majority answer)."""

    sums: np.ndarray  # [seeds, groups, sums]
    scores: np.ndarray  # [seeds, samples]
    kept_tokens: np.ndarray  # [samples]
    visual_tokens: np.ndarray  # [samples]
    unparsed: float  # mean over seeds
    not_stopped: float  # share of the answers, over samples and seeds; NaN of no model's answers
    first_word: float  # mean first-word score, likewise; NaN where no first word can be right
    keeps_token_0: float  # share of the prompts, likewise; NaN where it is not written


@dataclass(frozen=True)
class Evaluated:
    """All that was measured on one benchmark. Ratios are canonical decimal strings."""

    samples: SampleIndex
    baseline: Scored
    majority: Scored
    majority_answer: str
    variants: Mapping[str, Mapping[str, Scored]]  # variant → ratio → scores
    settings: Mapping[str, Any] = field(default_factory=dict)  # the settings that all of it was made with
    pruned_under: Mapping[str, Any] = field(default_factory=dict)  # the run's token score and budget rules

    @property
    def name(self) -> str:
        return self.samples.benchmark.name


def read_evaluation(config: Mapping[str, Any], root: str) -> list[Evaluated]:
    """Every benchmark's baseline and variants, checked and audited."""
    settings_by_path: dict[str, Mapping[str, Any]] = {}  # path → the settings in its provenance
    evaluated = [
        _benchmark(config, root, name, settings_by_path) for name in config["evaluation"]["benchmarks"]
    ]
    for key in EVERYWHERE:
        require_one_setting(
            {path: shared_setting(values, key) for path, values in settings_by_path.items()}, key
        )
    for key in PRUNED:
        scored = {path: values[key] for path, values in settings_by_path.items() if values.get(key)}
        if scored:
            require_one_setting(scored, key)
    for variant in config["evaluation"]["variants"]:  # its own, on every benchmark the same
        paths = [RunPaths(root).evaluation(bench.name, variant["name"]) for bench in evaluated]
        for key in OF_A_VARIANT:
            require_one_setting({path: shared_setting(settings_by_path[path], key) for path in paths}, key)
        _require_one_weights({path: settings_by_path[path].get("weights") for path in paths})
    for key in COMPARISON_KEYS:  # the baseline, and files of older versions, have none
        ruled = {
            path: values["rules"][key] for path, values in settings_by_path.items() if values.get("rules")
        }
        if ruled:
            require_one_setting(ruled, key)
    for bench in evaluated:
        for variant in config["evaluation"]["variants"]:
            path = RunPaths(root).evaluation(bench.name, variant["name"])
            for ratio, measured in bench.variants[variant["name"]].items():
                place, settings = f"{path}, ratio {ratio}", settings_by_path[path]
                _require_the_ratios_budget(bench, place, ratio, measured, variant["method"], settings)
    return evaluated


def _require_one_weights(weights_by_path: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Weights of one name hold the same numbers in all files of a variant; older files do not tell theirs."""
    known = {path: weights for path, weights in weights_by_path.items() if weights}
    for source in {weights["source"] for weights in known.values()}:
        require_one_setting(
            {path: weights["sha256"] for path, weights in known.items() if weights["source"] == source},
            f"weights {source}",
        )


def read_runs(config: Mapping[str, Any], roots: Sequence[str]) -> list[Evaluated]:
    """What several runs (models) evaluated on the same samples under the same rules, one after the other."""
    runs = [read_evaluation(config, root) for root in roots]
    for models in zip(*runs, strict=True):
        first = models[0].samples
        for bench in models[1:]:
            first.require(bench.samples.ids, bench.samples.path)
            if not np.array_equal(bench.samples.frame["group_id"], first.frame["group_id"]):
                raise InputError(f"{bench.samples.path}: the samples show other images than in {first.path}.")
        for key in ACROSS_RUNS:
            require_one_setting({bench.samples.path: bench.settings.get(key) for bench in models}, key)
        for key in (*PRUNED, "rules"):
            said = {
                bench.samples.path: bench.pruned_under[key] for bench in models if key in bench.pruned_under
            }
            if said:
                require_one_setting(said, key)
    return [bench for run in runs for bench in run]


def _benchmark(
    config: Mapping[str, Any], root: str, name: str, settings_by_path: dict[str, Mapping[str, Any]]
) -> Evaluated:
    paths, role = RunPaths(root), config["evaluation"]["role"]
    samples = SampleIndex.read(
        paths.samples(role, name),
        benchmark_of(config, name, paths.baseline(name, role)),
        {"benchmark": name, "role": role},
    )
    path = paths.baseline(name, role)
    table, block = read_scores(path, {"benchmark": name, "role": role}, _COLUMNS)
    samples.require(sample_ids(table), path)
    settings_by_path[path] = block["settings"]
    samples.recompute(table, settings_by_path[path], path)
    baseline = _scored(samples, [table])
    pruned = baseline.kept_tokens != baseline.visual_tokens
    if pruned.any():
        row = int(np.argmax(pruned))
        raise InputError(
            f"{path}: {baseline.kept_tokens[row]} of {baseline.visual_tokens[row]} visual tokens are kept of "
            f"sample {samples.frame['sample_id'].iloc[row]!r}; the baseline prunes nothing. Delete the file "
            "and run again."
        )
    ratios = [ratio_text(ratio) for ratio in config["evaluation"]["ratios"]]
    variants = {}
    for variant in config["evaluation"]["variants"]:
        path = paths.evaluation(name, variant["name"])
        variants[variant["name"]], settings_by_path[path] = _variant(samples, path, variant, ratios)
    unpruned = paths.baseline(name, role)
    benchmark_paths = [unpruned, *(paths.evaluation(name, variant) for variant in variants)]
    for key in PER_BENCHMARK:
        require_one_setting({path: settings_by_path[path].get(key) for path in benchmark_paths}, key)
    best = majority(samples, config["generation"]["protocol"])
    of_variants = [settings_by_path[paths.evaluation(name, variant)] for variant in variants]
    # Of whichever file says it: all that do must agree.
    pruned_under = {key: one[key] for key in (*PRUNED, "rules") for one in of_variants if one.get(key)}
    evaluated = Evaluated(samples, baseline, *best, variants, settings_by_path[unpruned], pruned_under)
    audit_budget(evaluated, config)
    return evaluated


def _variant(
    samples: SampleIndex, path: str, variant: Mapping[str, Any], ratios: list[str]
) -> tuple[dict[str, Scored], Mapping[str, Any]]:
    identity = {"benchmark": samples.benchmark.name, "variant": variant["name"]}
    columns = [*_COLUMNS, "keeps_token_0", "pruning_ratio", "seed"]
    table, provenance = read_scores(path, identity, columns, schemas.EVALUATION)
    settings = provenance["settings"]
    if settings.get("variant", variant) != variant:
        raise InputError(
            f"{path}: made by variant {settings['variant']}; the config has {variant}. "
            "Delete the file and run again."
        )
    frame = table.select(["pruning_ratio", "seed"]).to_pandas()
    frame["pruning_ratio"] = frame["pruning_ratio"].map(ratio_text)
    by_ratio: dict[str, Scored] = {}
    for ratio, places in frame.groupby("pruning_ratio", sort=False).indices.items():
        part = table.take(places)
        by_seed = frame.iloc[places].groupby("seed").indices
        seeds = [part.take(rows) for rows in by_seed.values()]
        for rows_of_seed in seeds:
            samples.require(sample_ids(rows_of_seed), f"{path}, ratio {ratio}")
            samples.recompute(rows_of_seed, settings, f"{path}, ratio {ratio}")
        numbers = sorted(map(int, by_seed))
        if numbers != list(range(len(seeds))):
            raise InputError(
                f"{path}: ratio {ratio} has seeds {numbers}; those of a variant are 0, 1, 2 … "
                "Delete the file and run again."
            )
        if len(seeds) != variant.get("seeds", 1):
            raise InputError(
                f"{path}: ratio {ratio} has {len(seeds)} seeds; variant {variant['name']!r} has "
                f"seeds: {variant.get('seeds', 1)}. Delete the file and run again."
            )
        _require_one_budget(samples, variant["name"], str(ratio), seeds)
        by_ratio[str(ratio)] = _scored(samples, seeds)
    if facts(variant["method"]).ratio_free and by_ratio:
        # Where the ratio means nothing, one measurement serves them all.
        anything = next(iter(by_ratio.values()))
        by_ratio = {ratio: by_ratio.get(ratio, anything) for ratio in ratios}
    extra = [ratio for ratio in by_ratio if ratio not in ratios]
    if extra:
        raise InputError(
            f"{path}: rows for ratio {', '.join(extra)}, which evaluation.ratios do not have "
            f"({', '.join(ratios)}). Delete the file and run again."
        )
    missing = [ratio for ratio in ratios if ratio not in by_ratio]
    if missing:
        raise InputError(
            f"{path}: no rows for ratio {', '.join(missing)}; it has {', '.join(by_ratio) or 'none'}."
        )
    return {ratio: by_ratio[ratio] for ratio in ratios}, settings


def _require_one_budget(samples: SampleIndex, variant: str, ratio: str, seeds: list[pa.Table]) -> None:
    """Every seed keeps equally many tokens of every sample; a mean over seeds could hide it."""
    kept = np.stack([rows_of_seed.column("kept_tokens").to_numpy() for rows_of_seed in seeds])
    differs = (kept != kept[0]).any(axis=0)
    if differs.any():
        row = int(np.argmax(differs))
        raise InputError(
            f"benchmark {samples.benchmark.name!r}, ratio {ratio}: variant {variant!r} keeps "
            f"{' or '.join(map(str, sorted(set(kept[:, row].tolist()))))} visual tokens of sample "
            f"{samples.frame['sample_id'].iloc[row]!r}, by seed. Only equal budgets can be compared."
        )


def _scored(samples: SampleIndex, seeds: list[pa.Table]) -> Scored:
    return Scored(
        sums=np.stack([samples.sums(rows_of_seed) for rows_of_seed in seeds]),
        scores=np.stack([rows_of_seed.column("score").to_numpy() for rows_of_seed in seeds]),
        kept_tokens=seeds[0].column("kept_tokens").to_numpy(),
        visual_tokens=seeds[0].column("visual_tokens").to_numpy(),
        unparsed=float(np.mean([rows_of_seed.column("parsed").null_count for rows_of_seed in seeds])),
        not_stopped=1.0 - _mean(seeds, "stopped"),
        first_word=_mean(seeds, "first_word_score"),
        keeps_token_0=_mean(seeds, "keeps_token_0"),
    )


def _mean(tables: list[pa.Table], name: str) -> float:
    """Over all rows that have a value; NaN if none has, or there is no such column."""
    if name not in tables[0].column_names:
        return float("nan")
    values = np.concatenate([table.column(name).drop_null().to_numpy() for table in tables])
    return float(values.mean()) if len(values) else float("nan")


def audit_budget(evaluated: Evaluated, config: Mapping[str, Any]) -> None:
    """At each ratio every variant must keep equally many tokens of every sample.

    But those whose method keeps no budget (the blind control), and those that keep at most as many
    (the downscale control: not every count is a grid of the image's shape).
    """
    methods = {variant["name"]: facts(variant["method"]) for variant in config["evaluation"]["variants"]}
    bound = [name for name in evaluated.variants if methods[name].keeps_budget]
    at_most = {name for name in bound if methods[name].keeps_budget == "at most"}
    bound.sort(key=lambda name: name in at_most)  # never the one that others must equal
    for name in bound:
        for ratio, scored in evaluated.variants[name].items():
            other = scored.visual_tokens != evaluated.baseline.visual_tokens
            if not methods[name].other_images and other.any():
                row = int(np.argmax(other))
                raise InputError(
                    f"benchmark {evaluated.name!r}, ratio {ratio}: sample "
                    f"{evaluated.samples.frame['sample_id'].iloc[row]!r} had {scored.visual_tokens[row]} "
                    f"visual tokens before variant {name!r} pruned any, and "
                    f"{evaluated.baseline.visual_tokens[row]} in the baseline."
                )
    for name in bound[1:]:
        for ratio, scored in evaluated.variants[name].items():
            first = evaluated.variants[bound[0]][ratio]
            differs = scored.kept_tokens != first.kept_tokens
            if name in at_most:
                differs = scored.kept_tokens > first.kept_tokens
            if differs.any():
                row = int(np.argmax(differs))
                raise InputError(
                    f"benchmark {evaluated.name!r}, ratio {ratio}: variant {name!r} keeps "
                    f"{scored.kept_tokens[row]:g} visual tokens of sample "
                    f"{evaluated.samples.frame['sample_id'].iloc[row]!r}, variant {bound[0]!r} keeps "
                    f"{first.kept_tokens[row]:g} (of {first.visual_tokens[row]}). "
                    "Only equal budgets can be compared."
                )


def _require_the_ratios_budget(
    evaluated: Evaluated, where: str, ratio: str, scored: Scored, method: str, settings: Mapping[str, Any]
) -> None:
    """Of one variant alone: the floor keeps nothing, and the others what the ratio leaves.

    Where the budget is not pooled the ratio leaves so many of each image, whose sizes no table has.
    """
    known, rules = facts(method), settings.get("rules") or {"budget": "not written"}
    if known.is_floor:
        allowed = np.zeros_like(scored.kept_tokens)
    elif known.keeps_budget is not True or known.ratio_free or rules["budget"] != "pooled":
        return
    else:
        counts, place = np.unique(scored.visual_tokens, return_inverse=True)
        allowed = np.array([kept_count(int(count), ratio, rules["rounding"]) for count in counts])[place]
    wrong = scored.kept_tokens != allowed
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{where}: {scored.kept_tokens[row]} visual tokens are kept of sample "
            f"{evaluated.samples.frame['sample_id'].iloc[row]!r}; of its {scored.visual_tokens[row]} method "
            f"{method!r} keeps {allowed[row]}. Delete the file and run again."
        )


def majority(samples: SampleIndex, protocol: str) -> tuple[Scored, str]:
    """The score of always giving the same answer: the best of the most frequent reference answers.

    The most generous reading of a majority baseline, computed through the benchmark's own parser,
    score and aggregate. Returns its scores and the answer.
    """
    benchmark = samples.benchmark
    questions = samples.questions
    counted = pd.Series(
        [ref for sample in questions for ref in set(sample.references)], dtype=str
    ).value_counts()
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:MAJORITY_CANDIDATES]
    best: tuple[float, str, pa.Table] | None = None
    for answer, _ in ordered:
        parsed = [benchmark.parse(str(answer), sample, protocol) for sample in questions]
        score = [
            0.0 if word is None else benchmark.score(word, sample, protocol)
            for word, sample in zip(parsed, questions, strict=True)
        ]
        constant_answers = pa.table(
            {"parsed": pa.array(parsed, pa.string()), "score": pa.array(score, pa.float64())}
        )
        value = float(benchmark.value(samples.sums(constant_answers).sum(axis=0)))
        if best is None or value > best[0]:
            best = (value, str(answer), constant_answers)
    if best is None:
        raise InputError(f"{samples.path}: no sample has a reference answer.")
    none = pa.array(np.zeros(len(questions), dtype=np.int32))
    shown = best[2].append_column("visual_tokens", none).append_column("kept_tokens", none)
    return _scored(samples, [shown]), best[1]

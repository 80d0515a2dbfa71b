"""Which choices make selection-calibrated weights good: one varied at a time, on one model.

    python -m hawk.study --config config/study.yaml --model data/models/tiny-qwen2.5-vl \\
        --role development outputs/study/seed0

calibrates weights under every setting of SETTINGS on the calibration images and scores every
variant of the study on the images of ``--role``, in one process; finished files are not made again.
The folder is laid out as a run's, so ``hawk compare`` reads it. ``--variants`` takes the few that
were chosen on ``development`` to ``evaluation``. docs/findings.md holds what came out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import yaml

from hawk import statistics
from hawk.benchmarks import benchmark
from hawk.config import load_config
from hawk.drops import rng_of
from hawk.errors import unknown
from hawk.paths import RunPaths
from hawk.records import EVALUATION, SCORES, write_json, write_table
from hawk.resampling import bootstrap_counts, percentile_interval

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setting:
    """How weights are calibrated: the ratio at which tokens are pruned, and the token score."""

    name: str
    ratio: str = "0.8"
    normalization: str = "l2"
    reduction: str = "mean"

    def score(self) -> dict[str, Any]:
        return {"token_score_normalization": self.normalization, "text_reduction": self.reduction}


SETTINGS = (
    Setting("base"),
    Setting("at-0.6", ratio="0.6"),
    Setting("at-0.9", ratio="0.9"),
    Setting("standardize", normalization="standardize"),
    Setting("attention", reduction="attention"),
    Setting("max", reduction="max"),
)
ZERO = "zero"  # the paper's intervention, beside the settings


def variants(files: RunPaths) -> list[dict[str, Any]]:
    """All variants of the study, as a config has them. ``*`` stands for a benchmark's family."""

    def weights(setting: str, normalization: str = "min_shift", subset: str = "pooled") -> str:
        return files.head_weights(f"{setting}-{normalization}", subset)

    made: list[dict[str, Any]] = [
        {"name": "hawk-uniform", "method": "hawk", "weights": "uniform"},
        {"name": "hawk-zero", "method": "hawk", "weights": weights(ZERO)},
        {"name": "hawk-zero-sig", "method": "hawk", "weights": weights(ZERO, "positive_significant")},
    ]
    for setting in SETTINGS:
        options = {"method": "hawk", **setting.score()}
        label = "sel" if setting.name == "base" else f"sel-{setting.name}"
        made.append({"name": label, **options, "weights": weights(setting.name)})
        if setting.score() != SETTINGS[0].score():
            made.append({"name": f"uniform-{setting.name}", **options, "weights": "uniform"})
    sel = {"method": "hawk", "weights": weights("base")}
    best = {"method": "hawk", **SETTINGS[4].score(), "weights": weights("attention")}
    uniform = {"method": "hawk", "weights": "uniform"}
    made += [
        {"name": "sel-sig", "method": "hawk", "weights": weights("base", "positive_significant")},
        {"name": "sel-logprob", "method": "hawk", "weights": weights("base", "logprob")},
        {"name": "sel-signed", "method": "hawk_signed", "signed": weights("base", "signed")},
        {"name": "sel-left-out", "method": "hawk", "weights": weights("base", subset="without-*")},
        {"name": "mmr-uniform", "method": "mmr", "scorer": uniform},
        {"name": "mmr-sel", "method": "mmr", "scorer": sel},
        {"name": "mmr-sel-0.8", "method": "mmr", "scorer": sel, "trade_off": 0.8},
        {"name": "mmr-sel-attention", "method": "mmr", "scorer": best},
        {"name": "cover-sel", "method": "facility_location", "scorer": sel},
        {"name": "cover-sel-attention", "method": "facility_location", "scorer": best},
        {"name": "fastv", "method": "fastv"},
        {"name": "divprune", "method": "divprune"},
        {"name": "cdpruner", "method": "cdpruner"},
        {"name": "mmtok", "method": "mmtok"},
        {"name": "cover", "method": "facility_location"},
        {"name": "sel-permuted", **sel, "permute": True, "seeds": 5},
        {"name": "sel-other-question", **sel, "shuffle_query": True},
        {"name": "random", "method": "random", "seeds": 5},
        {"name": "grid", "method": "grid"},
        {"name": "blind", "method": "blind"},
    ]
    return made


def prepare(config: Mapping[str, Any], files: RunPaths, name: str, role: str) -> None:
    from hawk.features import encode_images
    from hawk.samples import prepare_samples

    samples, features = files.samples(role, name), files.features(role, name)
    if not Path(samples).exists():
        prepare_samples(config, name, role, samples)
    if not Path(features).exists():
        encode_images(config, samples, role, name, features)


def prompts_of(config: Mapping[str, Any], vlm: Any, files: RunPaths, name: str, role: str) -> Any:
    from hawk.samples import read_samples
    from hawk.scoring import Prompts, features_for

    samples = read_samples(files.samples(role, name), role, name)
    features = features_for(config, vlm, samples, files.features(role, name))
    bench = benchmark(name, config["data"].get(name))
    return Prompts(vlm, bench, samples, features, config["generation"]["protocol"]), bench


# --- calibration --------------------------------------------------------------------------
def calibrate(config: Mapping[str, Any], vlm: Any, files: RunPaths, wanted: Sequence[str]) -> None:
    """Weights of the wanted settings and of ``zero``, by every way from drops to weights."""
    names = config["calibration"]["benchmarks"]
    missing = [one for one in wanted if not Path(files.head_weights(f"{one}-min_shift")).exists()]
    if not missing:
        return
    measured: dict[str, dict[str, dict[str, np.ndarray]]] = {one: {} for one in missing}
    for name in names:
        prepare(config, files, name, "calibration")
        prompts, bench = prompts_of(config, vlm, files, name, "calibration")
        for one in missing:
            setting = next((s for s in SETTINGS if s.name == one), None)
            measured[one][name] = _drops(config, vlm, prompts, bench, setting)
    for one, found in measured.items():
        _write_weights(config, vlm, files, one, found)


def _drops(
    config: Mapping[str, Any], vlm: Any, prompts: Any, bench: Any, setting: Setting | None
) -> dict[str, np.ndarray]:
    """Drops in points, their lower interval ends, and drops of the references' log-probability."""
    from hawk.ablation import AblateHeads
    from hawk.heads import Head
    from hawk.pruning.hawk import Hawk
    from hawk.scoring import score_samples
    from hawk.weights import HeadWeights

    generation, heads = config["generation"], vlm.geometry.heads

    def scored(head: int | None) -> tuple[np.ndarray, np.ndarray]:
        pruner = ablation = None
        if setting is None and head is not None:
            ablation = AblateHeads([Head(0, head)], mode="zero").attach(vlm.model)
        elif setting is not None:
            left = [float(other != head) for other in range(heads)]
            pruner = Hawk(
                pruning_ratio=setting.ratio,
                weights=HeadWeights(tuple(x / sum(left) for x in left), vlm.geometry),
                **setting.score(),
            )
        rows = score_samples(
            prompts,
            bench,
            generation["protocol"],
            generation["batch_size"],
            pruner=pruner,
            ablation=ablation,
            what=f"{bench.name} {setting.name if setting else ZERO} {head}",
        )
        return (
            np.array([row["score"] for row in rows]),
            np.array([row["reference_logprob"] for row in rows]),
        )

    score, logprob = scored(None)
    ablated = [scored(head) for head in range(heads)]
    gaps = 100 * (score - np.stack([one for one, _ in ablated]))  # [heads, samples]
    groups, codes = np.unique([s.group_id for s in prompts.samples], return_inverse=True)
    counts = bootstrap_counts(len(groups), config["statistics"]["resamples"], rng_of(0, bench.name))
    drawn = counts[:, codes]
    draws = (gaps @ drawn.T) / drawn.sum(1)
    return {
        "drops": gaps.mean(1),
        "low": percentile_interval(draws, config["statistics"]["confidence"])[:, 0],
        "logprob": (logprob - np.stack([one for _, one in ablated])).mean(1),
        "samples": np.array(len(score)),
    }


def _write_weights(
    config: Mapping[str, Any], vlm: Any, files: RunPaths, one: str, found: dict[str, dict[str, Any]]
) -> None:
    families = {name: benchmark(name, config["data"].get(name)).family for name in found}
    subsets = {"pooled": list(found)}
    if len(set(families.values())) > 1:
        for family in set(families.values()):
            subsets[f"without-{family}"] = [name for name in found if families[name] != family]
    for subset, names in subsets.items():
        drops = {name: found[name]["drops"] for name in names}
        low = {name: found[name]["low"] for name in names}
        ways = {way: statistics.pooled_weights(drops, low, way) for way in statistics.NORMALIZATIONS}
        logprob = {name: found[name]["logprob"] for name in names}
        ways["logprob"] = statistics.pooled_weights(logprob, logprob, "min_shift")
        for way, (weights, parts) in ways.items():
            path = files.head_weights(f"{one}-{way}", subset)
            _save(config, vlm, path, one, way, weights, parts, {n: int(found[n]["samples"]) for n in names})
        scaled = [d / np.abs(d).sum() for d in drops.values() if np.abs(d).sum() > 0]
        signed = np.mean(scaled, 0).tolist() if scaled else [1.0] * vlm.geometry.heads
        write_json(files.head_weights(f"{one}-signed", subset), {"signed": signed})
    write_json(f"{files.root}/drops-{one}.json", {n: _plain(values) for n, values in found.items()})


def _plain(values: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {key: np.round(value, 6).tolist() for key, value in values.items()}


def _save(
    config: Mapping[str, Any],
    vlm: Any,
    path: str,
    one: str,
    way: str,
    weights: np.ndarray,
    parts: Mapping[str, np.ndarray],
    samples: Mapping[str, int],
) -> None:
    from hawk.provenance import provenance
    from hawk.weights import HeadWeights

    setting = next((s for s in SETTINGS if s.name == one), SETTINGS[0])
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


# --- evaluation ---------------------------------------------------------------------------
def evaluate(
    config: dict[str, Any], vlm: Any, files: RunPaths, role: str, chosen: Sequence[str] | None
) -> dict[str, Any]:
    """Score the variants; returns a config that ``hawk compare`` takes for what was made."""
    from hawk.provenance import provenance
    from hawk.pruning.budget import ratio_text
    from hawk.scoring import score_samples
    from hawk.sweep import common_settings

    every = [variant for variant in variants(files) if _calibrated(variant)]
    used = [one for one in every if chosen is None or one["name"] in chosen]
    ratios = [ratio_text(ratio) for ratio in config["evaluation"]["ratios"]]
    out = RunPaths(f"{files.root}/{role}")
    generation = config["generation"]
    for name in config["evaluation"]["benchmarks"]:
        prepare(config, files, name, role)
        prompts, bench = prompts_of(config, vlm, files, name, role)
        settings = common_settings(config, vlm, bench, None)
        arguments = (prompts, bench, generation["protocol"], generation["batch_size"])
        _link(files, out, role, name)
        baseline = out.baseline(name, role)
        if not Path(baseline).exists():
            identity = {"benchmark": name, "role": role, "name": "reference"}
            rows = score_samples(*arguments, what=f"{name} unpruned")
            write_table(baseline, rows, SCORES, provenance(identity, **settings))
        for variant in used:
            path = out.evaluation(name, variant["name"])
            if Path(path).exists():
                continue
            scored = []
            for ratio in ratios[:1] if variant["method"] == "blind" else ratios:
                for seed in range(variant.get("seeds", 1)):
                    pruner, queries = _pruner(config, vlm, variant, bench, ratio, seed, prompts)
                    what = f"{name} {variant['name']} at {ratio}"
                    rows = score_samples(*arguments, pruner=pruner, queries=queries, what=what)
                    scored += [{**row, "pruning_ratio": ratio, "seed": seed} for row in rows]
            identity = {"benchmark": name, "variant": variant["name"], "role": role}
            write_table(path, scored, EVALUATION, provenance(identity, **settings, variant=variant))
    made = {**config, "evaluation": {**config["evaluation"], "role": role, "variants": used}}
    made["evaluation"]["reference"] = "hawk-uniform"
    return made


def _calibrated(variant: Mapping[str, Any]) -> bool:
    """Whether the weight file that a variant needs was made."""
    inner = variant.get("scorer") or variant
    source = inner.get("weights") or inner.get("signed") or "uniform"
    if source == "uniform":
        return True
    return any(Path(source).parent.glob(Path(source).name))


def _pruner(
    config: Mapping[str, Any], vlm: Any, variant: Mapping[str, Any], bench: Any, *rest: Any
) -> tuple[Any, Any]:
    """A variant's pruner for one benchmark, and the questions it is given."""
    import json

    from hawk.evaluation import other_questions
    from hawk.variants import build

    ratio, seed, prompts = rest
    variant = dict(variant)
    if isinstance(variant.get("weights"), str):
        variant["weights"] = variant["weights"].replace("*", bench.family)
    if isinstance(variant.get("signed"), str):
        variant["signed"] = json.loads(Path(variant["signed"]).read_text(encoding="utf-8"))["signed"]
    pruner = build(config, variant, ratio, seed, vlm.geometry)
    return pruner, other_questions(prompts, seed) if variant.get("shuffle_query") else None


def _link(files: RunPaths, out: RunPaths, role: str, name: str) -> None:
    """The samples where a run has them, so that tables find them."""
    source, target = Path(files.samples(role, name)), Path(out.samples(role, name))
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())


@click.command()
@click.option("--config", "source", required=True, help="Config of the study, without its variants.")
@click.option("--model", required=True, help="Model folder; another seed or family.")
@click.option("--role", default="development", type=click.Choice(["development", "evaluation"]))
@click.option("--settings", "wanted", default=None, help="Of calibration, by commas; default all.")
@click.option("--variants", "chosen", default=None, help="Names, separated by commas; default all.")
@click.argument("root")
def main(source: str, model: str, role: str, wanted: str | None, chosen: str | None, root: str) -> None:
    """Calibrate and evaluate under ROOT, then print the comparison."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    from hawk.scoring import load_for
    from hawk.tables import make_tables, read_retention, text_table

    config = load_config(source)
    config["model"]["path"] = model
    files = RunPaths(root)
    vlm = load_for(config, vision=True)
    known = [ZERO, *(setting.name for setting in SETTINGS)]
    names = wanted.split(",") if wanted else known
    for name in names:
        if name not in known:
            raise unknown("setting", name, known)
    calibrate(config, vlm, files, names)
    made = evaluate(config, vlm, files, role, chosen.split(",") if chosen else None)
    out = f"{root}/{role}"
    Path(out, "config.yaml").write_text(yaml.safe_dump(made, sort_keys=False), encoding="utf-8")
    make_tables(made, out)
    frame, settings = read_retention(out)
    click.echo(text_table(frame, "overall", settings))


if __name__ == "__main__":
    main()

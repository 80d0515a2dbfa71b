"""Development: every variant on development images, to choose between them and for nothing else."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from hawk.benchmarks import Benchmark
from hawk.core.files import write_table
from hawk.core.paths import RunPaths
from hawk.core.provenance import provenance
from hawk.models.base import VisionLanguageModel
from hawk.pruning.base import Pruner
from hawk.pruning.budget import ratio_text
from hawk.steps.variants import build
from hawk.study.forced import ForcedScorer
from hawk.study.images import prepare, prompts_of
from hawk.study.plan import candidates, others

log = logging.getLogger(__name__)

ROLE = "development"
UNPRUNED = "baseline"
FORCED = pa.schema(
    [
        ("sample_id", pa.string()),
        ("group_id", pa.string()),
        ("score", pa.float64()),
        ("reference_logprob", pa.float64()),
        ("kept_tokens", pa.int32()),
        ("pruning_ratio", pa.string()),
    ]
)


def path_of(files: RunPaths, benchmark: str, variant: str) -> str:
    return f"{files.root}/{ROLE}/{benchmark}/{variant}.parquet"


def ratios_of(config: Mapping[str, Any]) -> list[str]:
    """Development is at the ratios that the question is about; evaluation has more."""
    return [ratio_text(ratio) for ratio in config["evaluation"]["ratios"] if ratio >= 0.8]


def develop(config: Mapping[str, Any], vlm: VisionLanguageModel, files: RunPaths) -> None:
    """Score every variant; finished files stay."""
    names = config["evaluation"]["benchmarks"]
    every = [{"name": UNPRUNED, "method": "none"}, *candidates(files), *others(files)]
    missing = {n: [v for v in every if not Path(path_of(files, n, v["name"])).exists()] for n in names}
    if not any(missing.values()):
        return
    prepare(config, vlm, files, ROLE, names)
    for name in names:
        prompts, bench = prompts_of(config, vlm, files, ROLE, name)
        scorer = ForcedScorer(prompts, bench, config["generation"]["batch_size"])
        for variant in missing[name]:
            rows = _rows(config, vlm, scorer, bench, variant)
            block = provenance({"benchmark": name, "variant": variant["name"], "role": ROLE}, variant=variant)
            write_table(path_of(files, name, variant["name"]), rows, FORCED, block)
        log.info("%s: %d variants scored on development images", name, len(missing[name]))


def _rows(
    config: Mapping[str, Any],
    vlm: VisionLanguageModel,
    scorer: ForcedScorer,
    bench: Benchmark,
    variant: Mapping[str, Any],
) -> list[dict[str, Any]]:
    ratios: Sequence[str] = ratios_of(config)
    if variant["method"] in ("none", "blind"):  # they know no ratio
        ratios = ["0"] if variant["method"] == "none" else ratios[:1]
    rows = []
    for ratio in ratios:
        found = scorer(None if ratio == "0" else pruner_of(config, vlm, variant, bench, ratio, 0))
        for i, sample in enumerate(scorer.prompts.samples):
            rows.append(
                {
                    "sample_id": sample.sample_id,
                    "group_id": sample.group_id,
                    "score": float(found.score[i]),
                    "reference_logprob": float(found.logprob[i]),
                    "kept_tokens": int(found.kept[i]),
                    "pruning_ratio": ratio,
                }
            )
    return rows


def pruner_of(
    config: Mapping[str, Any],
    vlm: VisionLanguageModel,
    variant: Mapping[str, Any],
    bench: Benchmark,
    ratio: str,
    seed: int,
) -> Pruner:
    """A variant's pruner for one benchmark; ``*`` in a weight file is the benchmark's family."""
    variant = dict(variant)
    if isinstance(variant.get("scorer"), Mapping):
        scorer = dict(variant["scorer"])
        scorer["weights"] = scorer["weights"].replace("*", bench.family)
        variant["scorer"] = scorer
    if isinstance(variant.get("weights"), str):
        variant["weights"] = variant["weights"].replace("*", bench.family)
    if isinstance(variant.get("signed"), str):
        path = Path(variant["signed"].replace("*", bench.family))
        variant["signed"] = json.loads(path.read_text(encoding="utf-8"))["signed"]
    return build(config, variant, ratio, seed, vlm.geometry)

"""Evaluation: what was chosen and its opponents, once, on fresh images, by generation.

The folder is laid out as a run's, so ``hawk compare`` reads it as well.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hawk.core.atomic import write_text
from hawk.core.files import write_table
from hawk.core.paths import RunPaths
from hawk.core.provenance import provenance
from hawk.core.schemas import EVALUATION, SCORES
from hawk.core.variants import COMPARISON_KEYS, TOKEN_SCORE
from hawk.inference.scoring import score_samples
from hawk.models.base import VisionLanguageModel
from hawk.pruning.budget import ratio_text
from hawk.pruning.options import facts
from hawk.study.develop import pruner_of
from hawk.study.forced import Memo, remembering
from hawk.study.images import prepare, session_of
from hawk.study.plan import finalists

log = logging.getLogger(__name__)

ROLE = "evaluation"


def evaluate(
    config: Mapping[str, Any], vlm: VisionLanguageModel, files: RunPaths, chosen: Sequence[str]
) -> None:
    """Score the finalists; finished files stay."""
    variants = finalists(files, list(chosen))
    names = config["evaluation"]["benchmarks"]
    ratios = [ratio_text(ratio) for ratio in config["evaluation"]["ratios"]]
    prepare(config, vlm, files, ROLE, names)
    for name in names:
        missing = [one for one in variants if not Path(files.evaluation(name, one["name"])).exists()]
        baseline = files.baseline(name, ROLE)
        if not missing and Path(baseline).exists():
            continue
        session = session_of(config, vlm, files, ROLE, name)
        prompts, bench = session.prompts, session.benchmark
        settings = session.settings()
        settings["token_score"] = {key: config["scoring"][key] for key in TOKEN_SCORE}
        arguments = (prompts, session.batch_size)
        if not Path(baseline).exists():
            identity = {"benchmark": name, "role": ROLE, "name": "reference"}
            rows = score_samples(*arguments, what=f"{name} unpruned")
            write_table(baseline, rows, SCORES, provenance(identity, **settings))
        memo: Memo = {}
        for variant in missing:
            scored = []
            for ratio in ratios[:1] if facts(variant["method"]).ratio_free else ratios:
                for seed in range(variant.get("seeds", 1)):
                    pruner = remembering(pruner_of(config, vlm, variant, bench, ratio, seed), memo)
                    what = f"{name} {variant['name']} at {ratio}"
                    rows = score_samples(*arguments, pruner=pruner, what=what)
                    scored += [{**row, "pruning_ratio": ratio, "seed": seed} for row in rows]
            identity = {"benchmark": name, "variant": variant["name"], "role": ROLE}
            rules = {key: getattr(pruner, key) for key in COMPARISON_KEYS}
            block = provenance(identity, **settings, variant=variant, rules=rules)
            write_table(files.evaluation(name, variant["name"]), scored, EVALUATION, block)
        log.info("%s: %d finalists evaluated", name, len(missing))
    made = yaml.safe_dump(compared(config, files, chosen), sort_keys=False)
    write_text(f"{files.root}/config.yaml", made)


def compared(config: Mapping[str, Any], files: RunPaths, chosen: Sequence[str]) -> dict[str, Any]:
    """A config under which the tables read what was evaluated."""
    variants = finalists(files, list(chosen))
    evaluation = {**config["evaluation"], "role": ROLE, "variants": variants, "reference": "hawk-uniform"}
    return {**config, "evaluation": evaluation}

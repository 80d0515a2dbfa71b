"""The choice between variants: by a rule fixed in advance, on development images, into a file.

Rule: of the candidates that only score tokens, and of those that combine the score with diversity,
the one with the highest retention, averaged over the development ratios, benchmarks and models.
Nothing is tested here; the intervals say how little the order may mean.
"""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hawk.analysis.resampling import percentile_interval
from hawk.core.atomic import write_json
from hawk.core.errors import InputError
from hawk.core.paths import RunPaths
from hawk.study.develop import ratios_of
from hawk.study.plan import BASE, candidates, others
from hawk.study.retained import Retained, read_development

log = logging.getLogger(__name__)

ALONE = ("hawk", "hawk_signed")
RULE = (
    "highest mean retention over the development ratios, benchmarks and models: one of the candidates "
    "that only score tokens, one of those that combine the score with diversity"
)
_ANYWHERE = RunPaths("ROOT")


def development_rows(config: Mapping[str, Any], found: Retained) -> list[dict[str, Any]]:
    """Per variant: retention by ratio and model, and the paired difference to the base, with intervals."""
    ratios, models = ratios_of(config), found.models
    counts = found.counts(config["statistics"]["resamples"], config["seed"])
    every = range(len(found.benchmarks))
    level = config["statistics"]["confidence"]
    listed = [(one, True) for one in candidates(_ANYWHERE)] + [(one, False) for one in others(_ANYWHERE)]
    rows = []
    for variant, candidate in listed:
        name = variant["name"]
        at = {
            ratio: (name, ratio if (name, ratio) in found.cells[models[0]] else ratios[0]) for ratio in ratios
        }
        drawn = np.mean([found.draws(counts, models, at[ratio], every) for ratio in ratios], axis=0)
        base = np.mean([found.draws(counts, models, (BASE, ratio), every) for ratio in ratios], axis=0)
        low, high = percentile_interval(drawn, level).tolist()
        gap_low, gap_high = percentile_interval(drawn - base, level).tolist()
        retention = {ratio: found.overall(models, at[ratio]) for ratio in ratios}
        own = float(np.mean([found.overall(models, (BASE, ratio)) for ratio in ratios]))
        mean = float(np.mean(list(retention.values())))
        rows.append(
            {
                "variant": name,
                "candidate": candidate,
                "diversity": variant["method"] not in ALONE,
                "retention": retention,
                "by_model": {
                    model: float(np.mean([found.overall([model], at[ratio]) for ratio in ratios]))
                    for model in models
                },
                "mean": mean,
                "interval": [low, high],
                "difference": mean - own,
                "difference_interval": [gap_low, gap_high],
            }
        )
    return rows


def choose(
    config: Mapping[str, Any], models: Mapping[str, RunPaths], record: Path, identities: Mapping[str, Any]
) -> list[str]:
    """Write ``development.json`` and ``choice.json``; never over a choice that exists."""
    path = record / "choice.json"
    if path.exists():
        raise InputError(f"{path}: a choice was made already, and is not made again after results are known.")
    found = read_development(config, models)
    rows = development_rows(config, found)
    chosen = []
    for diversity in (False, True):
        some = [row for row in rows if row["candidate"] and row["diversity"] is diversity]
        chosen.append(max(some, key=lambda row: row["mean"])["variant"])
    about = {"models": dict(identities), "samples": _samples(found), "ratios": ratios_of(config)}
    write_json(record / "development.json", {**about, "rows": rows})
    definitions = {one["name"]: one for one in candidates(_ANYWHERE)}
    write_json(path, {"rule": RULE, **about, "chosen": {name: definitions[name] for name in chosen}})
    return chosen


def _samples(found: Retained) -> dict[str, dict[str, int]]:
    return {
        name: {"samples": found.samples[i], "images": len(found.groups[i])}
        for i, name in enumerate(found.benchmarks)
    }


def read_choice(record: Path) -> list[str]:
    """The chosen names; refused if it is not committed, or if the code means something else by them."""
    path = record / "choice.json"
    choice = json.loads(path.read_text(encoding="utf-8"))
    definitions = {one["name"]: one for one in candidates(_ANYWHERE)}
    for name, variant in choice["chosen"].items():
        if definitions.get(name) != variant:
            raise InputError(
                f"{path}: the chosen variant {name!r} is not what hawk/study/plan.py defines now."
            )
    _require_committed(path)
    return list(choice["chosen"])


def _require_committed(path: Path) -> None:
    """What is evaluated must have been fixed before: in the last commit, unchanged since."""

    def git(*words: str) -> int:
        command = ["git", "-C", str(path.parent), *words]
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode

    if git("rev-parse", "--is-inside-work-tree") != 0:
        log.warning("%s is in no git checkout: nothing shows that it was fixed before evaluation", path)
        return
    tracked = git("ls-files", "--error-unmatch", "--", path.name) == 0
    if not tracked or git("diff", "--quiet", "HEAD", "--", path.name) != 0:
        raise InputError(
            f"{path}: commit this choice first; then the same command evaluates it. A choice that can "
            "still change is no choice."
        )

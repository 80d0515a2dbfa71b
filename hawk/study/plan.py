"""What the study tries: settings of calibration, variants, and against whom they must hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hawk.core.paths import RunPaths


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
BASE = "sel"  # what every candidate differs from in one choice
OPPONENTS = ("divprune", "hawk-zero", "hawk-uniform", "random", "grid", "blind")
LEFT_OUT = "-left-out"  # suffix: weights made without the evaluated benchmark's family


def candidates(files: RunPaths) -> list[dict[str, Any]]:
    """Variants with selection-calibrated weights: those that may be chosen."""

    def weights(setting: str, way: str = "min_shift") -> str:
        return files.head_weights(f"{setting}-{way}")

    base: dict[str, Any] = {"method": "hawk", "weights": weights("base")}
    attention: dict[str, Any] = {"method": "hawk", **SETTINGS[4].score(), "weights": weights("attention")}
    made: list[dict[str, Any]] = [{"name": BASE, **base}]
    made += [
        {"name": f"sel-{one.name}", "method": "hawk", **one.score(), "weights": weights(one.name)}
        for one in SETTINGS[1:]
    ]
    made += [
        {"name": "sel-sig", "method": "hawk", "weights": weights("base", "positive_significant")},
        {"name": "sel-logprob", "method": "hawk", "weights": weights("base", "logprob")},
        {"name": "sel-signed", "method": "hawk_signed", "signed": weights("base", "signed")},
    ]
    for label, scorer in (("sel", base), ("sel-attention", attention)):
        made += [
            {"name": f"mmr-{label}", "method": "mmr", "scorer": scorer, "trade_off": 0.5},
            {"name": f"mmr-{label}-0.8", "method": "mmr", "scorer": scorer, "trade_off": 0.8},
            {"name": f"mmr-{label}-0.3", "method": "mmr", "scorer": scorer, "trade_off": 0.3},
            {"name": f"cover-{label}", "method": "facility_location", "scorer": scorer},
        ]
    return made


def others(files: RunPaths) -> list[dict[str, Any]]:
    """The paper's recipe, scores without calibration, diversity alone, rivals and controls."""
    uniform = {"method": "hawk", "weights": "uniform"}
    made: list[dict[str, Any]] = [
        {"name": "hawk-uniform", **uniform},
        {"name": "hawk-zero", "method": "hawk", "weights": files.head_weights(f"{ZERO}-min_shift")},
        {
            "name": "hawk-zero-sig",
            "method": "hawk",
            "weights": files.head_weights(f"{ZERO}-positive_significant"),
        },
    ]
    made += [
        {"name": f"uniform-{one.name}", **uniform, **one.score()}
        for one in SETTINGS
        if one.score() != SETTINGS[0].score()
    ]
    return [
        *made,
        {"name": "mmr-uniform", "method": "mmr", "scorer": uniform, "trade_off": 0.5},
        {"name": "cover", "method": "facility_location"},
        {"name": "divprune", "method": "divprune"},
        {"name": "fastv", "method": "fastv"},
        {"name": "cdpruner", "method": "cdpruner"},
        {"name": "mmtok", "method": "mmtok"},
        {"name": "random", "method": "random"},
        {"name": "grid", "method": "grid"},
        {"name": "blind", "method": "blind"},
    ]


def finalists(files: RunPaths, chosen: list[str]) -> list[dict[str, Any]]:
    """What is evaluated once: the chosen, the same with weights made without the benchmark, opponents."""
    by_name = {one["name"]: one for one in [*candidates(files), *others(files)]}
    made = [by_name[name] for name in [*chosen, *OPPONENTS]]
    made = [{**one, "seeds": 5} if one["name"] == "random" else one for one in made]
    return [*made, *(left_out(by_name[name]) for name in chosen)]


def left_out(variant: Mapping[str, Any]) -> dict[str, Any]:
    """A variant whose weight file is the one without the family that ``*`` will stand for."""
    if isinstance(variant.get("scorer"), Mapping):
        inner = left_out({"name": "", **variant["scorer"]})
        scorer = {key: value for key, value in inner.items() if key != "name"}
        return {**variant, "name": variant["name"] + LEFT_OUT, "scorer": scorer}
    key = "signed" if "signed" in variant else "weights"
    path = str(variant[key]).replace("pooled.json", "without-*.json")
    return {**variant, "name": variant["name"] + LEFT_OUT, key: path}


def setting_of(name: str) -> Setting | None:
    """The setting of that name; None for ``zero``, which prunes nothing."""
    return next((one for one in SETTINGS if one.name == name), None)


def settings_needed(files: RunPaths, variants: list[dict[str, Any]]) -> list[str]:
    """The names of calibrations whose weight files the variants read."""
    needed = []
    for name in (ZERO, *(one.name for one in SETTINGS)):
        folders = [files.head_weights(f"{name}-{way}", "") for way in WAYS]
        starts = tuple(path.removesuffix(".json") for path in folders)
        if any(source(one).startswith(starts) for one in variants):
            needed.append(name)
    return needed


WAYS = ("min_shift", "positive_significant", "logprob", "signed")


def source(variant: Mapping[str, Any]) -> str:
    """The weight file that a variant, or the scorer in it, reads; else ``uniform``."""
    inner = variant.get("scorer") or variant
    return str(inner.get("weights") or inner.get("signed") or "uniform")

"""A report of a run of any size, from drawn numbers: what a page looks and feels like with many heads."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from hawk.analysis.answers import KEPT, Answers, HeadAnswers
from hawk.analysis.comparison import RETENTION
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry, Head
from hawk.core.paths import RunPaths
from hawk.report.figures import pictures
from hawk.report.run import Run
from hawk.steps.make_figures import draw_figures
from hawk.steps.make_report import report

VARIANTS: dict[str, dict[str, Any]] = {
    "hawk-zero": {"method": "hawk", "weights": "zero"},
    "hawk-uniform": {"method": "hawk", "weights": "uniform"},
    "random": {"method": "random", "seeds": 3},
    "divprune": {"method": "divprune"},
    "blind": {"method": "blind"},
    "oracle": {"method": "oracle"},
}
RATIOS = ("0.6", "0.8", "0.9")


def large_report(
    root: str | Path, layers: int, heads: int, benchmarks: int, grid: int = 16, drawn: bool = True
) -> str:
    """Write figures and ``report.html`` under ``root``; returns the page's path.

    grid: visual tokens of an example image in each direction. drawn: False leaves every figure empty.
    """
    names = [f"benchmark-{i}" for i in range(benchmarks)]
    run = Run(_config(), RunPaths(root))
    run.drops = pd.concat([_drops(name, layers, heads, names) for name in ("zero", "selection")])
    run.drops_provenance = {"settings": {"statistics": {"confidence": 0.95, "resamples": 2000}}}
    run.retention = _retention(names)
    run.settings = {
        "reference": "hawk-uniform", "variants": VARIANTS, "ratios": RATIOS, "protocol": "vlmevalkit",
        "role": "evaluation", "statistics": {"confidence": 0.95, "resamples": 2000},
    }  # fmt: skip
    run.answers = {one: {name: _answers(layers, heads) for name in names} for one in ("zero", "selection")}
    run.examples = [_example(name, heads, grid) for name in names[:6]]
    rng = np.random.default_rng(1)
    shares = rng.dirichlet(np.full(heads, 0.5))
    run.weights = {"zero": HeadWeights(tuple(map(float, shares)), Geometry(layers, heads, heads, 64))}
    if drawn:
        draw_figures(run)
    for picture in pictures(run.holds, run.ablations, step="make_figures"):
        path = Path(run.paths.figure(picture.name, "svg"))
        path.parent.mkdir(parents=True, exist_ok=True)
        if not drawn:
            path.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    Path(run.paths.report()).write_text(report(run), encoding="utf-8")
    return run.paths.report()


def _config() -> dict[str, Any]:
    return {
        "run": "large", "seed": 0, "model": {"path": "a-model"},
        "ablation": {"recipes": [{"name": "zero", "intervention": "zero"}]},
        "weights": {
            "recipes": [
                {"name": "zero", "ablation": "zero", "normalization": "min_shift", "measure": "value"}
            ]
        },
        "calibration": {"samples": 128, "holdout": "disjoint"},
        "evaluation": {"variants": [{"name": name, **one} for name, one in VARIANTS.items()]},
    }  # fmt: skip


def _drops(intervention: str, layers: int, heads: int, names: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(len(intervention))
    count = len(names) * layers * heads
    index = pd.MultiIndex.from_product(
        [names, range(layers), range(heads)], names=["benchmark", "layer", "head"]
    )
    frame = pd.DataFrame(index=index).reset_index()
    drop = rng.normal(0, 1.2, count) + np.where(rng.random(count) < 0.05, rng.gamma(2.0, 8.0, count), 0.0)
    return frame.assign(
        ablation=intervention,
        intervention=intervention,
        reference_value=80.0,
        ablated_value=80.0 - drop,
        drop=drop,
        ci_low=drop - 2.0,
        ci_high=drop + 2.0,
        logprob_drop=drop / 50.0,
        logprob_low=drop / 50.0 - 0.1,
        logprob_high=drop / 50.0 + 0.1,
        estimate=False,
        margin_size=None,
        margin_drop=drop / 25.0,
        margin_low=drop / 25.0 - 0.1,
        margin_high=drop / 25.0 + 0.1,
        samples=128,
        groups=120,
        unparsed=rng.integers(0, 3, count),
        noise_floor=0.8,
        is_noise=np.abs(drop) < 2.0,
    )


def _retention(names: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    rows: list[dict[str, Any]] = []
    methods = {"baseline": "baseline", **{name: one["method"] for name, one in VARIANTS.items()}}
    for benchmark in [*names, "overall"]:
        for variant, method in methods.items():
            for place, ratio in enumerate(("0",) if variant == "baseline" else RATIOS):
                usual = 98.0 - 7.0 * place + rng.normal(0, 1.5)
                value = {"baseline": 100.0, "blind": 30.0}.get(variant, usual)
                tested = variant not in ("baseline", "hawk-uniform")
                row = dict.fromkeys(RETENTION.names)
                row |= {"variant": variant, "method": method, "pruning_ratio": ratio, "benchmark": benchmark}
                row |= {"native_value": value * 0.8, "points": value * 0.8, "retention": value}
                row |= {"ci_low": value - 1.5, "ci_high": value + 1.5, "seeds": 1, "samples": 256}
                row |= {"requested": 256, "groups": 240, "kept_tokens": 20.0, "visual_tokens": 64.0}
                row |= {"not_stopped": 0.0, "at_floor": False, "keeps_token_0": 50.0}
                if tested:
                    row |= {"difference": 0.5, "difference_low": -1.0, "difference_high": 2.0}
                    row |= {"p_value": 0.2, "p_adjusted": 1.0, "verdict": "—"}
                rows.append(row)
    frame = pd.DataFrame(rows, columns=RETENTION.names)
    return frame.astype({key: float for key in ("wins", "ties", "losses", "published", "unparsed")})


def _answers(layers: int, heads: int) -> Answers:
    """Of 128 long questions every head changes a dozen: more than a page can hold."""
    rng = np.random.default_rng(4)
    question = {"question": "what stands behind the one that " * 4, "options": [], "references": ["two"]}

    def first(number: int) -> dict[int, str]:
        rows = sorted(rng.choice(128, KEPT, replace=False).tolist())
        return {row: f"answer {number % 50}" for row in rows}

    changed = {
        Head(layer, head): HeadAnswers(9, 7, first(layer * head), first(layer + head))
        for layer in range(layers)
        for head in range(heads)
    }
    samples = [{**question, "question": f"{row}: {question['question']}"} for row in range(128)]
    return Answers(samples, ["one"] * 128, changed)


def _example(benchmark: str, heads: int, grid: int) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)).save(buffer, "JPEG", quality=60)
    drawn = rng.integers(0, 256, (heads, grid * grid), dtype=np.uint8)
    scores = [base64.b64encode(line.tobytes()).decode() for line in drawn]
    picture = base64.b64encode(buffer.getvalue()).decode()
    return {
        "benchmark": benchmark, "question": "What is this?", "layer": 0, "ratio": "80 %",
        "rows": grid, "columns": grid, "scores": scores, "kept": {"divprune": [*range(0, grid * grid, 5)]},
        "answers": {"divprune": {"text": "a cat", "right": True}}, "width": 96, "height": 96,
        "image": f"data:image/jpeg;base64,{picture}",
    }  # fmt: skip

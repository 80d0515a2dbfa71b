"""``hawk push``: a run's head weights to the Hub, with what the run knows of them on the card."""

from __future__ import annotations

from pathlib import Path

from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights, recipe_of
from hawk.core.paths import RunPaths
from hawk.report.noise import inside_null
from hawk.report.run import read_drops
from hawk.tools.weights_null import stability_of


def push(path: str, repo_id: str, private: bool | None = None, token: str | None = None) -> str:
    """Upload a weight file; returns its address with the commit that pins it.

    Raises InputError for a file that is no head weights, and for whatever the Hub refuses.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file.")
    weights = HeadWeights.load(path)
    noise = inside_null(weights, stability_of(path, weights))
    commit = weights.push_to_hub(
        repo_id, private=private, token=token, noise=noise, drops=_drops(path, weights)
    )
    return f"https://huggingface.co/{repo_id}/tree/{commit}"


def _drops(path: str, weights: HeadWeights) -> dict[str, list[float]] | None:
    """Benchmark → drop of every head in points, where the file lies in a run that has them."""
    try:
        run, *_ = RunPaths.parse(path, "head_weights")
    except InputError:
        return None  # weights from elsewhere
    ablation = recipe_of(weights).get("ablation")
    if ablation is None or not Path(run.drops(ablation)).is_file():
        return None
    frame = read_drops(run, ablation).to_pandas()
    frame = frame[(frame["layer"] == weights.layer) & ~frame["estimate"]]
    by_benchmark = {
        str(name): rows.sort_values("head")["drop"].tolist() for name, rows in frame.groupby("benchmark")
    }
    heads = len(weights.weights)
    return {name: drops for name, drops in by_benchmark.items() if len(drops) == heads} or None

"""``hawk show RUN_DIR``: what a run has produced so far, a line per file or kind of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hawk.analysis.stability import read_stability
from hawk.core import files, schemas
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights, shipped
from hawk.core.heads import Head
from hawk.core.paths import RunPaths
from hawk.report.noise import inside_null
from hawk.report.numbers import number
from hawk.report.tables import read_retention
from hawk.tools.weights_null import stability_of


def overview(folder: Path) -> list[tuple[str, str]]:
    """What a run has produced so far: files or kinds of files, and what they say.

    Raises InputError for a folder that holds no run.
    """
    run = RunPaths(str(folder))
    rows: list[tuple[str, str]] = []
    for role in sorted(folder.glob("samples/*")):
        names = [file.stem for file in sorted(role.glob("*.parquet"))]
        rows.append((f"samples/{role.name}/*.parquet", ", ".join(names)))
    for file in sorted(folder.glob("drops/*.parquet")):
        rows.append((f"drops/{file.name}", _said(_about_drops, file)))
    for file in sorted(folder.glob("stability/*.json")):
        rows.append((f"stability/{file.name}", _said(_about_stability, file)))
    for file in sorted(folder.glob("head_weights/*/*.json")):
        rows.append((str(file.relative_to(folder)), _said(_about_weights, file)))
    evaluated = sorted(folder.glob("evaluation/*/*.parquet"))
    if evaluated:
        variants, benchmarks = ({file.stem for file in evaluated}, {file.parent.name for file in evaluated})
        rows.append(("evaluation/*/*.parquet", f"{len(variants)} variants on {len(benchmarks)} benchmarks"))
    if Path(run.table("retention", "parquet")).is_file():
        rows.append(("tables/retention.parquet", _said(_about_retention, folder)))
    if Path(run.table("controls", "parquet")).is_file():
        rows.append(("tables/controls.parquet", "calibrated against controls"))
    if Path(run.table("hypotheses", "parquet")).is_file():
        rows.append(("tables/hypotheses.parquet", "declared hypotheses, tested as one family"))
    if Path(run.cost()).is_file():
        rows.append(("cost.parquet", "measured time, KV cache and memory"))
    if not rows:
        raise InputError(
            f"{folder}: this folder is no run; hawk show takes a run's folder (outputs/RUN), one of its "
            f".json or .parquet files, or shipped head weights ({', '.join(shipped())})."
        )
    if Path(run.report()).is_file():
        rows.append(("report.html", "open it in a browser"))
    return rows


def _said(about: Callable[[Path], str], path: Path) -> str:
    """One damaged file, or one of an earlier version, hides no other."""
    try:
        return about(path)
    except InputError:
        return "cannot be read: hawk show says why"


def _about_drops(file: Path) -> str:
    frame = files.read_table(str(file), schemas.DROPS).to_pandas()
    estimate = bool(frame["estimate"].any())
    means = frame.groupby(["layer", "head"])["margin_drop" if estimate else "drop"].mean()
    text = f"{len(means)} heads, {frame['benchmark'].nunique()} benchmarks; most: {Head(*means.idxmax())}"
    value = number(means.max(), sign=True)
    return f"{text}, {value} nats of margin (estimates)" if estimate else f"{text}, {value} points"


def _about_stability(file: Path) -> str:
    measured = read_stability(str(file))[1]
    if measured is None:
        return "not measured: no head of the scoring layer"
    more = "no more" if measured["null"]["pooled"]["explained_by_null"] else "more"
    return f"heads differ {more} than noise alone gives"


def _about_weights(file: Path) -> str:
    weights = HeadWeights.load(str(file))
    sizes = [abs(value) for value in weights.weights]
    top = sizes.index(max(sizes))
    if max(sizes) == min(sizes):
        return f"{len(sizes)} heads, all with the same weight"
    text = f"most: {Head(weights.layer, top)}, {weights.weights[top] / sum(sizes):.3f}"
    noise = inside_null(weights, stability_of(str(file), weights))
    return text if noise is None else f"{text}; {sum(noise)} of {len(noise)} heads inside their null"


def _about_retention(folder: Path) -> str:
    frame, settings = read_retention(str(folder))
    tested = frame[frame["verdict"].notna()]
    counts = ", ".join(f"{(tested['verdict'] == word).sum()} {word}" for word in ("better", "worse"))
    reference = settings.get("reference")
    return f"{counts} of {len(tested)} against {reference}" if reference else f"{len(frame)} rows"

"""``hawk show FILE``: a file of a run in a terminal, within 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hawk.analysis.comparison import RETENTION
from hawk.analysis.controls import CONTROLS
from hawk.analysis.cost import cost_table
from hawk.analysis.hypotheses import HYPOTHESES
from hawk.analysis.stability import read_stability
from hawk.core import files, schemas
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights, shipped
from hawk.core.heads import Head
from hawk.core.values import read_json
from hawk.report import columns
from hawk.report.noise import inside_null
from hawk.report.numbers import interval, number
from hawk.report.tables import hypotheses_text, terminal_rows, text_table
from hawk.tools.run_overview import overview
from hawk.tools.weights_null import stability_of

WIDTH = 80
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def show(path: str) -> str:
    """The text for a head-weights or stability JSON, or for any parquet table of a run.

    Also for shipped head weights by name, and for a run's folder: which of its files can be shown.
    """
    path = str(shipped().get(path, path))
    file = Path(path)
    if file.is_dir():
        about = f"{path}: a run. hawk show {path}/FILE prints a file."
        return "\n".join([_clip(about), "", *_aligned(overview(file), left={0, 1})])
    if not file.is_file():
        raise InputError(f"{path}: there is no such file.")
    readers = {".json": _json, ".parquet": _table}
    if file.suffix not in readers:
        raise InputError(f"{path}: hawk show reads .json and .parquet files of a run, not {file.suffix!r}.")
    return "\n".join(map(_clip, readers[file.suffix](path).splitlines()))


def bar(value: float, largest: float, width: int) -> str:
    """A bar of ``value / largest`` × width characters, to an eighth of a character."""
    eighths = round(8 * width * max(value, 0.0) / largest) if largest > 0 else 0
    return (_EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _json(path: str) -> str:
    raw = read_json(path, "a JSON file")
    if isinstance(raw, dict) and "stability" in raw and "keys" in raw:
        return _stability(*read_stability(path))
    weights = HeadWeights.load(path)
    return weights_text(weights, inside_null(weights, stability_of(path, weights)))


# --- head weights -----------------------------------------------------------------------------------


def weights_text(weights: HeadWeights, noise: Sequence[bool] | None = None) -> str:
    """Bars of the pooled weights, the benchmarks' own weights beside them as far as they fit.

    noise: per head, whether noise alone would give such a weight; None where that is not known.
    """
    model = weights.model.get("id") or "unnamed model"
    count = ", ".join(f"{name} {n}" for name, n in weights.samples.items())
    about = [
        f"{model}, layer {weights.layer}: {len(weights.weights)} heads",
        f"intervention {weights.intervention}, {weights.weight_normalization}",
    ]
    if weights.mean_query is not None:
        about.append("with the calibration questions' mean query (query: calibrated)")
    lines = [_clip(line) for line in about] + ([_clip(f"samples: {count}")] if count else [])
    names = list(weights.per_benchmark)
    labels = [str(Head(weights.layer, index)) for index in range(len(weights.weights))]
    width = max(len(label) for label in labels)
    columns = [max(6, min(len(name), 12)) for name in names]
    marks = [
        "" if noise is None else "noise " if is_noise else " " * 6
        for is_noise in noise or [False] * len(labels)
    ]
    fixed = width + 1 + 6 + 1 + len(marks[0])  # label, weight, mark
    fitting = 0
    while fitting < len(names) and fixed + 16 + sum(columns[: fitting + 1]) + fitting + 1 <= WIDTH:
        fitting += 1
    room = WIDTH - fixed - sum(columns[:fitting]) - fitting - 1
    head = " ".join([" " * width, "weight", " " * (room + len(marks[0]))])
    head += "".join(f" {name[:size]:>{size}}" for name, size in zip(names, columns[:fitting], strict=False))
    lines += ["", head.rstrip()]
    # Shipped files may hold raw weights: shares are what scoring uses.
    total = sum(map(abs, weights.weights))
    largest = max(map(abs, weights.weights))
    for index, label in enumerate(labels):
        value = weights.weights[index]
        line = f"{label:<{width}} {value / total:6.3f} {marks[index]}{bar(abs(value), largest, room):<{room}}"
        for name, size in zip(names, columns[:fitting], strict=False):
            line += f" {weights.per_benchmark[name][index]:>{size}.3f}"
        lines.append(line.rstrip())
    lines.append(f"uniform would be {1 / len(labels):.3f}")
    if noise is not None:
        lines.append("noise: inside the middle 95 % of the weights if no head mattered")
    if fitting < len(names):
        lines.append(_clip(f"no room to show: {', '.join(names[fitting:])}"))
    return "\n".join(lines)


def _stability(name: str, measured: dict[str, Any] | None) -> str:
    lines = []
    if measured is not None:
        halves = {"pooled": measured["split_half"]["pooled"], **measured["split_half"]["benchmarks"]}
        rows = [["", "spread", "noise", "p", "distance", "noise", "halves", ""]]
        null = {"pooled": measured["null"]["pooled"], **measured["null"]["benchmarks"]}
        for key, values in null.items():
            rows.append(
                [
                    key[:18],
                    f"{values['spread']:.2f}",
                    f"{values['spread_q95']:.2f}",
                    f"{values['p']:.4f}",
                    f"{values['distance']:.2f}",
                    f"{values['distance_q95']:.2f}",
                    f"{halves[key]['curve'][-1]['correlation']:+.2f}",
                    "noise?" if values["explained_by_null"] else "",
                ]
            )
        lines += [name, "", *_aligned(rows, left={0, 7}), ""]
    lines += [
        "spread of the drops in points and distance of min-shift weights to uniform,",
        "each beside the 95 % quantile that noise alone gives; p is of the spread;",
        "halves: rank correlation of the heads between two halves of the images",
    ]
    return "\n".join(lines).rstrip()


# --- tables -----------------------------------------------------------------------------------------


def _table(path: str) -> str:
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a readable parquet file ({error}).") from None
    for known_schema, words in _WORDS:
        if schema.equals(known_schema, check_metadata=False):
            table = files.read_table(path, known_schema)
            identity = files.provenance_of(table, path).get("identity", {})
            title = ", ".join(f"{key} {value}" for key, value in identity.items())
            return "\n".join([_clip(title), "", words(table, path)])
    raise InputError(f"{path}: no table of a run; its columns are {', '.join(schema.names)}.")


def _drops(table: pa.Table, path: str) -> str:
    frame = table.to_pandas()
    if frame["estimate"].any():
        return _estimates(frame)
    lines = []
    largest = max(float(frame["drop"].max()), 0.0)  # of all benchmarks: bars of one file can be compared
    for (ablation, name), part in frame.groupby(["ablation", "benchmark"], sort=False):
        first = part.iloc[0]
        lines.append(
            _clip(
                f"{name}, {ablation}: reference {number(first['reference_value'])}, "
                f"{int(first['samples'])} samples, {int(first['groups'])} images, "
                f"noise floor {number(first['noise_floor'])}"
            )
        )
        for row in part.sort_values("drop", ascending=False, kind="stable").to_dict("records"):
            head = str(Head(row["layer"], row["head"]))
            bounds = interval(row["ci_low"], row["ci_high"])
            noise = "noise" if row["is_noise"] else "     "
            start = f"{head:<7} {number(row['drop'], sign=True):>6} {bounds:<15} {noise} "
            lines.append((start + bar(row["drop"], largest, WIDTH - len(start))).rstrip())
        lines.append("")
    return "\n".join(lines).rstrip()


def _estimates(frame: pd.DataFrame) -> str:
    """Heads by their estimated drops in the margin, over all benchmarks."""
    lines = [
        _clip(f"{frame['ablation'].iloc[0]}: drops in the margin, nats, as estimated from gradients;"),
        f"means over {frame['benchmark'].nunique()} benchmarks; nothing was switched off",
    ]
    means = frame.groupby(["layer", "head"])["margin_drop"].mean().sort_values(ascending=False)
    for (layer, head), mean in means.items():
        start = f"{Head(layer, head)!s:<7} {number(mean, 3, sign=True):>7} "
        lines.append((start + bar(mean, max(means.iloc[0], 0.0), WIDTH - len(start))).rstrip())
    return "\n".join(lines)


def _scores(table: pa.Table, path: str) -> str:
    frame = table.to_pandas()
    keys = [key for key in ("pruning_ratio", "seed") if key in frame]
    rows = [[*keys, "samples", "mean score", "unparsed", "kept", "of", "log-prob"]]
    groups: Iterable[tuple[Any, pd.DataFrame]] = frame.groupby(keys, sort=False) if keys else [((), frame)]
    for key, part in groups:
        rows.append(
            [
                *(str(part) for part in key),
                str(len(part)),
                number(100 * part["score"].mean()) + " %",
                str(int(part["parsed"].isna().sum())),
                number(part["kept_tokens"].mean()),
                number(part["visual_tokens"].mean()),
                number(part["reference_logprob"].mean(), 3),
            ]
        )
    lines = _aligned(rows, left=set())
    wrong = frame[frame["score"] < 1.0].head(5)
    if len(wrong):
        lines += ["", "the first that are not fully right:"]
        for row in wrong.to_dict("records"):
            note = "nothing parsed from " if not isinstance(row["parsed"], str) else ""
            lines.append(_clip(f"  {row['sample_id']}: {note}{row['prediction']!r}, score {row['score']:g}"))
    return "\n".join(lines)


def _samples(table: pa.Table, path: str) -> str:
    frame = table.drop_columns(["images", "video"]).to_pandas()
    lines = [f"{len(frame)} samples, {frame['group_id'].nunique()} images"]
    for key in ("split", "category"):
        counts = frame[key].value_counts().head(8)
        if len(counts):
            lines.append(_clip(f"{key}: " + ", ".join(f"{name} {n}" for name, n in counts.items())))
    lines.append("")
    for row in frame.head(5).to_dict("records"):
        answers = " | ".join(row["references"])
        lines.append(_clip(f"  {row['sample_id']}: {row['question']!r} → {answers}"))
    return "\n".join(lines)


def _retention(table: pa.Table, path: str) -> str:
    settings = files.provenance_of(table, path)["settings"]
    return text_table(table.to_pandas(), settings=settings)


def _controls(table: pa.Table, path: str) -> str:
    return "\n".join(terminal_rows(columns.CONTROLS, table.to_pylist()))


def _hypotheses(table: pa.Table, path: str) -> str:
    return hypotheses_text(table.to_pandas(), files.provenance_of(table, path)["settings"])


def _cost(table: pa.Table, path: str) -> str:
    rows: list[columns.Row] = cost_table(table.to_pandas()).to_dict("records")  # type: ignore[assignment]
    return "\n".join(terminal_rows(columns.COST, rows))


_WORDS: list[tuple[pa.Schema, Callable[[pa.Table, str], str]]] = [
    (schemas.DROPS, _drops),
    (schemas.SCORES, _scores),
    (schemas.EVALUATION, _scores),
    (schemas.SAMPLES, _samples),
    (schemas.COST, _cost),
    (RETENTION, _retention),
    (CONTROLS, _controls),
    (HYPOTHESES, _hypotheses),
]


def _aligned(rows: Sequence[Sequence[str]], left: set[int]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        _clip(
            "  ".join(
                text.ljust(size) if i in left else text.rjust(size)
                for i, (text, size) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
        )
        for row in rows
    ]


def _clip(text: str) -> str:
    text = "".join(c if c.isprintable() else "�" for c in text)  # nothing may steer the terminal
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"

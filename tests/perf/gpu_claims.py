"""What is claimed of the project's speed on a GPU, each as one line: held, not held, or not measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gpu_budget import Part, Row


@dataclass(frozen=True)
class Claim:
    """held: None where what it is about was not measured."""

    text: str
    found: str
    held: bool | None

    def line(self) -> str:
        verdict = {True: "held", False: "NOT HELD", None: "not measured"}[self.held]
        return f"{verdict:<13} {self.text}" + (f": {self.found}" if self.found else "")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def claims(parts: Mapping[str, Part], side: int, batch: int) -> list[Claim]:
    """The claims on what the parts found; ``side`` and ``batch`` are those of the ordinary prompt."""

    def every(
        text: str, name: str, value: Callable[[Row], Any], shown: str, ok: Callable[[Any], bool]
    ) -> Claim:
        """A claim about every row of a part for which ``value`` is not None."""
        found = [v for v in map(value, parts[name].rows) if v is not None] if name in parts else []
        return Claim(text, ", ".join(map(shown.format, found)), all(map(ok, found)) if found else None)

    return [
        every(
            "the tests marked gpu pass",
            "gpu tests",
            lambda row: f"{row['failed'] + row['error']} failed, {row['passed']} passed",
            "{}",
            lambda words: words.startswith("0 failed") and not words.endswith(" 0 passed"),
        ),
        every(
            "prune waits for the device at most 5 times a prompt, however many pictures, rows and tokens",
            "waits",
            lambda row: row.get("in_our_lines"),
            "{}",
            lambda count: count <= 5,
        ),
        every(
            "in float32 the token score chooses what the authors' full matrix chooses",
            "token score",
            lambda row: row["same_choice"] if row["dtype"] == "float32" else None,
            "{:.2%}",
            lambda share: share > 0.995,
        ),
        every(
            "the token score is faster than the full matrix",
            "token score",
            lambda row: row["full_matrix_ms"] / row["ms"],
            "{:.1f} x",
            lambda times: times > 1,
        ),
        every(
            "the token score takes less than 2 % of the unpruned prefill",
            "token score",
            lambda row: row["share_of_prefill"],
            "{:.2%}",
            lambda share: share < 0.02,
        ),
        *_pruned(parts.get("generation"), 1, side**2),
        *_pruned(parts.get("generation"), batch, side**2),
        every(
            "DivPrune and CDPruner take no longer than as published",
            "greedy",
            lambda row: row["times"],
            "{:.1f} x",
            lambda times: times >= 1,
        ),
        *(
            every(
                f"end to end at 80 % it is at least the paper's 1.34 x, attention {name}",
                "end to end",
                lambda row, name=name: row["speedup"] if row["attention"] == name else None,
                "{:.2f} x",
                lambda times: times >= 1.34,
            )
            for name in ("sdpa", "varlen")
        ),
        every(
            "with all heads in a job the sweep spends 90 % of its time in the model",
            "sweep",
            lambda row: row["in_model"] if row["heads_per_job"] == "all" else None,
            "{:.1%}",
            lambda share: share >= 0.9,
        ),
        every(
            "the sweep's prefill runs at half of the card's matrix product or more",
            "sweep",
            lambda row: row.get("of_peak_in_prefill") if row["layer"] == 0 else None,
            "{:.0%}",
            lambda share: share >= 0.5,
        ),
        _sharing(parts.get("sweep")),
    ]


def _pruned(part: Part | None, batch: int, visual: int) -> list[Claim]:
    """HAWK at 80 % beside the unpruned model: KV cache, prefill, memory."""
    texts = (
        f"batch {batch}: at 80 % the KV cache shrinks as the prompt does",
        f"batch {batch}: at 80 % the prefill, selection included, has 70 % of the token-count ideal",
        f"batch {batch}: pruning at 80 % takes no more memory than the unpruned model",
    )
    what = {"batch": batch, "visual": visual}
    plain = part.find(**what, method="unpruned") if part else None
    pruned = part.find(**what, method="hawk", ratio="0.8") if part else None
    if plain is None or pruned is None:
        return [Claim(text, "", None) for text in texts]
    tokens = plain["prompt_tokens"]
    ideal = tokens / (tokens - plain["visual_tokens"] + pruned["kept_tokens"])
    cache = plain["kv_cache_bytes"] / pruned["kv_cache_bytes"]
    prefill = plain["prefill_ms"] / (pruned["prefill_ms"] + pruned["token_score_ms"])
    before, after = plain["peak_memory_bytes"], pruned["peak_memory_bytes"]
    return [
        Claim(texts[0], f"{cache:.2f} x of {ideal:.2f} x", abs(cache / ideal - 1) < 0.01),
        Claim(texts[1], f"{prefill:.2f} x of {ideal:.2f} x", prefill >= 0.7 * ideal),
        Claim(texts[2], f"{after / 1e9:.2f} of {before / 1e9:.2f} GB", after <= 1.001 * before),
    ]


def _sharing(part: Part | None) -> Claim:
    text = "heads of the last layer that share a job are scored at least twice as fast as alone"
    rows = [r for r in part.rows if r["layer"] > 0] if part else []
    rate = {row["heads_per_job"]: row["head_samples_per_s"] for row in rows}
    if 1 not in rate or "all" not in rate:
        return Claim(text, "", None)
    return Claim(text, f"{rate['all'] / rate[1]:.1f} x", rate["all"] >= 2 * rate[1])


def markdown(found: Mapping[str, Any]) -> str:
    """docs/gpu.json as a page: what is claimed first, then every measurement."""
    lines = [
        "# On a GPU",
        "",
        f"Written by `make gpu` on {found['date']}: {found['device']}, {found['versions']}. Geometry "
        f"{found['geometry']}, random weights, which say nothing about accuracy. Medians; gpu.json has all.",
    ]
    for note in found.get("notes", []):  # written into gpu.json by hand
        lines += ["", note]
    lines += ["", "## Claims", "", "| held | what | measured |", "|---|---|---|"]
    words = {True: "yes", False: "**no**", None: "not measured"}
    lines += [f"| {words[one['held']]} | {one['text']} | {one['found']} |" for one in found["claims"]]
    for name, part in found["parts"].items():
        lines += ["", f"## {name.capitalize()}", ""]
        if part["status"] != "ok":
            lines += [f"{part['status'].capitalize()}: {_notes(part['notes'])}", ""]
        lines += _table(part["rows"])
    return "\n".join([*lines, ""])


def _notes(notes: list[str]) -> str:
    late = [note for note in notes if note.startswith("not measured")]
    other = [note for note in notes if note not in late]
    if late:
        other.append(f"{len(late)} rows were not measured for want of time (gpu.json names them)")
    return "; ".join(other or ["see gpu.json"]) + "."


def _table(rows: list[Row]) -> list[str]:
    columns = list(
        dict.fromkeys(key for row in rows for key, value in row.items() if not isinstance(value, dict))
    )
    if not columns:
        return []
    heads = [column.replace("_bytes", "_GB").replace("_", " ") for column in columns]
    out = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(columns)]
    return out + [
        "| " + " | ".join(_cell(row.get(column), column.endswith("_bytes")) for column in columns) + " |"
        for row in rows
    ]


def _cell(value: Any, in_bytes: bool) -> str:
    if value is None:
        return ""
    if in_bytes:
        return f"{value / 1e9:.3f}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)

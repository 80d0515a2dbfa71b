"""The step ``tables``: ``tables/retention`` as parquet, CSV and Markdown; its words for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hawk.core.paths import RunPaths

if TYPE_CHECKING:
    import pandas as pd
import textwrap
from collections.abc import Iterator, Sequence

import pandas as pd
import pyarrow as pa

from hawk.analysis.comparison import BASELINE, MAJORITY, OVERALL
from hawk.core import files as records
from hawk.core.schemas import CONTROLS, RETENTION


def cost_markdown(table: pd.DataFrame) -> str:
    """The paper's columns (latency, KV cache, memory) and where the time goes."""
    head = [
        "variant", "removed", "kept tokens", "latency, ms", "speed-up", "vision, ms",
        "token score, ms", "prefill, ms", "prefill speed-up", "decode, ms per token",
        "KV cache, MB", "KV cache, %", "peak memory, MB",
    ]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in table.itertuples():
        cells = [
            row.variant, row.pruning_ratio, str(row.kept_tokens), f"{row.total_ms:.1f}",
            f"×{row.speedup:.2f}", f"{row.vision_ms:.1f}", f"{row.token_score_ms:.2f}",
            f"{row.prefill_ms:.1f}", f"×{row.prefill_speedup:.2f}",
            f"{row.decode_ms_per_token:.2f}", f"{row.kv_cache_mb:.2f}",
            f"{row.kv_cache_share:.1f}", f"{row.peak_memory_mb:.0f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(
        [*lines, "", "Medians over repeats; speed-ups against the unpruned model in between.", ""]
    )


def _frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Through Arrow, so that absent words are None and absent numbers NaN, as in the file."""
    return pa.Table.from_pylist(list(rows), schema=RETENTION).to_pandas()


def read_retention(root: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The comparison table and the settings it was made with."""
    path = RunPaths(root).table("retention", "parquet")
    table = records.read_table(path, RETENTION, {"table": "retention"})
    return table.to_pandas(), records.provenance_of(table, path)["settings"]


def read_controls(root: str) -> pd.DataFrame:
    path = RunPaths(root).table("controls", "parquet")
    return records.read_table(path, CONTROLS, {"table": "controls"}).to_pandas()


# --- words --------------------------------------------------------------------------------------------


def number(value: Any, digits: int = 1, sign: bool = False) -> str:
    """A rounded number; an empty string for null, and never ``-0.0``."""
    if value is None or pd.isna(value):
        return ""
    rounded = round(float(value), digits) + 0.0
    return f"{rounded:+.{digits}f}" if sign else f"{rounded:.{digits}f}"


def interval(low: Any, high: Any, sign: bool = False) -> str:
    if low is None or pd.isna(low):
        return ""
    return f"[{number(low, sign=sign)}, {number(high, sign=sign)}]"


def p_text(value: Any) -> str:
    if value is None or pd.isna(value):
        return ""
    return "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def hypotheses(frame: pd.DataFrame) -> int:
    """How many were tested together; with one benchmark, overall is the same one again."""
    tested = frame[frame["p_adjusted"].notna()]
    own = tested[tested["benchmark"] != OVERALL]
    return len(own) if own["benchmark"].nunique() == 1 else len(tested)


def ordered(frame: pd.DataFrame) -> pd.DataFrame:
    """Ratio by ratio, best first; the baseline on top and the majority answer at the end."""
    place = {BASELINE: 0, MAJORITY: 2}
    keys = pd.DataFrame(
        {
            "place": [place.get(name, 1) for name in frame["variant"]],
            "ratio": pd.to_numeric(frame["pruning_ratio"]).fillna(2.0),
            "retention": -frame["retention"],
            "variant": frame["variant"],
        },
        index=frame.index,
    )
    return frame.loc[keys.sort_values(list(keys.columns), kind="stable").index]


def text_table(
    frame: pd.DataFrame, benchmark: str = OVERALL, settings: Mapping[str, Any] | None = None
) -> str:
    """One benchmark's comparison for a terminal, at most 80 columns."""
    rows = [["variant", "cut", "kept", "ret. %", "", "vs ref", "", "p", ""]]
    for row in ordered(frame[frame["benchmark"] == benchmark]).to_dict("records"):
        rows.append(
            [
                row["variant"],
                _word(row["pruning_ratio"]),
                number(row["kept_tokens"], 0),
                number(row["retention"]),
                interval(row["ci_low"], row["ci_high"]).replace(" ", ""),
                number(row["difference"], sign=True),
                interval(row["difference_low"], row["difference_high"]).replace(" ", ""),
                p_text(row["p_adjusted"]),
                _word(row["verdict"]),
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    # What is left of the line belongs to the name; numbers and verdicts are never cut.
    widths[0] = min(widths[0], 80 - sum(widths[1:]) - len(widths) + 1)
    left = {0, 4, 6, 8}
    lines = [
        " ".join(
            text.ljust(width) if i in left else text.rjust(width)
            for i, (text, width) in enumerate(zip([_short(row[0], widths[0]), *row[1:]], widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    if settings is not None:
        tests = hypotheses(frame)
        about = (
            f"{benchmark}: retention in % of the unpruned model, with "
            f"{100 * settings['statistics']['confidence']:g} % intervals over images. vs ref: paired, to "
            f"{settings.get('reference')}. p: sign flips, Holm over {tests}."
        )
        lines += ["", *textwrap.wrap(about, 80)]
    return "\n".join(lines)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""  # pandas may have turned None into NaN


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def markdown(frame: pd.DataFrame, settings: Mapping[str, Any]) -> str:
    """All tables in Markdown: overall first, then one per benchmark."""
    reference = settings.get("reference")
    confidence = 100 * settings["statistics"]["confidence"]
    tests = hypotheses(frame)
    lines = [
        "# Retention",
        "",
    ]
    lines.append(
        "Retention is the pruned in percent of the unpruned native value; overall is the "
        f"unweighted mean over benchmarks. Brackets are {confidence:g} % bootstrap intervals over "
        "images."
    )
    if reference is not None:
        lines.append(
            f"Differences are paired, to `{_cell(reference)}`, in points of retention. *better* and "
            f"*worse* need p < .05 in a sign-flip test over images, adjusted by Holm over all {tests} "
            "comparisons below; an interval alone decides nothing."
        )
    lines.append("Variants with seeds show their mean and, in parentheses, the range over seeds.")
    names = [OVERALL, *(n for n in dict.fromkeys(frame["benchmark"]) if n != OVERALL)]
    for name in names:
        part = ordered(frame[frame["benchmark"] == name])
        first = part.iloc[0]
        lines += [
            "",
            f"## {_cell(name)}",
            "",
            f"{int(first['samples'])} samples, {int(first['groups'])} images.",
            "",
        ]
        lines += _markdown_rows(part, "points" if name == OVERALL else "native value")
    return "\n".join(lines) + "\n"


def _markdown_rows(part: pd.DataFrame, value: str) -> Iterator[str]:
    published = part["published"].notna().any()
    head = ["variant", "removed", "kept of", value, "retention %", "interval"]
    head += ["difference", "interval", "p (Holm)", "verdict", "win / tie / loss"]
    kind = "retention" if value == "points" else "value"
    head += [f"published {kind}"] if published else []
    yield "| " + " | ".join(head) + " |"
    yield "|---|" + "---:|" * (len(head) - 1)
    for row in part.to_dict("records"):
        spread = ""
        if row["seeds"] > 1:
            spread = f" ({number(row['seed_low'])} to {number(row['seed_high'])})"
        counts = [number(row[key], 0) for key in ("wins", "ties", "losses")]
        cells = [
            _cell(row["variant"]),
            _word(row["pruning_ratio"]),
            f"{number(row['kept_tokens'])} of {number(row['visual_tokens'])}",
            number(row["native_value"]),
            number(row["retention"]) + spread,
            interval(row["ci_low"], row["ci_high"]),
            number(row["difference"], sign=True),
            interval(row["difference_low"], row["difference_high"], sign=True),
            p_text(row["p_adjusted"]),
            _word(row["verdict"]),
            " / ".join(counts) if counts[0] else "",
        ]
        cells += [number(row["published"])] if published else []
        yield "| " + " | ".join(cells) + " |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

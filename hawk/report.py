"""The step ``report``: one HTML file that opens offline from disk and asks the network for nothing.

All styles, scripts and pictures are inside; a content security policy forbids anything else. Every
string that comes from a file is escaped.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from hawk import records
from hawk.errors import InputError
from hawk.paths import RunPaths
from hawk.tables import read_controls, read_retention
from hawk.weights import HeadWeights

ASSETS = Path(__file__).parent / "assets"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass
class Run:
    """What a run has produced so far; parts that do not exist are None or empty."""

    config: Mapping[str, Any]
    paths: RunPaths
    drops: pd.DataFrame | None = None
    drops_made: Mapping[str, Any] = field(default_factory=dict)
    stability: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, HeadWeights] = field(default_factory=dict)
    retention: pd.DataFrame | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    controls: pd.DataFrame | None = None
    cost: pd.DataFrame | None = None
    cost_made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def confidence(self) -> float:
        """Level of all intervals, percent."""
        settings = self.settings or self.drops_made["settings"]
        return round(100 * settings["statistics"]["confidence"], 4)

    @classmethod
    def read(cls, config: Mapping[str, Any], root: str) -> Run:
        run = cls(config, RunPaths(root))
        paths = run.paths
        if Path(paths.drops()).is_file():
            table = records.read_table(paths.drops(), records.DROPS, {"table": "drops"})
            run.drops = table.to_pandas()
            run.drops_made = records.provenance_of(table, paths.drops())
            found = json.loads(Path(paths.stability()).read_text(encoding="utf-8"))
            run.stability = found["interventions"]
            run.weights = {
                name: HeadWeights.load(paths.head_weights(name))
                for name in dict.fromkeys(run.drops["intervention"])
                if Path(paths.head_weights(name)).is_file()
            }
        if Path(paths.table("retention", "parquet")).is_file():
            run.retention, run.settings = read_retention(root)
            if Path(paths.table("controls", "parquet")).is_file():
                run.controls = read_controls(root)
        if Path(paths.cost()).is_file():
            measured = records.read_table(paths.cost(), records.COST, {"table": "cost"})
            run.cost, run.cost_made = measured.to_pandas(), records.provenance_of(measured, paths.cost())
        if run.drops is None and run.retention is None:
            raise InputError(
                f"{root}: neither drops.parquet nor tables/retention.parquet; nothing to report."
            )
        return run


def make_report(config: Mapping[str, Any], root: str, output: str | None = None) -> str:
    """Write the report of all that exists under ``root``; returns its path."""
    from hawk import report_heads
    from hawk import report_parts as parts

    output = output or RunPaths(root).report()
    run = Run.read(config, root)
    sections: list[tuple[str, str, Callable[[Run], str]]] = [
        ("verdict", "What it says", parts.verdict),
        ("run", "What was run", parts.what_was_run),
        ("heads", "Which heads matter", report_heads.heads),
        ("weights", "Head weights and noise", report_heads.weights),
        ("retention", "Retention", parts.retention),
        ("tokens", "Kept tokens", parts.kept_tokens),
        ("cost", "Cost", parts.cost),
        ("reading", "How to read this", parts.reading),
    ]
    done = [(key, title, text) for key, title, make in sections if (text := make(run))]
    records.write_text(
        output, page(str(config.get("run", Path(root).name)), done, report_heads.head_data(run))
    )
    return output


def page(name: str, sections: Sequence[tuple[str, str, str]], data: Mapping[str, Any]) -> str:
    """The whole document. ``data`` is what the script draws from."""
    style = (ASSETS / "report.css").read_text(encoding="utf-8")
    script = (ASSETS / "report.js").read_text(encoding="utf-8")
    links = "".join(f'<a href="#{key}">{escape(title)}</a>' for key, title, _ in sections)
    body = "".join(
        f'<section id="{key}"><h2>{escape(title)}</h2>{text}</section>' for key, title, text in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}: head importance and pruning</title><style>{style}</style></head>"
        f"<body><main><header><h1>{escape(name)}: head importance and pruning</h1><nav>{links}</nav></header>"
        f'{body}</main><div id="tip" role="tooltip"></div>'
        f'<script type="application/json" id="head-data">{script_json(data)}</script>'
        f"<script>{script}</script></body></html>\n"
    )


# --- small parts ------------------------------------------------------------------------------------


def escape(text: object) -> str:
    return html.escape(str(text), quote=True)


def script_json(value: Any) -> str:
    """JSON that cannot end its script element, whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def picture(path: str, alt: str, caption: str = "") -> str:
    """A figure file as a data URI; an empty string if there is none."""
    file = Path(path)
    if not file.is_file():
        return ""
    kind = {".png": "image/png", ".svg": "image/svg+xml"}[file.suffix]
    code = base64.b64encode(file.read_bytes()).decode("ascii")
    note = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img alt="{escape(alt)}" src="data:{kind};base64,{code}">{note}</figure>'


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1, names: str = "") -> str:
    def cells(row: Sequence[Any], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=left' if i < left else ''}>{escape(cell)}</{tag}>" for i, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="{names}"><thead><tr>{cells(head, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )

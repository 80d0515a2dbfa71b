"""The tables of docs/findings.md, from the recorded results: no number on that page is typed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hawk.analysis.comparison import OVERALL
from hawk.core.errors import InputError
from hawk.report.numbers import interval, number, p_text
from hawk.study.plan import LEFT_OUT, OPPONENTS

BLOCKS = ("choice", "evaluation")


def update(page: str, record: Path) -> str:
    """The page with its blocks written anew from the results in ``record``."""
    for block in BLOCKS:
        begin, end = f"<!-- study: {block} -->", f"<!-- end of {block} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(page):
            raise InputError(f"the findings page has no block between {begin!r} and {end!r}.")
        text = f"{begin}\n\n{_RENDER[block](record)}\n\n{end}"
        page = pattern.sub(lambda _, text=text: text, page)  # type: ignore[misc]
    return page


def _signed(bounds: Sequence[float]) -> str:
    low, high = bounds
    return interval(low, high, sign=True)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


# --- development --------------------------------------------------------------------------------------


def choice_block(record: Path) -> str:
    made, chosen = _read(record / "development.json"), _read(record / "choice.json")["chosen"]
    models, ratios = list(made["models"]), made["ratios"]
    asked = "; ".join(f"{n} {one['samples']} questions" for n, one in made["samples"].items())
    lines = [
        f"Models: {', '.join(models)}. {asked}. Retention in percent of the unpruned model, mean over "
        "benchmarks and models; the difference is paired, to `sel`, averaged over the ratios. Brackets are "
        "95 % intervals over images. Candidates in the first table, everything else in the second.",
    ]
    for candidate in (True, False):
        head = ["variant", *(f"at {ratio}" for ratio in ratios), "mean", "interval", "to `sel`", "interval"]
        head += models if len(models) > 1 else []
        body = []
        rows = [row for row in made["rows"] if row["candidate"] is candidate]
        for row in sorted(rows, key=lambda row: -row["mean"]):
            name = f"**`{row['variant']}`**" if row["variant"] in chosen else f"`{row['variant']}`"
            cells = [name, *(number(row["retention"][ratio]) for ratio in ratios), number(row["mean"])]
            cells.append(interval(*row["interval"]))
            if row["variant"] == "sel":
                cells += ["", ""]
            else:
                cells.append(number(row["difference"], sign=True))
                cells.append(_signed(row["difference_interval"]))
            cells += [number(row["by_model"][model]) for model in models] if len(models) > 1 else []
            body.append(cells)
        lines += ["", *table(head, body)]
    lines += ["", f"Chosen, in bold, by the rule: {_read(record / 'choice.json')['rule']}."]
    return "\n".join(lines)


# --- evaluation ---------------------------------------------------------------------------------------


def evaluation_block(record: Path) -> str:
    path = record / "evaluation.json"
    if not path.exists():
        return "Not evaluated yet: the choice above is frozen, its evaluation on fresh images is to be run."
    made = _read(path)
    names = list(made["samples"])
    asked = ", ".join(f"{name} {count}" for name, count in made["samples"].items())
    developed = set(_read(record / "choice.json")["models"])
    later = [model for model in made["models"] if model not in developed]
    lines = [
        f"{len(made['models'])} models; questions: {asked}; {made['images']} images. "
        + (f"Not among the models of the choice: {', '.join(later)}. " if later else "")
        + f"One family of {len(made['tests'])} tests.",
        "",
        "Unpruned accuracy, percent:",
        "",
        *table(
            ["model", *names],
            [[m, *(number(one[name]) for name in names)] for m, one in made["unpruned"].items()],
        ),
    ]
    scopes = list(dict.fromkeys(row["scope"] for row in made["retention"]))
    lines += ["", "### In words", "", *verdicts(made)]
    for scope in scopes:
        lines += ["", f"### {scope}", "", *_retention(made, scope, names)]
        lines += ["", "<details><summary>All paired comparisons</summary>", ""]
        lines += [*_tests(made, scope), "", "</details>"]
    return "\n".join(lines)


def _retention(made: Mapping[str, Any], scope: str, names: Sequence[str]) -> Iterable[str]:
    rows = [row for row in made["retention"] if row["scope"] == scope]
    rows.sort(key=lambda row: (row["ratio"], -row["retention"]))
    body = [
        [
            row["ratio"],
            f"`{row['variant']}`",
            number(row["retention"]),
            interval(*row["interval"]),
            *(number(row["by_benchmark"][name]) for name in names),
        ]
        for row in rows
    ]
    return table(["removed", "variant", "retention %", "interval", *names], body)


def _tests(made: Mapping[str, Any], scope: str) -> Iterable[str]:
    rows = [row for row in made["tests"] if row["scope"] == scope and row["benchmark"] == OVERALL]
    rows.sort(key=lambda row: (row["variant"], OPPONENTS.index(row["opponent"]), row["ratio"]))
    body = [
        [
            f"`{row['variant']}`",
            f"`{row['opponent']}`",
            row["ratio"],
            number(row["difference"], sign=True),
            _signed(row["interval"]),
            p_text(row["p_adjusted"]),
            row["verdict"],
        ]
        for row in rows
    ]
    return table(["variant", "against", "removed", "difference", "interval", "p (Holm)", "verdict"], body)


def verdicts(made: Mapping[str, Any]) -> list[str]:
    """Per scope and chosen variant: against whom it is better, worse or not told apart, at each ratio."""
    lines = []
    for scope in dict.fromkeys(row["scope"] for row in made["tests"]):
        for variant in [*made["chosen"], *(one + LEFT_OUT for one in made["chosen"])]:
            rows = [
                row
                for row in made["tests"]
                if (row["scope"], row["variant"], row["benchmark"]) == (scope, variant, OVERALL)
            ]
            parts = []
            for kind, words in (
                ("better", "better than"),
                ("worse", "worse than"),
                ("—", "not told apart from"),
            ):
                by_opponent: dict[str, list[str]] = {}
                for row in rows:
                    if row["verdict"] == kind:
                        by_opponent.setdefault(row["opponent"], []).append(row["ratio"])
                if by_opponent:
                    listed = "; ".join(f"`{one}` at {', '.join(at)}" for one, at in by_opponent.items())
                    parts.append(f"{words} {listed}")
            lines.append(f"- {scope}, `{variant}`: {'. '.join(parts)}.")
    return lines


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(row) + " |" for row in body),
    ]


_RENDER = {"choice": choice_block, "evaluation": evaluation_block}

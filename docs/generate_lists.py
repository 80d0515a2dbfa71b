"""Write docs/methods.md: every pruning method, benchmark and model family in a line, from the registries.

A published benchmark that data/versions.tsv does not list gets its row there, without a commit until fetched.

python docs/generate_lists.py            # write both
python docs/generate_lists.py --check    # fail where the page is out of date
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from hawk import benchmarks, models, pruning
from hawk.core import ledger
from hawk.core.variants import COMPARISON_KEYS
from hawk.pruning.options import facts

PAGE = Path(__file__).parent / "methods.md"

INTRODUCTION = """\
# Methods, benchmarks and model families

<!-- Written by docs/generate_lists.py from the registries; do not edit by hand. -->

Names are those of a config. Every method takes the options `rounding`, `budget` and `position_policy`, which
a comparison sets for all of them alike (`evaluation.*`). Where a method differs from its authors'
published code, and which option gives their choice: [Differences from published code](deviations.md).
"""


def page() -> str:
    """The whole page."""
    lines = [
        INTRODUCTION,
        "## Pruning methods",
        "",
        *_table(("method", "keeps", "paper", "options"), _methods()),
    ]
    lines += ["", "### Their options", ""]
    lines += _table(("option", "of", "allowed and default", "what it is"), _options())
    lines += ["", "## Benchmarks", ""]
    lines += _table(("benchmark", "what it asks", "family", "questions"), _benchmarks())
    lines += ["", "A *family* shares images; its benchmarks are left out of a calibration together.", ""]
    lines += ["## Model families", "", *_table(("`config.model_type`", "what it is"), _families())]
    return "\n".join(lines) + "\n"


def _methods() -> Iterator[tuple[str, ...]]:
    for name in pruning.REGISTRY:
        found = facts(name)
        own = [f"`{option}`" for option in found.options if option not in COMPARISON_KEYS]
        yield f"`{name}`", found.summary, found.paper, ", ".join(own)


def _options() -> Iterator[tuple[str, ...]]:
    """Methods' own options, as their classes (or those above them) explain them; equal ones once."""
    methods: dict[tuple[str, ...], list[str]] = {}
    for name, place in pruning.REGISTRY.items():
        module, _, cls = place.partition(":")
        explained: dict[str, tuple[str, str]] = {}
        for kind in reversed(getattr(import_module(module), cls).__mro__):
            explained.update(_parameters(inspect.getdoc(kind) or ""))
        for option in facts(name).options:
            if option in COMPARISON_KEYS:
                continue
            if option not in explained:
                raise SystemExit(f"{cls}: its docstring explains no parameter {option!r}.")
            methods.setdefault((option, *explained[option]), []).append(f"`{name}`")
    for (option, allowed, meaning), names in methods.items():
        yield f"`{option}`", ", ".join(names), allowed, meaning


def _parameters(doc: str) -> dict[str, tuple[str, str]]:
    """Of a numpy docstring: parameter → what it may be, and its meaning on one line."""
    text = doc.partition("Parameters\n----------\n")[2]
    found = re.findall(r"^([\w, ]+) : (.+)\n((?:    .*\n?)+)", text, re.MULTILINE)
    return {
        name: (allowed, _plain(" ".join(meaning.split())))
        for names, allowed, meaning in found
        for name in names.split(", ")
    }


def _plain(text: str) -> str:
    """Without the roles of Sphinx."""
    return re.sub(r":\w+:`([^`]+)`", r"`\1`", text)


def _benchmarks() -> Iterator[tuple[str, ...]]:
    for name, place in benchmarks.REGISTRY.items():
        module, _, cls = place.partition(":")
        kind = getattr(import_module(module), cls)
        text = vars(kind).get("__doc__") or ""
        text = text if text and not text.startswith(f"{cls}(") else import_module(module).__doc__ or ""
        rows = getattr(kind, "published_rows", None)
        made_here = module in ("hawk.benchmarks.easy_vqa", "hawk.benchmarks.scenes")
        count = f"{rows:,}" if rows else "made here" if made_here else "none"
        yield f"`{name}`", _first_line(text), kind.family, count


def _families() -> Iterator[tuple[str, ...]]:
    for name, place in models.REGISTRY.items():
        module = Path(__file__).parents[1].joinpath(*place.partition(":")[0].split(".")).with_suffix(".py")
        text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
        yield f"`{name}`", _first_line(text)


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0]


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    names = list(head)
    yield f"| {' | '.join(names)} |"
    yield "|" + "---|" * len(names)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def enter_benchmarks() -> None:
    """A row in data/versions.tsv for every published benchmark that has none: known, not yet fetched."""
    known = {row["name"] for row in ledger.read() if row["kind"] == "dataset"}
    for name in benchmarks.REGISTRY:
        bench: Any = benchmarks.benchmark(name)
        from_hub = getattr(bench, "hub_id", None) and bench.options.get("source") != "tsv"
        if name in known or not from_hub:
            continue
        row = {"id": bench.hub_id, "config": bench.hub_config or "", "split": bench.hub_split}
        row |= {"rows": str(bench.published_rows), "licence": bench.licence}
        ledger.record({"name": name, "kind": "dataset", **row})


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        same = PAGE.read_text(encoding="utf-8") == page()
        raise SystemExit(None if same else f"{PAGE} is out of date: python docs/generate_lists.py")
    enter_benchmarks()
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")

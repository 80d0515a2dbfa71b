"""Write config/README.md: every key of a run's config in words, from config/schemas/config.schema.yaml.

python docs/generate_config_readme.py            # write the page
python docs/generate_config_readme.py --check    # fail where it is out of date
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
SCHEMA = ROOT / "config" / "schemas" / "config.schema.yaml"
# Definitions whose entries stand in lists, each with a table of its own.
LISTED = {"ablation": "An ablation", "weights": "A weights recipe", "variant": "A variant"}
PAGE = ROOT / "config" / "README.md"

INTRODUCTION = """\
# Configuration

<!-- Written by docs/generate_config_readme.py from the schema in this folder; do not edit by hand. -->

A config describes one run: a model, the benchmarks on which its attention heads are measured, and the
pruners that are compared. Everything a run makes lies under `outputs/<run>/`. What depends on the machine
(partitions, memory, jobs at once) is not in a config but in `profiles/`.

The workflow runs `config/config.yaml` unless told otherwise: a small model and five benchmarks that ship with
it, a few minutes on two cores, nothing to download. Any other file is given with `--configfile`:

<!-- run: long -->
```bash
snakemake --cores 2 --configfile config/tiny_internvl.yaml       # in a clone
hawk run --cores 2 --configfile tiny_internvl                    # installed, from any folder
```

Write one for a model of your own with `hawk init MODEL`, which reads layers and heads from the model; look at
the jobs with `hawk plan --config FILE`; fetch models and data with `hawk fetch --config FILE`. A mistake in a
config is reported before any job starts.

The jobs call `python -m hawk`, so `hawk-vlm[workflow]` must be installed where Snakemake runs. In another
workflow: `module hawk: snakefile: ".../Snakefile"; config: config["hawk"]`, and `use rule * from hawk`.

Relative paths (`model.path`, a definition under `data`, weight files) are looked up in the working directory,
then among the files that ship with hawk, such as `data/models/tiny-qwen2.5-vl`.

## Keys
"""


def page(schema: Mapping[str, Any]) -> str:
    """The whole page."""
    lines = [INTRODUCTION]
    lines += _table(schema, schema, simple_only=True)
    for key, node in schema["properties"].items():
        if "properties" in node:
            lines += ["", f"### `{key}`", "", f"{node['description']}{_state(key, node, schema)}", ""]
            lines += _table(node, schema)
    for name, title in LISTED.items():
        lines += ["", f"### {title}", "", schema["$defs"][name]["description"], ""]
        lines += _table(schema["$defs"][name], schema)
    return "\n".join(lines) + "\n"


def _table(section: Mapping[str, Any], schema: Mapping[str, Any], simple_only: bool = False) -> list[str]:
    lines = ["| key | what it is | allowed | default |", "|---|---|---|---|"]
    for key, node in section["properties"].items():
        if simple_only and "properties" in node:
            continue
        cells = [f"`{key}`", _about(node, schema), _allowed(node, schema), _default(key, node, section)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _state(key: str, node: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    return "" if key in schema["required"] else " May be left out."


def _about(node: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    text = node.get("description") or _target(node, schema).get("description", "")
    return text.replace("|", "\\|")


def _target(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The definition that a node refers to, or the node itself."""
    if "$ref" not in node:
        return node
    return schema["$defs"][node["$ref"].removeprefix("#/$defs/")]


def _allowed(node: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What may stand there, in words."""
    title = LISTED.get(node.get("$ref", "").removeprefix("#/$defs/"), "")
    if title:
        return f"[{title[0].lower()}{title[1:]}](#{title.lower().replace(' ', '-')})"
    node = _target(node, schema)
    if "enum" in node:
        return ", ".join(f"`{_value(value)}`" for value in node["enum"])
    if "const" in node:
        return f"`{_value(node['const'])}`"
    if "oneOf" in node:
        return ", or ".join(_allowed(choice, schema) for choice in node["oneOf"])
    types = node["type"] if isinstance(node["type"], list) else [node["type"]]
    return " or ".join(_typed(kind, node, schema) for kind in types)


def _typed(kind: str, node: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if kind == "array":
        few = "" if "minItems" in node else ", may be empty"
        return f"list of: {_allowed(node['items'], schema)}{few}"
    if kind == "string" and node.get("pattern", "").startswith("^[A-Za-z0-9"):
        return "a name of letters, digits, `.`, `_`, `-`"
    if kind == "string" and "pattern" in node:
        return f"text like `{node['pattern']}`".replace("|", "\\|")
    word = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "`true` or `false`",
        "object": "mapping",
        "null": "`null`",
    }[kind]
    return " ".join([word, *_bounds(node)]) if kind in ("integer", "number") else word


def _bounds(node: Mapping[str, Any]) -> Iterator[str]:
    words = {
        "minimum": "from {}",
        "exclusiveMinimum": "above {}",
        "maximum": "to {}",
        "exclusiveMaximum": "below {}",
    }
    for key, text in words.items():
        if key in node:
            yield text.format(node[key])


def _default(key: str, node: Mapping[str, Any], section: Mapping[str, Any]) -> str:
    if key in section.get("required", ()):
        return "**required**"
    return f"`{_value(node['default'])}`" if "default" in node else "none"


def _value(value: Any) -> str:
    """A value as YAML writes it on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")


def main() -> None:
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    text = page(schema)
    if "--check" in sys.argv[1:]:
        same = PAGE.read_text(encoding="utf-8") == text
        raise SystemExit(None if same else f"{PAGE} is out of date: python docs/generate_config_readme.py")
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

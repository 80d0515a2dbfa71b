"""A user's own benchmark without code: a table of questions, and a YAML that says how to read it.

docs/benchmarks.md explains every key and has a worked example that a test runs.
"""

from __future__ import annotations

import dataclasses
import json
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Benchmark, Sample
from hawk.benchmarks.bases.dataset import Identities
from hawk.benchmarks.bases.multiple_choice import LETTERS, lettered
from hawk.benchmarks.rules import metrics
from hawk.benchmarks.rules.choices import REFUSED, extract_option, infer_option
from hawk.benchmarks.rules.metrics import listed
from hawk.benchmarks.rules.normalise import vqa_text
from hawk.benchmarks.rules.protocols import ALL
from hawk.benchmarks.sources.tables import files_hash, local_parquet, parquet_rows, read_file, root_of
from hawk.core.errors import InputError, unknown
from hawk.core.shipped import resolve

KEYS = ("file", "images", "version", "family", "columns", "prompt", "parser", "metric", "max_new_tokens")
COLUMNS = ("id", "question", "answer", "image", "options", "hint", "category", "group")
ENDINGS = (".parquet", ".csv", ".tsv", ".jsonl")
TEMPLATE = ("question", "options", "hint", "category")


def _yes_no(text: str, sample: Sample) -> str | None:
    word = metrics.yes_or_no(text)
    return None if word == metrics.UNKNOWN else word


def _letter(text: str, sample: Sample) -> str | None:
    letter = infer_option(text, lettered(sample.options))
    return None if letter == REFUSED else letter


PARSERS: dict[str, Callable[[str, Sample], str | None]] = {
    "text": lambda text, sample: text.strip() or None,
    "vqa": lambda text, sample: vqa_text(text) or None,
    "yes_no": _yes_no,
    "letter": _letter,
    "letter_anywhere": lambda text, sample: extract_option(text, LETTERS[: len(sample.options)]),
}
METRICS: dict[str, Callable[[str, Sequence[str]], float]] = {
    "equal": lambda text, refs: max(metrics.same_text(text, one) for one in refs),
    "vqa_accuracy": lambda text, refs: metrics.vqa_accuracy(vqa_text(text), [vqa_text(one) for one in refs]),
    "relaxed_accuracy": lambda text, refs: max(metrics.relaxed_match(text, one) for one in refs),
    "anls": lambda text, refs: metrics.anls(text, refs),
    "contains": lambda text, refs: metrics.contains_reference(text, refs, metrics.ocr_text),
}


@dataclass(frozen=True)
class Custom(Benchmark):
    """Made by :func:`custom`, which gives each its own name, version and family."""

    protocols: ClassVar[tuple[str, ...]] = ALL
    definition: ClassVar[Mapping[str, Any]]
    folder: ClassVar[Path]

    # --- data ---------------------------------------------------------------------------------
    @property
    def columns(self) -> Mapping[str, Any]:
        return self.definition["columns"]

    def origin(self) -> dict[str, str | None]:
        """The table's name and checksum; images are in every sample's ``group_id``."""
        file = self.folder / self.definition["file"]
        files = local_parquet(self.name, file)
        return {
            "source": "custom",
            "id": str(self.definition["file"]),
            "sha256": files_hash(root_of(files, None), files),
        }

    def load(self) -> Iterator[Sample]:
        identify = Identities()
        for sample in self._drafts():
            identify.tie(sample.metric_group, identify(sample))
        for sample in self._drafts():
            yield dataclasses.replace(sample, group_id=identify.connected(identify(sample)))

    def _drafts(self) -> Iterator[Sample]:
        path = self.folder / self.definition["file"]
        for number, row in enumerate(table_rows(self.name, path)):
            yield self._sample(row, number)

    def _sample(self, row: Mapping[str, Any], number: int) -> Sample:
        options = self._options(row, number)
        references = listed(self._cell(row, "answer", number))
        if self.definition["parser"].startswith("letter"):
            references = tuple(self._as_letter(one, options, number) for one in references)
        group = self._cell(row, "group", number, None)
        hint = self._cell(row, "hint", number, None)
        category = self._cell(row, "category", number, None)
        fields = {
            "question": str(self._cell(row, "question", number)),
            "options": "\n".join(f"{letter}. {one}" for letter, one in lettered(options).items()),
            "hint": "" if hint is None else str(hint),
            "category": "" if category is None else str(category),
        }
        return Sample(
            sample_id=str(self._cell(row, "id", number, number)),
            group_id="",
            question=self.definition["prompt"].format(**fields),
            references=references,
            images=tuple(self._images(row, number)),
            options=options,
            category=fields["category"] or None,
            metric_group=None if group is None else str(group),
        )

    def _cell(self, row: Mapping[str, Any], what: str, number: int, default: Any = ...) -> Any:
        """The cell that a column of the definition names."""
        column = self.columns.get(what)
        if column is None and default is not ...:
            return default
        if column not in row:
            raise self._wrong(number, f"no column {column!r} ({what}). It has: {', '.join(map(str, row))}.")
        value = row[str(column)]
        empty = value is None or value == ""
        if empty and default is ...:
            raise self._wrong(number, f"column {column!r} ({what}) is empty.")
        return default if empty else value

    def _options(self, row: Mapping[str, Any], number: int) -> tuple[str, ...]:
        named = self.columns.get("options")
        if isinstance(named, list):  # one column per option; the last may be empty
            for column in named:
                if column not in row:
                    raise self._wrong(number, f"no column {column!r} (options).")
            return tuple(str(row[column]) for column in named if row[column] not in (None, ""))
        return listed(self._cell(row, "options", number, None))

    def _as_letter(self, answer: str, options: tuple[str, ...], number: int) -> str:
        """An answer given as a letter, as an option's text, or as its number from 0."""
        if answer in options:
            return LETTERS[options.index(answer)]
        if answer.strip().upper() in LETTERS[: len(options)] and answer.strip():
            return answer.strip().upper()
        if answer.isdecimal() and int(answer) < len(options):
            return LETTERS[int(answer)]
        raise self._wrong(number, f"answer {answer!r} is none of the options {list(options)}.")

    def _images(self, row: Mapping[str, Any], number: int) -> Iterator[dict[str, Any]]:
        """Paths relative to the folder of images, or encoded images inside a parquet."""
        value = self._cell(row, "image", number)
        if isinstance(value, bytes | Mapping):
            value = [value]
        for one in value if isinstance(value, list) else listed(value):
            if isinstance(one, Mapping) and one.get("bytes"):
                yield {"bytes": one["bytes"], "path": one.get("path")}
            elif isinstance(one, bytes):
                yield {"bytes": one, "path": None}
            else:
                name = one["path"] if isinstance(one, Mapping) else one
                yield read_file(self.folder / self.definition["images"] / str(name))

    def from_answer(self, row: Mapping[str, Any], number: int) -> Sample:
        """A sample for scoring alone, from a row of predictions."""
        if "references" not in row:
            raise InputError(f"benchmark {self.name!r}, row {number}: no 'references'.")
        options = listed(row.get("options"))
        if self.definition["parser"].startswith("letter") and not options:
            raise InputError(
                f"benchmark {self.name!r}, row {number}: no 'options'; its parser looks for a letter."
            )
        names = ("category", "metric_group")
        return Sample(
            sample_id=str(row.get("sample_id", number)),
            group_id="",
            question="",
            references=listed(row["references"]),
            options=options,
            **{name: row[name] for name in names if row.get(name)},
        )

    def _wrong(self, number: int, text: str) -> InputError:
        return InputError(f"benchmark {self.name!r}, {self.definition['file']}, row {number + 1}: {text}")

    # --- prompt and scoring ---------------------------------------------------------------------
    def max_new_tokens(self, protocol: str = DEFAULT_PROTOCOL) -> int:
        return self.definition["max_new_tokens"]

    def parse(self, prediction: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str | None:
        return PARSERS[self.definition["parser"]](prediction, sample)

    def score(self, parsed: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> float:
        return float(METRICS[self.definition["metric"]](parsed, sample.references))


def custom(name: str, options: Mapping[str, Any]) -> Custom:
    """The benchmark that ``data.{name}.definition`` describes."""
    for key in options:
        if key not in ("definition", "protocol"):
            raise unknown(f"key (data.{name})", key, ("definition",))
    path = Path(resolve(options["definition"])).expanduser()
    definition = read_definition(path)
    family = definition["family"] or re.sub(r"\W", "_", name)
    if not re.fullmatch(r"\w+", str(family)):  # part of the names of weight files
        raise InputError(f"{path}: family {family!r}; letters, digits and _ are allowed.")
    namespace = {
        "name": name,
        "version": definition["version"],
        "family": family,
        "definition": definition,
        "folder": path.parent,
    }
    return type("Custom", (Custom,), namespace)(options=options)


def read_definition(path: Path) -> dict[str, Any]:
    """A definition with its defaults, or an error that names the key."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file (definition of a benchmark).")
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(given, dict):
        raise InputError(f"{path}: expected keys and values, found {type(given).__name__}.")
    for key in given:
        if key not in KEYS:
            raise unknown(f"key in {path}", key, KEYS)
    defaults = {"images": ".", "version": 1, "family": None, "parser": "text", "metric": "equal"}
    result = {**defaults, "max_new_tokens": 16, **given}
    for key in ("file", "columns", "prompt"):
        if key not in result:
            raise InputError(f"{path}: the key {key!r} is missing.")
    for kind, known in (("parser", PARSERS), ("metric", METRICS)):
        if result[kind] not in known:
            raise unknown(f"{kind} in {path}", result[kind], known)
    for key in ("version", "max_new_tokens"):
        if not isinstance(result[key], int) or isinstance(result[key], bool) or result[key] < 1:
            raise InputError(f"{path}: {key} is {result[key]!r}; a whole number from 1 is allowed.")
    _check_columns(path, result["columns"])
    _check_template(path, result["prompt"])
    if result["parser"].startswith("letter") and "options" not in result["columns"]:
        raise InputError(f"{path}: parser {result['parser']!r} needs columns.options.")
    return result


def _check_columns(path: Path, columns: Any) -> None:
    if not isinstance(columns, dict):
        raise InputError(f"{path}: columns is {columns!r}; it maps {', '.join(COLUMNS)} to column names.")
    for key in columns:
        if key not in COLUMNS:
            raise unknown(f"key columns in {path}", key, COLUMNS)
    for key in ("question", "answer", "image"):
        if key not in columns:
            raise InputError(f"{path}: columns.{key} is missing.")


def _check_template(path: Path, template: Any) -> None:
    """Only plain names in braces: no attributes, no formats."""
    try:
        parts = list(string.Formatter().parse(str(template)))
    except ValueError as error:
        raise InputError(f"{path}: prompt {template!r}: {error}; write {{{{ for a brace.") from None
    for _, field, form, conversion in parts:
        if field is not None and (field not in TEMPLATE or form or conversion):
            raise unknown(f"field of the prompt in {path}", field, TEMPLATE)


def table_rows(name: str, path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a parquet file or folder, a CSV, a TSV or a JSONL; cells of text stay as written."""
    ending = path.suffix.lower()
    if path.is_dir() or ending == ".parquet":
        yield from _parquet(name, path)
        return
    if ending not in ENDINGS:
        raise unknown(f"kind of file ({path})", ending, ENDINGS)
    if not path.is_file():
        raise InputError(f"benchmark {name!r}: there is no file {path}.")
    if ending == ".jsonl":
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(filter(str.strip, lines), start=1):
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as error:
                    raise InputError(f"{path}, line {number}: not JSON ({error}).") from None
        return
    import csv

    with open(path, encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t" if ending == ".tsv" else ",")


def _parquet(name: str, path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    files = local_parquet(name, path)
    yield from parquet_rows(files, pq.read_schema(files[0]).names)

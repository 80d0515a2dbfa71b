"""A user's own benchmark without code: a table of questions, and a YAML that says how to read it.

docs/benchmarks.md explains every key and has a worked example that a test runs.
"""

from __future__ import annotations

import dataclasses
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Number
from pathlib import Path
from typing import Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Benchmark, Sample
from hawk.benchmarks.bases.dataset import Identities
from hawk.benchmarks.bases.multiple_choice import LETTERS, lettered
from hawk.benchmarks.bases.vqa import ANNOTATORS
from hawk.benchmarks.rules import metrics
from hawk.benchmarks.rules.cells import answers, is_empty, items, options, scalars, shown, text, trimmed
from hawk.benchmarks.rules.choices import REFUSED, extract_option, infer_option
from hawk.benchmarks.rules.normalise import vqa_text
from hawk.benchmarks.rules.protocols import ALL
from hawk.benchmarks.sources.table_files import ENDINGS, table_rows
from hawk.benchmarks.sources.tables import files_hash, local_parquet, read_file, root_of
from hawk.core.errors import InputError, misspelt, unknown
from hawk.core.shipped import resolve
from hawk.core.values import whole
from hawk.core.yaml_files import read_yaml
from hawk.core.yaml_places import Places

DEFAULTS: dict[str, Any] = {
    "images": ".",
    "version": 1,
    "family": None,
    "parser": "text",
    "metric": "equal",
    "answers": "auto",
    "max_new_tokens": 16,
}
KEYS = ("file", "columns", "prompt", *DEFAULTS)
COLUMNS = ("id", "question", "answer", "image", "options", "hint", "category", "group")
LONGEST_ANSWER = 100_000  # tokens
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
    "letter_anywhere": lambda text, sample: extract_option(text, list(lettered(sample.options))),
}
# Both sides of a comparison are in the parser's form already.
METRICS: dict[str, Callable[[str, Sequence[str]], float]] = {
    "equal": lambda text, refs: max(metrics.same_text(text, reference) for reference in refs),
    "vqa_accuracy": lambda text, refs: metrics.vqa_accuracy(
        vqa_text(text), [vqa_text(reference) for reference in refs]
    ),
    "relaxed_accuracy": lambda text, refs: max(metrics.relaxed_match(text, reference) for reference in refs),
    "anls": lambda text, refs: metrics.anls(text, refs),
    "contains": lambda text, refs: metrics.contains_reference(text, refs, metrics.ocr_text),
}
# Why a parser and a metric do not go together: what the one leaves, the other cannot measure.
_CHOSEN = "it gives one of a few words, and only 'equal' compares those"
REFUSED_PAIRS: dict[tuple[str, str], str] = {
    **{
        (parser, metric): _CHOSEN
        for parser in ("yes_no", "letter", "letter_anywhere")
        for metric in METRICS
        if metric != "equal"
    },
    ("vqa", "relaxed_accuracy"): "its form of an answer drops the sign of a number; use parser 'text'",
}


@dataclass(frozen=True)
class Custom(Benchmark):
    """Made by :func:`custom`, which gives each its own name, version and family."""

    protocols: ClassVar[tuple[str, ...]] = ALL
    takes: ClassVar[Mapping[str, str]] = {"protocol": "str", "definition": "str"}
    definition: ClassVar[Mapping[str, Any]]
    folder: ClassVar[Path]

    # --- data ---------------------------------------------------------------------------------
    @property
    def columns(self) -> Mapping[str, Any]:
        return self.definition["columns"]

    def require_table(self) -> None:
        """Refuse a table that is not there, or of a kind that cannot be read."""
        file = self.folder / self.definition["file"]
        if file.is_dir():
            local_parquet(self.name, file)
        elif not file.is_file():
            raise InputError(f"benchmark {self.name!r}: its data file {file} does not exist.")
        elif file.suffix.lower() not in ENDINGS:
            raise unknown(f"kind of file ({file})", file.suffix, ENDINGS)

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
        identify, readings = Identities(self.name), Readings()
        for number, row in enumerate(self._rows()):
            sample = self._sample(row, number, readings)
            identify.tie(sample.metric_group, identify(sample))
        for number, row in enumerate(self._rows()):
            sample = self._sample(row, number)
            yield dataclasses.replace(sample, group_id=identify.connected(identify(sample)))

    def _rows(self) -> Iterator[dict[str, Any]]:
        return table_rows(self.name, self.folder / self.definition["file"])

    def _sample(self, row: Mapping[str, Any], number: int, readings: Readings | None = None) -> Sample:
        with self._named(number):
            choices = self._options(row)
            references = self._answers(self._cell(row, "answer"), choices, number, readings)
            fields = {
                "question": self._text(row, "question", ...),
                "options": "\n".join(f"{letter}. {option}" for letter, option in lettered(choices).items()),
                "hint": self._text(row, "hint", ""),
                "category": self._text(row, "category", ""),
            }
            return Sample(
                sample_id=self._text(row, "id", number),
                group_id="",
                question=self.definition["prompt"].format(**fields),
                references=references,
                images=tuple(self._images(row)),
                options=choices,
                category=fields["category"] or None,
                metric_group=self._text(row, "group", "") or None,
            )

    @contextmanager
    def _named(self, number: int) -> Iterator[None]:
        """Errors within say which row of which file they are about."""
        try:
            yield
        except InputError as error:
            where = f"benchmark {self.name!r}, {self.definition['file']}, row {number + 1}"
            raise InputError(f"{where}: {error}") from None

    def _cell(self, row: Mapping[str, Any], what: str, default: Any = ...) -> Any:
        """The cell that a column of the definition names."""
        column = self.columns.get(what)
        if column is None and default is not ...:
            return default
        if column is None or column not in row:
            raise InputError(f"no column {column!r} ({what}). It has: {', '.join(map(str, row))}.")
        value = row[column]
        if is_empty(value) and default is ...:
            raise InputError(f"column {column!r} ({what}) is empty.")
        return default if is_empty(value) else value

    def _text(self, row: Mapping[str, Any], what: str, default: Any) -> str:
        """The cell as text; a structure, bytes or a date has no one spelling, and is refused."""
        value = self._cell(row, what, default)
        if not isinstance(value, str | Number):
            column = self.columns[what]
            raise InputError(f"column {column!r} ({what}) is {shown(value)}; a text or a number is allowed.")
        return str(value)

    def _options(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """An empty option is "", so that those behind it keep their letters."""
        named = self.columns.get("options")
        if not isinstance(named, list):
            return options(self._cell(row, "options", None))
        for column in named:  # one column per option
            if column not in row:
                raise InputError(f"no column {column!r} (options).")
        return trimmed(text(row[column]) or "" for column in named)

    def _answers(
        self, value: Any, choices: tuple[str, ...], number: int, readings: Readings | None = None
    ) -> tuple[str, ...]:
        """The references in the parser's form."""
        parser, how = self.definition["parser"], self.definition["answers"]
        if self.definition["metric"] == "vqa_accuracy":  # every annotator counts, a silent one too
            references = tuple(text(cell) or "" for cell in scalars(value, "an answer"))
            references = references if any(references) else answers(value)
        else:
            references = answers(value)
        if parser.startswith("letter"):
            letters = []
            for answer in references:
                reading, letter = read_letter(answer, choices, how)
                letters.append(letter)
                if readings is not None and how == "auto":
                    readings.add(reading, answer, number)
            return tuple(letters)
        if parser == "yes_no":
            return tuple(metrics.yes_no_answer(given) for given in references)
        return tuple(map(vqa_text, references)) if parser == "vqa" else references

    def _images(self, row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Paths relative to the folder of images, or encoded images inside a parquet."""
        value = self._cell(row, "image")
        for cell in [value] if isinstance(value, bytes | Mapping) else items(value):
            content = cell.get("bytes") if isinstance(cell, Mapping) else cell
            path = text(cell.get("path")) if isinstance(cell, Mapping) else None
            if isinstance(content, bytes) and content:
                yield {"bytes": content, "path": path}
                continue
            name = path if isinstance(cell, Mapping) else cell
            if not isinstance(name, str) or text(name) is None:
                raise InputError(f"the image is {shown(cell)}; a path is allowed, or an encoded image.")
            yield read_file(self.folder / self.definition["images"] / name)

    def as_references(self, value: Any, options: Sequence[str] = ()) -> tuple[str, ...]:
        return self._answers(value, tuple(options), 0)

    def from_answer(self, row: Mapping[str, Any], number: int) -> Sample:
        """A sample for scoring alone, from a row with ``references`` or with the table's own columns."""
        what = f"benchmark {self.name!r}, row {number}"
        answer = row.get("references")
        if is_empty(answer):
            answer = row.get(str(self.columns["answer"]))
        if is_empty(answer):
            raise InputError(f"{what}: no 'references'.")
        try:
            choices = options(row.get("options"))
            if not choices and "options" in self.columns:
                named = self.columns["options"]
                there = named in row if isinstance(named, str) else set(named) <= set(row)
                choices = self._options(row) if there else ()
            if self.definition["parser"].startswith("letter") and not choices:
                raise InputError("no 'options'; its parser looks for a letter.")
            references = self._answers(answer, choices, number)
        except InputError as error:
            raise InputError(f"{what}: {error}") from None
        id_cells = [row.get(column) for column in ("sample_id", self.columns.get("id")) if column is not None]
        return Sample(
            sample_id=next((name for cell in id_cells if (name := text(cell))), str(number)),
            group_id="",
            question="",
            references=references,
            options=choices,
            category=text(row.get("category")),
            metric_group=text(row.get("metric_group")),
        )

    # --- prompt and scoring ---------------------------------------------------------------------
    def max_new_tokens(self, protocol: str = DEFAULT_PROTOCOL) -> int:
        return self.definition["max_new_tokens"]

    def parse(self, prediction: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str | None:
        return PARSERS[self.definition["parser"]](prediction, sample)

    def score(self, parsed: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> float:
        return float(METRICS[self.definition["metric"]](parsed, sample.references))

    def check_reachable(self, sample: Sample, protocol: str | None = None) -> None:
        if self.definition["metric"] == "vqa_accuracy" and len(sample.references) < ANNOTATORS:
            raise InputError(
                f"benchmark {self.name!r}, sample {sample.sample_id!r}: {len(sample.references)} annotators' "
                f"answers; metric vqa_accuracy leaves one out in turn and needs {ANNOTATORS} that agree. One "
                "right answer is compared by metric equal."
            )
        super().check_reachable(sample, protocol)


# --- letters of answers ----------------------------------------------------------------------------
READINGS = ("letter", "text", "number")


def read_letter(answer: str, options: Sequence[str], how: str = "auto") -> tuple[str, str]:
    """How an answer names an option, and the option's letter.

    how: ``letter`` (in either case), ``text`` (of the option, exactly), ``number`` (from 0), or ``auto``:
    whatever it can be; where it can be two and they name different options, an InputError.
    """
    letters, answer = lettered(options), answer.strip()
    number = re.fullmatch(r"(\d+)(\.0+)?", answer)
    named = {
        "letter": [letter for letter in letters if letter == answer.upper()],
        "text": [letter for letter, content in letters.items() if content.strip() == answer],
        "number": [
            letter for letter in letters if number and letter == LETTERS[int(number[1]) : int(number[1]) + 1]
        ],
    }
    letter_by_reading = {
        reading: named[reading][0] for reading in READINGS if named[reading] and how in ("auto", reading)
    }
    if not letter_by_reading:
        way = "" if how == "auto" else f" read as a {how} (answers: {how})"
        raise InputError(f"answer {answer!r}{way} is none of the options {list(letters.values())}.")
    if len(set(letter_by_reading.values())) > 1:
        read = ", ".join(f"as a {reading} {letter}" for reading, letter in letter_by_reading.items())
        raise InputError(
            f"answer {answer!r} can be read in two ways: {read}. Say which in the definition, as "
            f"answers: {next(iter(letter_by_reading))}; allowed: {', '.join(READINGS)}."
        )
    reading, letter = next(iter(letter_by_reading.items()))
    return (reading if len(letter_by_reading) == 1 else "any"), letter


class Readings:
    """How the answers of one column were read: numbers beside texts or letters are two rules in one."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, int]] = {}

    def add(self, reading: str, answer: str, number: int) -> None:
        self._first.setdefault(reading, (answer, number))
        for other in ("letter", "text"):
            if "number" in self._first and other in self._first:
                (text, row), (index, at) = self._first[other], self._first["number"]
                raise InputError(
                    f"answers are read in two ways: {text!r} (row {row + 1}) as a {other}, {index!r} (row "
                    f"{at + 1}) as a number. Say which in the definition, as answers: {other}."
                )


# --- definitions -----------------------------------------------------------------------------------
def custom(name: str, options: Mapping[str, Any]) -> Custom:
    """The benchmark that ``data.{name}.definition`` describes."""
    for key in options:
        if key not in ("definition", "protocol"):
            raise unknown(f"key (data.{name})", key, ("definition",))
    if not isinstance(options["definition"], str | Path):
        raise InputError(f"data.{name}.definition is {shown(options['definition'])}; a path is allowed.")
    path = Path(resolve(str(options["definition"]))).expanduser()
    definition = read_definition(path)
    family = definition["family"] or re.sub(r"\W", "_", name)
    namespace = {
        "name": name,
        "version": definition["version"],
        "family": family,
        "definition": definition,
        "folder": path.parent,
    }
    return type("Custom", (Custom,), namespace)(options=options)


def read_definition(path: Path) -> dict[str, Any]:
    """A definition with its defaults, or an error that names file, line and key."""
    given = read_yaml(path, "definition of a benchmark")
    result = {**DEFAULTS, **given}
    try:
        _check_definition(given, result)
    except InputError as error:
        raise InputError(f"{Places([path]).of_message(str(error))}: {error}") from None
    return result


def _check_definition(given: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """given: as written; result: with defaults. Every message begins with the key it is about."""
    for key in given:
        if key not in KEYS:
            raise misspelt(f"{key}: unknown key", key, KEYS)
    for key in ("file", "columns", "prompt"):
        if key not in result:
            raise InputError(f"the key {key!r} is missing.")
    for key in ("file", "images", "prompt", "parser", "metric", "answers"):
        if not isinstance(result[key], str) or not result[key]:
            raise InputError(f"{key} is {shown(result[key])}; a text is allowed.")
    choices = (("parser", PARSERS), ("metric", METRICS), ("answers", ("auto", *READINGS)))
    for kind, known in choices:
        if result[kind] not in known:
            raise misspelt(f"{kind} is {result[kind]!r}, which is unknown", result[kind], known)
    for key, most in (("version", 1_000_000_000), ("max_new_tokens", LONGEST_ANSWER)):
        whole(result[key], key, 1, most)
    family = result["family"]
    if family is not None and not isinstance(family, str):
        raise InputError(f"family is {shown(family)}; a text is allowed.")
    if family is not None and not re.fullmatch(r"\w+", family):  # part of the names of weight files
        raise InputError(f"family is {family!r}; letters, digits and _ are allowed.")
    _check_columns(result["columns"])
    _check_template(result["prompt"])
    parser, metric = result["parser"], result["metric"]
    if (parser, metric) in REFUSED_PAIRS:
        raise InputError(f"parser {parser!r} with metric {metric!r}: {REFUSED_PAIRS[parser, metric]}.")
    if parser.startswith("letter") and "options" not in result["columns"]:
        raise InputError(f"parser {parser!r} needs columns.options.")
    if result["answers"] != "auto" and not parser.startswith("letter"):
        raise InputError(f"answers is {result['answers']!r}; parser {parser!r} gives no letter.")


def _check_columns(columns: Any) -> None:
    if not isinstance(columns, dict):
        raise InputError(f"columns is {shown(columns)}; it maps {', '.join(COLUMNS)} to column names.")
    for key, column in columns.items():
        if key not in COLUMNS:
            raise misspelt(f"columns.{key}: unknown key", key, COLUMNS)
        several = isinstance(column, list) and key == "options"
        for name in column if several else [column]:
            if column is not None and (not isinstance(name, str) or not name):
                allowed = "a column's name, or a list of them" if key == "options" else "a column's name"
                raise InputError(f"columns.{key} is {shown(column)}; {allowed} is allowed.")
        if several and not 2 <= len(column) <= len(LETTERS):
            raise InputError(f"columns.options has {len(column)} names; 2 to {len(LETTERS)} are allowed.")
    for key in ("question", "answer", "image"):
        if columns.get(key) is None:
            raise InputError(f"columns.{key} is missing.")


def _check_template(template: Any) -> None:
    """Only plain names in braces: no attributes, no formats."""
    try:
        parts = list(string.Formatter().parse(str(template)))
    except ValueError as error:
        raise InputError(f"prompt {template!r}: {error}; write {{{{ for a brace.") from None
    for _, field, form, conversion in parts:
        if field in TEMPLATE and (form or conversion):
            raise InputError(f"prompt: {field!r} is written with a format; its name alone is allowed.")
        if field is not None and field not in TEMPLATE:
            raise misspelt(f"prompt: {field!r} is no field of the prompt", field, TEMPLATE)

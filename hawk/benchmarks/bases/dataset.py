"""What the published benchmarks share: loading, image identity, metric groups, protocol and style."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Benchmark, Sample
from hawk.benchmarks.rules import protocols
from hawk.benchmarks.rules.cells import is_empty, text
from hawk.benchmarks.rules.metrics import listed
from hawk.benchmarks.sources.tables import Source, files_hash, open_source, root_of
from hawk.core.errors import InputError, unknown
from hawk.core.images import pixel_hash

if TYPE_CHECKING:
    import pandas as pd


OPTIONS = ("source", "id", "config", "revision", "split", "path", "prompt", "protocol")
# Between the levels of a category: "logical reasoning > diagram reasoning".
LEVEL = " > "
# A metric group ends in its number of rows, so that a missing row is noticed.
COUNT = "#"
# Columns in which a row of predictions may have its answer, the first that has something.
ANSWERS = ("references", "answer", "answers", "gt_answer", "correct_choice")
# Under this key a row says that it is of a harness's result file: it is scored as upstream scores it.
HARNESS = "\0harness"


@dataclass(frozen=True)
class DatasetBenchmark(Benchmark):
    """A benchmark whose rows are a dataset on the Hub, a copy of it, or a TSV of VLMEvalKit."""

    hub_id: ClassVar[str]
    hub_config: ClassVar[str | None] = None
    hub_split: ClassVar[str] = "test"
    columns: ClassVar[tuple[str, ...]]  # of the Hub's table
    optional_columns: ClassVar[tuple[str, ...]] = ()
    tsv: ClassVar[str | None] = None  # VLMEvalKit's name of its file
    tsv_columns: ClassVar[tuple[str, ...]] = ("index", "question", "answer")
    published_rows: ClassVar[int]
    licence: ClassVar[str] = "not stated"
    grouped: ClassVar[bool] = False  # rows have metric groups
    keys: ClassVar[tuple[str, ...]] = ()  # columns of names from which groups are made
    takes: ClassVar[Mapping[str, str]] = dict.fromkeys(OPTIONS, "str")
    protocols: ClassVar[tuple[str, ...]] = protocols.ALL
    lmms_tokens: ClassVar[int] = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.style not in protocols.STYLES:
            raise unknown(f"prompt style (data.{self.name}.prompt)", self.style, protocols.STYLES)
        if self.protocol not in protocols.ALL:
            raise unknown(f"protocol (data.{self.name}.protocol)", self.protocol, protocols.ALL)

    @property
    def style(self) -> str:
        """Whose prompts within VLMEvalKit's protocol."""
        return self.options.get("prompt") or "default"

    @property
    def protocol(self) -> str:
        """Whose aggregate, where harnesses differ in it."""
        return self.options.get("protocol") or DEFAULT_PROTOCOL

    def max_new_tokens(self, protocol: str = DEFAULT_PROTOCOL) -> int:
        self.check_protocol(protocol)
        if protocol == protocols.LMMS_EVAL:
            return self.lmms_tokens
        return protocols.VLMEVALKIT_TOKENS[self.style]

    # --- data ---------------------------------------------------------------------------------
    @abstractmethod
    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample | None:
        """A sample from a row of the Hub's table, group_id left empty; None: not usable."""

    def from_tsv(self, row: Mapping[str, Any], number: int) -> Sample | None:
        """A sample from a row of VLMEvalKit's TSV."""
        raise InputError(f"benchmark {self.name!r} has no TSV loader; use source hub or parquet.")

    def references(
        self, row: Mapping[str, Any], column: str, sample_id: str, options: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """A row's reference answers in the parser's form, from ``references`` or else its own column.

        A row of a harness's result file keeps an answer that no reply can meet: it scores 0 there as well.
        """
        value = row.get(column) if is_empty(row.get("references")) else row["references"]
        try:
            return self.as_references(value, options)
        except InputError as error:
            if row.get(HARNESS):
                return listed(value)
            raise InputError(f"benchmark {self.name!r}, sample {sample_id!r}: {error}") from None

    def from_answer(self, row: Mapping[str, Any], number: int) -> Sample:
        """A sample for scoring alone, from a row of predictions: no image, and no file is looked for.

        The row has the columns of the Hub's table, of VLMEvalKit's TSV, or ``references`` and
        whatever of those the metric needs. The answer may stand in any of ``ANSWERS``.
        """
        there = set(row)
        answer = next((row[column] for column in ANSWERS if not is_empty(row.get(column))), None)
        if answer is not None:
            empty = [column for column in ANSWERS if is_empty(row.get(column))]
            row = {**row, **dict.fromkeys([*empty, "references"], answer)}
        if "index" in self.keys and is_empty(row.get("index")) and not is_empty(row.get("sample_id")):
            row = {**row, "index": row["sample_id"]}
        names = {column: str(number) for column in ("index", "question_id", "id") if column not in self.keys}
        stand_ins = {"image": {"bytes": b"-", "path": None}, "question": "", "imageId": "", **names}
        filled = {column for column, cell in row.items() if cell is not None and column not in ANSWERS}
        stand_ins |= self.stand_ins()
        row = {**stand_ins, **{column: cell for column, cell in row.items() if cell is not None}}
        readers = [(self.from_hub, self.columns), (self.from_tsv, self.tsv_columns)]
        if type(self).from_tsv is DatasetBenchmark.from_tsv:
            readers.pop()
        # Stand-ins may fit the row to both tables: it is of the one that it was given more of.
        unread = {"image", *ANSWERS}
        readers.sort(
            key=lambda reader: (len(set(reader[1]) - filled - unread), -len(filled & set(reader[1])))
        )
        for read, needed in readers:
            if all(row.get(key) is not None for key in needed):
                sample = read(row, number)
                break
        else:
            missing = [column for column in self.columns if row.get(column) is None]
            what = "nothing in" if set(missing) <= there else "no"
            raise InputError(
                f"benchmark {self.name!r}, row {number}: {what} column {', '.join(map(repr, missing))} "
                f"(or VLMEvalKit's: {', '.join(self.tsv_columns)})."
            )
        if sample is None:
            raise InputError(f"benchmark {self.name!r}, row {number}: not a row that is scored.")
        if "index" in self.keys:  # groups are read from it
            return sample
        unnamed = sample.sample_id == str(number)  # a reader that counts rows
        columns = ("sample_id", *(names if unnamed else ()))
        own_id = next((name for column in columns if column in filled and (name := text(row[column]))), None)
        return sample if own_id is None else dataclasses.replace(sample, sample_id=own_id)

    def stand_ins(self) -> dict[str, Any]:
        """Cells that scoring does not read."""
        return {}

    def expected_rows(self, present: int) -> int:
        """How many rows a metric group has, of which ``present`` are there."""
        return present

    def lacking(self, members: Sequence[tuple[str, int]], rows: int) -> list[str]:
        """Sample ids that a metric group lacks, where those that it has tell.

        ``members``: (sample id, number of options) of its rows; ``rows``: of the whole table.
        """
        return []

    def check_complete(self, groups: Mapping[str, Sequence[tuple[str, int]]], rows: int) -> None:
        """Refuse groups that lack a row, naming it; arguments as of :meth:`lacking`."""
        for group, members in groups.items():
            missing = self.lacking(members, rows)
            if missing:
                raise InputError(
                    f"benchmark {self.name!r}: metric group {group!r} lacks {', '.join(missing[:8])}; it has "
                    f"{', '.join(sample_id for sample_id, _ in members[:8])}. Its metric needs all of them."
                )
            expected = self.expected_rows(len(members))
            if expected != len(members):
                ids = [sample_id for sample_id, _ in members]
                raise _incomplete(self.name, f"{group}{COUNT}{expected}", ids, expected)

    def source(self) -> Source:
        """Resolved once: rows and provenance are of one commit, should the branch move meanwhile."""
        return self._source

    @functools.cached_property
    def _source(self) -> Source:
        return open_source(
            self.name,
            self.options,
            hub_id=self.hub_id,
            config=self.hub_config,
            split=self.hub_split,
            tsv=self.tsv,
        )

    def origin(self) -> dict[str, str | None]:
        """As the ledger has it, where `hawk fetch` wrote it down; of local files the checksum alone."""
        described, files = dict(self.source().described), self.files()
        return {**described, "sha256": files_hash(root_of(files, described.get("revision")), files)}

    def files(self) -> tuple[Path, ...]:
        """Every local file that loading reads, downloaded first where the source is the Hub."""
        return self.source().files

    def load(self) -> Iterator[Sample]:
        source = self.source()
        identify = Identities(self.name)
        if not self.grouped:
            for sample in self._drafts(source):
                yield dataclasses.replace(sample, group_id=identify(sample))
            return
        # Twice over the rows: how many a group has and which images it ties is known at the end.
        groups: dict[str, list[tuple[str, int]]] = {}
        for sample in self._drafts(source):
            members = groups.setdefault(str(sample.metric_group), [])
            members.append((sample.sample_id, len(sample.options)))
            identify.tie(sample.metric_group, identify(sample))
        self.check_complete(groups, sum(map(len, groups.values())))
        for sample in self._drafts(source):
            rows_in_group = len(groups[str(sample.metric_group)])
            yield dataclasses.replace(
                sample,
                group_id=identify.connected(identify(sample)),
                metric_group=f"{sample.metric_group}{COUNT}{self.expected_rows(rows_in_group)}",
            )

    def _drafts(self, source: Source) -> Iterator[Sample]:
        tsv = source.kind == "tsv"
        read = self.from_tsv if tsv else self.from_hub
        columns = self.tsv_columns if tsv else self.columns
        for number, row in enumerate(source.rows(columns, self.optional_columns)):
            sample = read(row, number)
            if sample is not None:
                yield sample

    def score(self, parsed: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> float:
        """Right if it is the reference, letter by letter."""
        return float(parsed == sample.references[0])

    def sample(
        self,
        row: Mapping[str, Any],
        sample_id: str,
        question: str | None = None,
        options: Sequence[str] = (),
        category: str | None = None,
        metric_group: str | None = None,
        answer: str = "answer",
        video: Mapping[str, Any] | None = None,
    ) -> Sample:
        """A sample from a row of the Hub's table or a TSV, without its group_id.

        question: the cell of that name, unless given. answer: the column of the answer. Its images are the
        row's, unless it shows a video.
        """
        return Sample(
            sample_id=sample_id,
            group_id="",
            question=text(row["question"]) or "" if question is None else question,
            references=self.references(row, answer, sample_id, options),
            images=self.images(row, sample_id) if video is None else (),
            video=video,
            options=tuple(options),
            category=category,
            metric_group=metric_group,
            split=self.hub_split,
        )

    def images(self, row: Mapping[str, Any], sample_id: str) -> tuple[Mapping[str, Any], ...]:
        """The row's image with its original bytes; a row without one is an error."""
        image = row.get("image")
        if isinstance(image, bytes):
            image = {"bytes": image}
        if not isinstance(image, Mapping) or not isinstance(image.get("bytes"), bytes) or not image["bytes"]:
            raise InputError(f"benchmark {self.name!r}, sample {sample_id!r}: there is no image.")
        return ({"bytes": image["bytes"], "path": image.get("path")},)


class Identities:
    """Group ids of samples: the hash of what they show, one for all that a metric group ties."""

    def __init__(self, name: str) -> None:
        self._name = name  # of the benchmark
        self._seen: dict[bytes, str] = {}  # of encoded bytes → of pixels
        self._parent: dict[str, str] = {}
        self._first: dict[str, str] = {}
        self._names: dict[str, str] | None = None

    def __call__(self, sample: Sample) -> str:
        if sample.group_id:  # a video's loader knows its file
            return sample.group_id
        hashes = []
        for image in sample.images:
            key = hashlib.sha256(image["bytes"]).digest()
            if key not in self._seen:
                try:
                    self._seen[key] = pixel_hash(image["bytes"])
                except InputError as error:
                    raise InputError(
                        f"benchmark {self._name!r}, sample {sample.sample_id!r}: {error}"
                    ) from None
            hashes.append(self._seen[key])
        if len(hashes) == 1:
            return hashes[0]
        return hashlib.sha256(" ".join(hashes).encode()).hexdigest()

    def tie(self, metric_group: str | None, name: str) -> None:
        self._parent.setdefault(name, name)
        if metric_group is not None:
            first = self._first.setdefault(metric_group, name)
            self._parent[self._root(name)] = self._root(first)

    def connected(self, name: str) -> str:
        """The name itself where nothing is tied to it, else a hash of all that is."""
        if self._names is None:
            members: dict[str, list[str]] = {}
            for key in self._parent:
                members.setdefault(self._root(key), []).append(key)
            self._names = {
                root: tied[0]
                if len(tied) == 1
                else hashlib.sha256(" ".join(sorted(tied)).encode()).hexdigest()
                for root, tied in members.items()
            }
        return self._names[self._root(name)]

    def _root(self, name: str) -> str:
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name


# --- aggregates ------------------------------------------------------------------------------------
def check_groups(name: str, rows: pd.DataFrame) -> None:
    """Refuse a table in which a metric group lacks a row, naming the group."""
    group_sizes = rows["metric_group"].value_counts(sort=False)
    for group, rows_found in group_sizes.items():
        _, counted, expected = str(group).rpartition(COUNT)
        if counted and expected.isdecimal() and int(expected) != rows_found:
            ids = rows.loc[rows["metric_group"] == group, "sample_id"].tolist()
            raise _incomplete(name, group, ids, int(expected))


def _incomplete(name: str, group: object, ids: Sequence[object], expected: int) -> InputError:
    return InputError(
        f"benchmark {name!r}: metric group {group!r} has {len(ids)} of its {expected} rows "
        f"({', '.join(map(str, ids[:8]))}); its metric needs all of them."
    )


def check_categories(name: str, present: set[str], needed: tuple[str, ...]) -> None:
    """Refuse a table in which a category is missing or unknown, naming it."""
    missing = [key for key in needed if key not in present]
    if missing:
        raise InputError(
            f"benchmark {name!r}: no row of category {', '.join(map(repr, missing))}; the "
            "aggregate needs every category."
        )
    for category in sorted(present.difference(needed)):
        raise unknown(f"category of benchmark {name!r}", category, needed)


def levels(rows: pd.DataFrame) -> pd.DataFrame:
    """The levels of the categories, one column each; None where a row has none."""
    return rows["category"].fillna("").str.split(LEVEL, expand=True)

"""What a benchmark is: samples, prompt, parser, metric, and an aggregate that can be resampled.

A benchmark is one class in one file plus one line in :data:`hawk.benchmarks.REGISTRY`.

The aggregate is given in two parts, so that the statistics can recompute it thousands of times:
``contributions`` gives every row's share of some sums, ``value`` turns the sums into the native
value. A mean has the sums (score, 1); MME has, per category, (score, 1, pair right, pairs); an F1
has its counts. Resampling by ``group_id`` then only reweights the sums.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, ClassVar

from hawk.benchmarks.rules.cells import answers
from hawk.core.errors import InputError, unknown
from hawk.core.values import check_type

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

DEFAULT_PROTOCOL = "vlmevalkit"
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Sample:
    """One question with its image(s) or video. Mirrors a row of ``samples/{role}/{benchmark}.parquet``."""

    sample_id: str
    group_id: str  # SHA-256 of the decoded pixels: the unit of resampling and of role assignment
    question: str
    references: tuple[str, ...]
    images: tuple[Mapping[str, Any], ...] = ()  # {"bytes": encoded file, "path": name or None}
    video: Mapping[str, Any] | None = None  # {"bytes": ..., "path": ...}
    options: tuple[str, ...] = ()
    category: str | None = None
    metric_group: str | None = None  # rows that the metric needs together (an MME pair)
    split: str = ""
    # Where on its one image is what the question asks for: (left, top, right, bottom) in pixels of the image
    # as it is shown, right and bottom outside. Empty: it asks for what is not there. None: not known.
    relevant: tuple[Box, ...] | None = None


@dataclass(frozen=True)
class Benchmark(ABC):
    """Base class. Subclasses set the class attributes and override what differs.

    Every rule may depend on the protocol ("vlmevalkit", "ms-vlmeval-0.0.18", "lmms-eval"); a
    benchmark lists those it supports in ``protocols``.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1  # bump when prompt, parser or metric change; recorded in results
    family: ClassVar[str]  # benchmarks that share images have one family and are left out together
    native_max: ClassVar[float] = 100.0
    protocols: ClassVar[tuple[str, ...]] = (DEFAULT_PROTOCOL,)
    # True if rolled copies, pairs or categories must be complete for the aggregate to be defined
    needs_every_category: ClassVar[bool] = False
    knows_relevant: ClassVar[bool] = False  # do its samples say where the asked object is?
    # protocol → why it cannot be followed here (a judge model); such a protocol is an error
    refused: ClassVar[Mapping[str, str]] = {}

    # What the benchmark's config section may say: key → the type, as an annotation is written
    takes: ClassVar[Mapping[str, str]] = {"protocol": "str"}

    # The benchmark's own config section. ``options["protocol"]`` names the rules of the aggregate,
    # where harnesses differ in it; a step that aggregates puts the run's protocol there.
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an option that is not read here or cannot be: it would be dropped, or fail in a job."""
        for key, value in self.options.items():
            if key not in self.takes:
                raise unknown(f"key (data.{self.name})", key, self.takes)
            value = fspath(value) if isinstance(value, PathLike) else value
            check_type(self.takes[key], value, f"data.{self.name}.{key}")

    def check_protocol(self, protocol: str) -> None:
        """Refuse a protocol that this benchmark does not have, with the reason."""
        if protocol in self.refused:
            raise InputError(f"benchmark {self.name!r}, protocol {protocol!r}: {self.refused[protocol]}")
        if protocol not in self.protocols:
            raise unknown(f"protocol of benchmark {self.name!r}", protocol, self.protocols)

    # --- data ---------------------------------------------------------------------------------
    def origin(self) -> dict[str, str | None]:
        """Where the rows come from, for provenance: source, id, config, split, revision, sha256."""
        return {"source": "hawk", "id": self.name}  # made by this package, at its version

    @abstractmethod
    def load(self) -> Iterator[Sample]:
        """All usable samples, in a fixed order. The only method that may use the network."""
        ...

    # --- prompt ---------------------------------------------------------------------------------
    def prompt(self, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        """The text that follows the image(s) in the user turn."""
        return sample.question

    def messages(self, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> list[dict[str, Any]]:
        """The conversation in chat-template form. Visual parts stand before the text by default.

        Image parts carry no pixels: the i-th ``{"type": "image"}`` is ``sample.images[i]``.
        """
        content: list[dict[str, Any]] = [{"type": "image"} for _ in sample.images]
        if sample.video is not None:
            content.append({"type": "video"})
        content.append({"type": "text", "text": self.prompt(sample, protocol)})
        return [{"role": "user", "content": content}]

    def max_new_tokens(self, protocol: str = DEFAULT_PROTOCOL) -> int:
        return 16

    # --- reference answers ------------------------------------------------------------------------
    def as_references(self, value: Any, options: Sequence[str] = ()) -> tuple[str, ...]:
        """The answers in a cell in the form that the parser gives, whatever column they stand in.

        Raises InputError, which says what the cell holds, where nothing can be compared with it.
        """
        return answers(value)

    def perfect_answers(self, sample: Sample) -> tuple[str, ...]:
        """Texts of which a model that is right gives one."""
        return sample.references

    def wrong_answers(self, sample: Sample) -> tuple[str, ...]:
        """What is wrong, of a closed list of answers; empty where any other text may be the answer."""
        return ()

    def check_reachable(self, sample: Sample, protocol: str | None = None) -> None:
        """Refuse a reference that no answer can meet: under this protocol, or under none of them."""
        for each in [protocol] if protocol else self.protocols:
            for text in self.perfect_answers(sample):
                parsed = self.parse(text, sample, each)
                if parsed is not None and self.score(parsed, sample, each) > 0:
                    return
        raise InputError(
            f"benchmark {self.name!r}, sample {sample.sample_id!r}: no answer can be right by the reference "
            f"{', '.join(map(repr, sample.references[:4])) or 'none'}; its parser gives nothing equal to it."
        )

    def identity(self, sample_id: str) -> str:
        """What makes a question itself: two rows with the same are one question twice."""
        return sample_id

    # --- scoring --------------------------------------------------------------------------------
    def parse(self, prediction: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str | None:
        """The answer in the model's text, or None if there is none (recorded, score 0, never a guess)."""
        text = prediction.strip().lower()
        return text or None

    def score(self, parsed: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> float:
        """The sample's score in [0, 1]."""
        return float(parsed in {reference.strip().lower() for reference in sample.references})

    def first_word_score(
        self, prediction: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL
    ) -> float | None:
        """The score of the prediction's first word alone, by the same parser and metric.

        It tells an answer that begins right and goes on from one that is wrong. None where one word
        cannot be right: every answer that is has more of them.
        """
        if not any(self._scored(text, sample, protocol) for text in self._single_words(sample)):
            return None
        return self._scored(" ".join(prediction.split()[:1]), sample, protocol)

    def _single_words(self, sample: Sample) -> list[str]:
        return [text for text in self.perfect_answers(sample) if len(text.split()) == 1]

    def _scored(self, text: str, sample: Sample, protocol: str) -> float:
        parsed = self.parse(text, sample, protocol)
        return 0.0 if parsed is None else float(self.score(parsed, sample, protocol))

    # --- aggregate ------------------------------------------------------------------------------
    def contributions(self, rows: pd.DataFrame) -> np.ndarray:
        """Each row's share of the sums, float64 ``[rows, sums]``.

        ``rows`` has the columns of a score table joined with ``group_id``, ``metric_group`` and
        ``category`` of its samples. What belongs to a metric group (a pair that counts only when
        both are right) is put on the group's first row.
        """
        import numpy as np

        return np.column_stack([rows["score"].to_numpy(np.float64), np.ones(len(rows))])

    def value(self, sums: np.ndarray) -> np.ndarray:
        """Native value from sums ``[..., sums]`` → ``[...]``; linear in nothing but these sums."""
        return 100.0 * sums[..., 0] / sums[..., 1]

    def aggregate(self, rows: pd.DataFrame) -> float:
        """The native value of a table of scored rows."""
        return float(self.value(self.contributions(rows).sum(axis=0)))

    def report(self, rows: pd.DataFrame) -> dict[str, Any]:
        """What the harness prints: the aggregate and its parts, in the harness's own numbers."""
        return {"Overall": self.aggregate(rows)}

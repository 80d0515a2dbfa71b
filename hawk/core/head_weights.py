"""Head weights: the file that offline calibration makes and online pruning uses."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from hawk.core import hub, hub_card, values
from hawk.core.atomic import write_json
from hawk.core.errors import InputError, unknown
from hawk.core.heads import Geometry
from hawk.core.shipped import resolve
from hawk.core.shipped import shipped as shipped_files
from hawk.core.variants import TOKEN_SCORE, TOKEN_SCORE_VALUES

FORMATS = (1, 2)  # 2: with a mean query; what has none is written as 1, which older versions read
SIGNED = "signed"  # the weight_normalization under which a head may count against a token
SUM_TOLERANCE = 1e-6  # of a sum of rounded shares
SHIPPED = shipped_files("data", "head_weights")


@dataclass(frozen=True)
class HeadWeights:
    """Non-negative weights over the heads of the scoring layer, summing to 1 (HAWK, section 3).

    ``weights[i]`` belongs to query head ``i`` of layer ``layer``. ``token_score`` holds the options
    (normalization, reduction, rope, query_span) under which the weights were calibrated. With the
    ``weight_normalization`` "signed" (not the paper's) they may be negative, and their sizes sum to 1.

    ``mean_query``, ``[heads][head_dim]``, is the mean over calibration questions of each one's mean query at
    ``layer``, before rotary positions, which ``Hawk(query="calibrated")`` asks in place of a question.
    """

    weights: tuple[float, ...]
    geometry: Geometry
    layer: int = 0
    model: Mapping[str, Any] = field(default_factory=dict)  # id, revision, family
    weight_normalization: str = "none"
    intervention: str = "none"
    token_score: Mapping[str, Any] = field(default_factory=dict)
    per_benchmark: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    samples: Mapping[str, int] = field(default_factory=dict)
    calibration_groups: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=lambda: {"source": "built in Python"})
    mean_query: tuple[tuple[float, ...], ...] | None = field(default=None, repr=False)  # too long to print

    def __post_init__(self) -> None:
        if not isinstance(self.geometry, Geometry):
            raise values.refuse("head weights: geometry", self.geometry, "a Geometry, such as vlm.geometry")
        if isinstance(self.weights, str | bytes | Mapping | Set):  # keys, bytes, or in no order
            raise values.refuse("head weights: weights", self.weights, "a list of numbers, one per head")
        check_weights(self.weights, self.geometry.heads, "head weights", self.is_signed)
        if self.mean_query is not None:
            _check_query(self.mean_query, self.geometry)
        values.whole(self.layer, "head weights: layer", -(10**9), 10**9)
        for name in ("model", "token_score", "per_benchmark", "samples", "provenance"):
            values.mapping(getattr(self, name), f"head weights: {name}")
        if not 0 <= self.layer < self.geometry.layers:
            raise InputError(
                f"head weights: layer {self.layer} is outside the model's 0-{self.geometry.layers - 1}."
            )

    @property
    def is_signed(self) -> bool:
        """Whether a head may count against a token."""
        return self.weight_normalization == SIGNED

    @classmethod
    def uniform(cls, geometry: Geometry, layer: int = 0) -> HeadWeights:
        """Equal weight for every head: the control that any calibration must beat."""
        if not isinstance(geometry, Geometry):
            raise values.refuse("head weights: geometry", geometry, "a Geometry, such as vlm.geometry")
        return cls(weights=(1.0 / geometry.heads,) * geometry.heads, geometry=geometry, layer=layer)

    @classmethod
    def load(cls, source: str | Path, revision: str | None = None) -> HeadWeights:
        """From a shipped name (``"qwen2.5-vl-7b"``), a path, or a Hub id (``"user/repo"``).

        revision: a commit, branch or tag of the Hub repository; a commit never changes.
        Raises InputError for a missing file, another format, and any value that is not as it must be:
        weights finite, not negative (unless signed) and summing to 1, names that may be part of a path,
        words that are safe to print, a known token score, some provenance.
        """
        path = _resolve(str(source), revision)
        raw = values.read_json(path, "a head-weights file")
        format_of_file = raw.get("format") if isinstance(raw, dict) else type(raw).__name__
        if type(format_of_file) is not int or format_of_file not in FORMATS:
            known = " and ".join(map(str, FORMATS))
            raise InputError(
                f"{path}: format {values.shown(format_of_file)}; this version reads formats {known}."
            )
        try:
            return cls(**_checked(raw))
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def save(self, path: str | Path) -> None:
        """Write the JSON file, atomically. Raises InputError for what :meth:`load` would not read."""
        content = self.to_json()
        _checked(content)
        write_json(path, content)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        noise: Sequence[bool] | None = None,
        drops: Mapping[str, Sequence[float]] | None = None,
    ) -> str:
        """Upload to a Hub repository, made if need be, with a model card; returns the commit's id.

        ``HeadWeights.load(repo_id, revision=…)`` reads it back.
        token: None takes HF_TOKEN or the saved login.
        noise and drops: for the card, see :func:`hawk.core.hub_card.card`; ``hawk push`` reads them.
        Raises InputError, in one line, for a bad token, a bad name, or a connection that was lost.
        """
        content = json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        files = {
            hub.WEIGHTS_FILE: content.encode(),
            hub.CARD_FILE: hub_card.card(self, repo_id, noise, drops).encode(),
            hub.PICTURE_FILE: hub_card.picture(self),
        }
        message = f"Head weights of {self.model.get('id', 'a model')}, layer {self.layer}"
        return hub.upload(repo_id, files, message, private, token)

    def to_json(self) -> dict[str, Any]:
        """What a file holds. Its weights are shares: scoring divides by their sum anyway."""
        written = {} if self.mean_query is None else {"mean_query": [list(row) for row in self.mean_query]}
        return {
            "format": FORMATS[0] if self.mean_query is None else FORMATS[1],
            "model": {**self.model, **asdict(self.geometry)},
            "layer": self.layer,
            "weights": _shares(self.weights),
            "weight_normalization": self.weight_normalization,
            "intervention": self.intervention,
            "token_score": dict(self.token_score),
            "per_benchmark": {name: _shares(part) for name, part in self.per_benchmark.items()},
            "samples": dict(self.samples),
            "calibration_groups": self.calibration_groups,
            "provenance": dict(self.provenance),
            **written,
        }

    def check(self, geometry: Geometry) -> None:
        """Refuse a model whose language model has another attention geometry."""
        if geometry != self.geometry:
            raise InputError(
                f"these head weights are for {_describe(self.geometry)}; the model has "
                f"{_describe(geometry)}. Weights are specific to one model."
            )


def check_weights(
    weights: tuple[float, ...] | list[float], heads: int, what: str, signed: bool = False
) -> None:
    """Refuse a wrong count, values that are no finite numbers, negative ones unless signed, and all zeros."""
    if not hasattr(weights, "__len__") or len(weights) != heads:
        found = len(weights) if hasattr(weights, "__len__") else values.shown(weights)
        raise InputError(f"{what}: {found} weights for {heads} heads.")
    for index, value in enumerate(weights):
        if values.number(value, f"{what}: the weight of head {index}") < 0 and not signed:
            raise InputError(f"{what}: head {index} has weight {value!r}; it must be 0 or more.")
    if not any(weights):
        raise InputError(f"{what}: all weights are 0; at least one must be another number.")
    if not math.isfinite(_size(weights)):
        raise InputError(f"{what}: the sizes of the weights sum to {_size(weights)}; too large for a sum.")


def _check_query(query: Sequence[Sequence[float]], geometry: Geometry) -> None:
    """Refuse another shape than [heads][head_dim], and values that are no finite numbers."""
    shape = (geometry.heads, geometry.head_dim)
    lengths = {len(values.listed(row, "a row of mean_query")) for row in values.listed(query, "mean_query")}
    if len(query) != shape[0] or lengths != {shape[1]}:
        widths = " or ".join(map(str, sorted(lengths))) or "no"
        raise InputError(
            f"mean_query: {len(query)} rows of {widths} numbers; "
            f"the model has {shape[0]} heads of {shape[1]}."
        )
    for head, row in enumerate(query):
        for value in row:
            values.number(value, f"mean_query: a number of head {head}")


_KEYS = ("format", *(field.name for field in fields(HeadWeights) if field.name != "geometry"))


def _checked(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of :class:`HeadWeights` from a file's JSON, every value checked.

    Names become parts of paths, and words are printed: both are refused where they could do harm.
    """
    for key in raw:
        if key not in _KEYS:
            raise unknown("key", key, _KEYS)
    if raw.get("mean_query") is not None and raw["format"] != FORMATS[1]:
        raise InputError(f"format is {raw['format']}; a file with a mean_query is of format {FORMATS[1]}.")
    model = values.mapping(values.member(raw, "model"), "model")
    sizes = {
        key: values.whole(values.member(model, key, "model"), f"model.{key}", 1, 100_000)
        for key in ("layers", "heads", "kv_heads", "head_dim")
    }
    named = {key: value for key, value in model.items() if key not in sizes}
    for key, value in named.items():
        values.text(key, "a key of model")
        if value is not None:
            values.text(value, f"model.{key}")
    heads = sizes["heads"]
    if heads % sizes["kv_heads"]:
        raise InputError(f"model: {heads} heads cannot share {sizes['kv_heads']} key-value heads evenly.")
    normalization = values.text(values.member(raw, "weight_normalization"), "weight_normalization")
    signed = normalization == SIGNED
    weights = _weights(values.member(raw, "weights"), "weights", heads, signed)
    parts = values.mapping(values.member(raw, "per_benchmark"), "per_benchmark")
    samples = values.mapping(values.member(raw, "samples"), "samples")
    score = values.mapping(values.member(raw, "token_score"), "token_score")
    groups, provenance = (values.member(raw, key) for key in ("calibration_groups", "provenance"))
    query = raw.get("mean_query")
    if query is not None:
        rows = values.listed(query, "mean_query")
        query = tuple(tuple(values.listed(row, "a row of mean_query")) for row in rows)
    if score:
        score = {"reduction": "mean", **score}  # older files do not say it: there was no other
    if score and set(score) != set(TOKEN_SCORE):
        raise values.refuse("token_score", score, f"empty, or an object of {', '.join(TOKEN_SCORE)}")
    for benchmark in (*parts, *samples):
        values.name(benchmark, "a benchmark of per_benchmark and samples")
    for benchmark in parts:
        if benchmark not in samples:
            raise InputError(f"per_benchmark has {benchmark!r}, which samples do not name.")
    if not values.mapping(provenance, "provenance"):
        raise InputError("provenance is empty; it must say where the weights come from.")
    return {
        "weights": weights,
        "geometry": Geometry(**sizes),
        "layer": values.whole(values.member(raw, "layer"), "layer", 0, 100_000),
        "model": named,
        "weight_normalization": normalization,
        "intervention": values.text(values.member(raw, "intervention"), "intervention"),
        "token_score": {
            key: values.choice(value, f"token_score.{key}", TOKEN_SCORE_VALUES[key])
            for key, value in score.items()
        },
        "per_benchmark": {
            benchmark: _weights(part, f"per_benchmark.{benchmark}", heads, signed)
            for benchmark, part in parts.items()
        },
        "samples": {
            benchmark: values.whole(count, f"samples.{benchmark}", 1, 10**9)
            for benchmark, count in samples.items()
        },
        "calibration_groups": None if groups is None else values.text(groups, "calibration_groups"),
        "provenance": provenance,
        "mean_query": query,
    }


def _weights(value: Any, where: str, heads: int, signed: bool) -> tuple[float, ...]:
    """Weights as a file has them: checked, and their sizes summing to 1."""
    weights = values.listed(value, where)
    check_weights(weights, heads, where, signed)
    if abs(_size(weights) - 1) > SUM_TOLERANCE:
        raise InputError(f"{where}: the weights sum to {_size(weights):g}; those of a file must sum to 1.")
    return tuple(weights)


def _size(weights: Sequence[float]) -> float:
    return sum(map(abs, weights))


def _shares(weights: tuple[float, ...]) -> list[float]:
    total = _size(weights)
    # Those that sum to 1 keep every digit.
    return list(weights) if abs(total - 1) <= SUM_TOLERANCE else [weight / total for weight in weights]


def _describe(geometry: Geometry) -> str:
    return (
        f"{geometry.layers} layers x {geometry.heads} heads "
        f"({geometry.kv_heads} key-value heads, head_dim {geometry.head_dim})"
    )


def is_hub_id(source: str) -> bool:
    """Whether a text can be the id of a Hub repository, ``user/repo``: no path is, nor a name for a shell."""
    return (
        re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}", source) is not None
    )


def shipped() -> dict[str, Path]:
    """Names of the weight files that come with hawk."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.json"))}


def _resolve(source: str, revision: str | None) -> Path:
    names = shipped()
    path = names.get(source) or Path(resolve(source))
    if path.is_file():
        if revision is not None:
            raise InputError(
                f"head weights {source!r}, revision {revision!r}: that is a file here; "
                "a revision is for a Hub repository, written user/repo."
            )
        return path
    if path.suffix == ".json" or path.is_dir() or not is_hub_id(source):
        raise unknown("head weights (no such file or shipped name)", source, names)
    return hub.download(source, revision, f"no such file, no shipped name ({', '.join(names) or 'none'})")

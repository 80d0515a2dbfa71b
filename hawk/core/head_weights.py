"""Head weights: the file that offline calibration makes and online pruning uses."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from hawk.core import hub, hub_card, values
from hawk.core.atomic import write_json
from hawk.core.errors import InputError, unknown
from hawk.core.heads import Geometry
from hawk.core.paths import RunPaths
from hawk.core.shipped import is_hub_id, resolve
from hawk.core.shipped import shipped as shipped_files
from hawk.core.variants import TOKEN_SCORE, TOKEN_SCORE_VALUES

FORMATS = (1, 2)  # 2: with a mean query; what has none is written as 1, which older versions read
# weight_normalization: a head may count against a token; every head counts the same
SIGNED, UNIFORM = "signed", "uniform"
SUM_TOLERANCE = 1e-6  # of a sum of rounded shares
SIZES = tuple(field.name for field in fields(Geometry))  # of a file's model
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
        if isinstance(self.token_score, Mapping) and self.token_score:
            # Older files do not say the reduction: there was no other.
            object.__setattr__(self, "token_score", {"reduction": "mean", **self.token_score})
        self._check_values()
        # Other libraries' whole numbers are taken, and none of them can be written.
        object.__setattr__(self, "layer", int(self.layer))
        object.__setattr__(self, "samples", {name: int(count) for name, count in self.samples.items()})

    def _check_values(self) -> None:
        """Refuse what no file may hold: names become parts of paths, and words are printed."""
        try:
            _check_words(self)
            _check_numbers(self)
            _check_provenance(self.provenance)
        except InputError as error:
            raise InputError(f"head weights: {error}") from None

    @property
    def is_signed(self) -> bool:
        """Whether a head may count against a token."""
        return self.weight_normalization == SIGNED

    @property
    def sha256(self) -> str:
        """Of the numbers that tokens are scored with: by it two files are known to hold the same weights."""
        numbers = [self.layer, *map(float, self.weights), self.mean_query]
        return hashlib.sha256(json.dumps(numbers).encode()).hexdigest()

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
            weights = cls(**_fields(raw))
            _check_sum(weights.weights, "weights")
            for benchmark, part in weights.per_benchmark.items():
                _check_sum(part, f"per_benchmark.{benchmark}")
            return weights
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def save(self, path: str | Path) -> None:
        """Write the JSON file, atomically."""
        write_json(path, self.to_json())

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
        """What a file holds. Its weights are shares: scoring divides by their sum anyway.

        Raises InputError where a table of these weights was changed into what :meth:`load` would not read.
        """
        self._check_values()
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

    def check(self, geometry: Geometry, family: str | None = None) -> None:
        """Refuse a model of another family, or whose language model has another attention geometry.

        The geometry alone does not tell: Qwen2.5-VL-7B and InternVL3-8B have the same.
        """
        measured = self.model.get("family")
        if None not in (measured, family) and measured != family:
            raise InputError(
                f"these head weights were measured on a {measured!r} model; this one is {family!r}. "
                "Weights are specific to one model."
            )
        if geometry != self.geometry:
            raise InputError(
                f"these head weights are for {_describe(self.geometry)}; the model has "
                f"{_describe(geometry)}. Weights are specific to one model."
            )


def recipe_of(weights: HeadWeights) -> dict[str, Any]:
    """The recipe that a run made the weights by, as their file says; empty where it says none.

    Of several ablations that it names, ``ablation`` is the one whose layer was chosen.
    """
    settings = weights.provenance.get("settings")
    recipe = settings.get("recipe") if isinstance(settings, Mapping) else None
    if not isinstance(settings, Mapping) or not isinstance(recipe, Mapping) or "ablation" not in recipe:
        return {}
    taken = recipe["ablation"]
    if isinstance(taken, list):
        ablation = values.mapping(values.member(settings, "ablation", "settings"), "settings.ablation")
        taken = values.member(ablation, "name", "settings.ablation")
    # It becomes part of a path.
    return {**recipe, "ablation": values.name(taken, "recipe.ablation of the head weights")}


def layer_choice(weights: HeadWeights) -> str | None:
    """Between which layers a run chose that of the weights, as a sentence; None where it did not choose."""
    settings = weights.provenance.get("settings")
    if not isinstance(settings, Mapping) or "layers" not in settings:
        return None
    where = "settings.layers of the head weights"
    scores = {}
    for row in values.listed(settings["layers"], where):
        row = values.mapping(row, where)
        layer = values.whole(values.member(row, "layer", where), f"{where}: layer", 0, 10**9)
        scores[layer] = values.number(values.member(row, "score", where), f"{where}: score")
    shares = ", ".join(f"{score:.3f} (layer {layer})" for layer, score in sorted(scores.items()))
    return (
        f"Layer {weights.layer} was chosen on the calibration images. Tokens chosen in a layer reach this "
        f"share of the best layer's score, averaged over benchmarks: {shares}."
    )


def weights_of_run(path: str) -> HeadWeights:
    """A run's own weights; refuses a file that says another recipe or subset than its path."""
    _, _, names = RunPaths.parse(os.path.abspath(path), "head_weights")  # a run's folder may be "."
    weights = HeadWeights.load(path)
    identity = weights.provenance.get("identity")
    for key, value in names.items():
        if isinstance(identity, Mapping) and identity.get(key) != value:
            raise InputError(
                f"{path}: the file says {key} {identity.get(key)!r}, its path says {value!r}. "
                "It was moved or mixed up; delete it and run again."
            )
    return weights


def _check_words(weights: HeadWeights) -> None:
    """What says where the weights come from and how they were made."""
    for key in ("weight_normalization", "intervention"):
        values.text(getattr(weights, key), key)
    if weights.calibration_groups is not None:
        values.text(weights.calibration_groups, "calibration_groups")
    for key, value in values.mapping(weights.model, "model").items():
        values.text(key, "a key of model")
        if key in SIZES:
            raise InputError(f"model has {key!r}, which the geometry says.")
        if value is not None:
            values.text(value, f"model.{key}")
    score = values.mapping(weights.token_score, "token_score")
    if score and set(score) != set(TOKEN_SCORE):
        raise values.refuse("token_score", score, f"empty, or an object of {', '.join(TOKEN_SCORE)}")
    for key, value in score.items():
        values.choice(value, f"token_score.{key}", TOKEN_SCORE_VALUES[key])


def _check_numbers(weights: HeadWeights) -> None:
    geometry = weights.geometry
    _check_weights(weights.weights, geometry.heads, "weights", weights.is_signed)
    if not 0 <= values.whole(weights.layer, "layer", -(10**9), 10**9) < geometry.layers:
        raise InputError(f"layer {weights.layer} is outside the model's 0-{geometry.layers - 1}.")
    if weights.mean_query is not None:
        _check_query(weights.mean_query, geometry)
    samples = values.mapping(weights.samples, "samples")
    for benchmark, count in samples.items():
        values.name(benchmark, "a benchmark of samples")
        values.whole(count, f"samples.{benchmark}", 1, 10**9)
    for benchmark, part in values.mapping(weights.per_benchmark, "per_benchmark").items():
        if benchmark not in samples:
            raise InputError(f"per_benchmark has {benchmark!r}, which samples do not name.")
        _check_weights(part, geometry.heads, f"per_benchmark.{benchmark}", weights.is_signed)


def _check_weights(weights: Sequence[float], heads: int, what: str, signed: bool) -> None:
    """Refuse a wrong count, values that are no finite numbers, negative ones unless signed, and all zeros."""
    if not hasattr(weights, "__len__") or isinstance(weights, str | bytes | Mapping | Set):  # in no order
        raise values.refuse(what, weights, "a list of numbers, one per head")
    if len(weights) != heads:
        raise InputError(f"{what}: {len(weights)} weights for {heads} heads.")
    for index, value in enumerate(weights):
        if values.number(value, f"{what}: the weight of head {index}") < 0 and not signed:
            raise InputError(f"{what}: head {index} has weight {value!r}; it must be 0 or more.")
    if not any(weights):
        raise InputError(f"{what}: all weights are 0; at least one must be another number.")
    if not math.isfinite(_size(weights)):
        raise InputError(f"{what}: the sizes of the weights sum to {_size(weights)}; too large for a sum.")


def _check_provenance(provenance: Mapping[str, Any]) -> None:
    if not values.mapping(provenance, "provenance"):
        raise InputError("provenance is empty; it must say where the weights come from.")
    try:
        json.dumps(provenance, allow_nan=False, ensure_ascii=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"provenance cannot be written as JSON ({error}).") from None


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


def _fields(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of :class:`HeadWeights`, which checks their values, from a file's JSON."""
    for key in raw:
        if key not in _KEYS:
            raise unknown("key", key, _KEYS)
    if raw.get("mean_query") is not None and raw["format"] != FORMATS[1]:
        raise InputError(f"format is {raw['format']}; a file with a mean_query is of format {FORMATS[1]}.")
    model = values.mapping(values.member(raw, "model"), "model")
    score = values.mapping(values.member(raw, "token_score"), "token_score")
    parts = values.mapping(values.member(raw, "per_benchmark"), "per_benchmark")
    query = raw.get("mean_query")
    if query is not None:
        rows = values.listed(query, "mean_query")
        query = tuple(tuple(values.listed(row, "a row of mean_query")) for row in rows)
    as_written = (
        "layer", "weight_normalization", "intervention", "samples", "calibration_groups", "provenance",
    )  # fmt: skip
    return {
        **{key: values.member(raw, key) for key in as_written},
        "weights": tuple(values.listed(values.member(raw, "weights"), "weights")),
        "geometry": Geometry(
            **{
                key: values.whole(values.member(model, key, "model"), f"model.{key}", 1, 100_000)
                for key in SIZES
            }
        ),
        "model": {key: value for key, value in model.items() if key not in SIZES},
        "token_score": score,
        "per_benchmark": {
            name: tuple(values.listed(part, f"per_benchmark.{name}")) for name, part in parts.items()
        },
        "mean_query": query,
    }


def _check_sum(weights: Sequence[float], where: str) -> None:
    if abs(_size(weights) - 1) > SUM_TOLERANCE:
        raise InputError(f"{where}: the weights sum to {_size(weights):g}; those of a file must sum to 1.")


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


def shipped() -> dict[str, Path]:
    """Names of the weight files that come with hawk."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.json"))}


def _resolve(source: str, revision: str | None) -> Path:
    names = shipped()
    path = names.get(source) or Path(resolve(source))
    if os.path.isfile(path):
        if revision is not None:
            raise InputError(
                f"head weights {source!r}, revision {revision!r}: that is a file here; "
                "a revision is for a Hub repository, written user/repo."
            )
        return path
    if path.suffix == ".json" or os.path.isdir(path) or not is_hub_id(source):
        allowed = [*names, "a file", "a Hub id user/repo"]
        raise unknown("head weights (no such file or shipped name)", source, allowed)
    return hub.download(source, revision, f"no such file, no shipped name ({', '.join(names) or 'none'})")

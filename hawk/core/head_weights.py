"""Head weights: the file that offline calibration makes and online pruning uses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hawk.core.atomic import write_json
from hawk.core.errors import InputError, unknown
from hawk.core.heads import Geometry
from hawk.core.shipped import resolve
from hawk.core.shipped import shipped as shipped_files

FORMAT = 1
SHIPPED = shipped_files("data", "head_weights")


@dataclass(frozen=True)
class HeadWeights:
    """Non-negative weights over the heads of the scoring layer, summing to 1 (HAWK, section 3).

    ``weights[i]`` belongs to query head ``i`` of layer ``layer``. ``token_score`` holds the options
    (normalization, rope, query_span) under which the weights were calibrated.
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
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_weights(self.weights, self.geometry.heads, "head weights")
        if not 0 <= self.layer < self.geometry.layers:
            raise InputError(
                f"head weights: layer {self.layer} is outside the model's 0-{self.geometry.layers - 1}."
            )

    @classmethod
    def uniform(cls, geometry: Geometry, layer: int = 0) -> HeadWeights:
        """Equal weight for every head: the control that any calibration must beat."""
        return cls(weights=(1.0 / geometry.heads,) * geometry.heads, geometry=geometry, layer=layer)

    @classmethod
    def load(cls, source: str | Path, revision: str | None = None) -> HeadWeights:
        """From a shipped name (``"qwen2.5-vl-7b"``), a path, or a Hub id (``"user/repo"``).

        revision: a commit, branch or tag of the Hub repository; a commit never changes.
        Raises InputError for a missing file, another format, or weights that are not finite,
        negative or all zero.
        """
        path = _resolve(str(source), revision)
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not a head-weights file ({error}).") from None
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            format_of_file = raw.get("format") if isinstance(raw, dict) else type(raw).__name__
            raise InputError(f"{path}: format {format_of_file!r}; this version reads format {FORMAT}.")
        try:
            model = dict(raw["model"])
            geometry = Geometry(*(int(model.pop(key)) for key in ("layers", "heads", "kv_heads", "head_dim")))
            return cls(
                weights=tuple(raw["weights"]),
                geometry=geometry,
                layer=raw["layer"],
                model=model,
                weight_normalization=raw["weight_normalization"],
                intervention=raw["intervention"],
                token_score=raw["token_score"],
                per_benchmark={k: tuple(v) for k, v in raw["per_benchmark"].items()},
                samples=raw["samples"],
                calibration_groups=raw["calibration_groups"],
                provenance=raw["provenance"],
            )
        except KeyError as error:
            raise InputError(f"{path}: the key {error} is missing.") from None
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        except (TypeError, ValueError, AttributeError) as error:  # a text where a number or a table must be
            raise InputError(f"{path}: not a head-weights file ({error}).") from None

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
        from hawk.core import hub, hub_card

        content = json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        files = {
            hub.WEIGHTS_FILE: content.encode(),
            hub.CARD_FILE: hub_card.card(self, repo_id, noise, drops).encode(),
            hub.PICTURE_FILE: hub_card.picture(self),
        }
        message = f"Head weights of {self.model.get('id', 'a model')}, layer {self.layer}"
        return hub.upload(repo_id, files, message, private, token)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "model": {**self.model, **asdict(self.geometry)},
            "layer": self.layer,
            "weights": list(self.weights),
            "weight_normalization": self.weight_normalization,
            "intervention": self.intervention,
            "token_score": dict(self.token_score),
            "per_benchmark": {name: list(values) for name, values in self.per_benchmark.items()},
            "samples": dict(self.samples),
            "calibration_groups": self.calibration_groups,
            "provenance": dict(self.provenance),
        }

    def check(self, geometry: Geometry) -> None:
        """Refuse a model whose language model has another attention geometry."""
        if geometry != self.geometry:
            raise InputError(
                f"these head weights are for {_describe(self.geometry)}; the model has "
                f"{_describe(geometry)}. Weights are specific to one model."
            )


def check_weights(weights: tuple[float, ...] | list[float], heads: int, what: str) -> None:
    """Refuse a wrong count, values that are not finite numbers, negative ones, and all zeros."""
    if len(weights) != heads:
        raise InputError(f"{what}: {len(weights)} weights for {heads} heads.")
    for index, value in enumerate(weights):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{what}: head {index} has weight {value!r}; it must be a finite number.")
        if value < 0:
            raise InputError(f"{what}: head {index} has weight {value!r}; it must be 0 or more.")
    if not any(weights):
        raise InputError(f"{what}: all weights are 0; at least one must be positive.")


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
    if path.is_file():
        if revision is not None:
            raise InputError(
                f"head weights {source!r}, revision {revision!r}: that is a file here; "
                "a revision is for a Hub repository, written user/repo."
            )
        return path
    if path.suffix == ".json" or source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise unknown("head weights (no such file or shipped name)", source, names)
    from hawk.core import hub

    return hub.download(source, revision, f"no such file, no shipped name ({', '.join(names) or 'none'})")

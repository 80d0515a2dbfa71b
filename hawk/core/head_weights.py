"""Head weights: the file that offline calibration makes and online pruning uses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hawk.core.atomic import write_json
from hawk.core.errors import InputError, unknown
from hawk.core.heads import Geometry
from hawk.core.shipped import resolve
from hawk.core.shipped import shipped as shipped_files

FORMAT = 1
HUB_FILE = "head_weights.json"
SHIPPED = shipped_files("data", "head_weights")


@dataclass(frozen=True)
class HeadWeights:
    """Non-negative weights over the heads of the scoring layer, summing to 1 (HAWK, section 3).

    ``weights[i]`` belongs to query head ``i`` of layer ``layer``. ``token_score`` holds the options
    (normalization, reduction, rope, query_span) under which the weights were calibrated. With the
    ``weight_normalization`` "signed" (not the paper's) they may be negative, and their sizes sum to 1.
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
        check_weights(self.weights, self.geometry.heads, "head weights", self.is_signed)
        if not 0 <= self.layer < self.geometry.layers:
            raise InputError(
                f"head weights: layer {self.layer} is outside the model's 0-{self.geometry.layers - 1}."
            )

    @property
    def is_signed(self) -> bool:
        """Whether a head may count against a token."""
        return self.weight_normalization == "signed"

    @classmethod
    def uniform(cls, geometry: Geometry, layer: int = 0) -> HeadWeights:
        """Equal weight for every head: the control that any calibration must beat."""
        return cls(weights=(1.0 / geometry.heads,) * geometry.heads, geometry=geometry, layer=layer)

    @classmethod
    def load(cls, source: str | Path, revision: str | None = None) -> HeadWeights:
        """From a shipped name (``"qwen2.5-vl-7b"``), a path, or a Hub id (``"user/repo"``).

        Raises InputError for a missing file, another format, or weights that are not finite,
        negative or all zero.
        """
        path = _resolve(str(source), revision)
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not a head-weights file ({error}).") from None
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            found = raw.get("format") if isinstance(raw, dict) else type(raw).__name__
            raise InputError(f"{path}: format {found!r}; this version reads format {FORMAT}.")
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

    def save(self, path: str | Path) -> None:
        """Write the JSON file, atomically."""
        write_json(path, self.to_json())

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
        """Upload as ``head_weights.json`` of a Hub repository, made if need be; returns its address.

        ``HeadWeights.load(repo_id)`` reads it back.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        api = HfApi(token=token)
        content = (json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            api.upload_file(
                path_or_fileobj=content,
                path_in_repo=HUB_FILE,
                repo_id=repo_id,
                commit_message=f"Head weights of {self.model.get('id', 'a model')}, layer {self.layer}",
            )
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            raise InputError(f"head weights were not uploaded to {repo_id!r}: {_first_line(error)}") from None
        return f"https://huggingface.co/{repo_id}"

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


def check_weights(
    weights: tuple[float, ...] | list[float], heads: int, what: str, signed: bool = False
) -> None:
    """Refuse a wrong count, values that are no finite numbers, negative ones unless signed, and all zeros."""
    if len(weights) != heads:
        raise InputError(f"{what}: {len(weights)} weights for {heads} heads.")
    for index, value in enumerate(weights):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{what}: head {index} has weight {value!r}; it must be a finite number.")
        if value < 0 and not signed:
            raise InputError(f"{what}: head {index} has weight {value!r}; it must be 0 or more.")
    if not any(weights):
        raise InputError(f"{what}: all weights are 0; at least one must be another number.")


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
    if source in names:
        return names[source]
    path = Path(resolve(source))
    if path.is_file():
        return path
    if path.suffix == ".json" or source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise unknown("head weights (no such file or shipped name)", source, names)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(source, HUB_FILE, revision=revision))
    except (HfHubHTTPError, HFValidationError, OSError) as error:  # not there, no access, offline
        raise InputError(
            f"head weights {source!r}: no such file, no shipped name ({', '.join(names) or 'none'}), and "
            f"{HUB_FILE} cannot be had from the Hub: {_first_line(error)}"
        ) from None


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)

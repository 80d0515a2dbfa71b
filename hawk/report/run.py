"""A run as the report reads it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from hawk.analysis.stability import read_stability
from hawk.core import files, schemas
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.paths import RunPaths
from hawk.core.settings_checks import required
from hawk.report.tables import read_controls, read_retention


@dataclass
class Run:
    """What a run has produced so far; parts that do not exist are None or empty."""

    config: Mapping[str, Any]
    paths: RunPaths
    drops: pd.DataFrame | None = None
    drops_provenance: Mapping[str, Any] = field(default_factory=dict)
    stability: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, HeadWeights] = field(default_factory=dict)
    retention: pd.DataFrame | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    controls: pd.DataFrame | None = None
    cost: pd.DataFrame | None = None
    cost_made: Mapping[str, Any] = field(default_factory=dict)
    examples: Sequence[Mapping[str, Any]] = ()  # images with what heads score and variants keep

    @property
    def holds(self) -> set[str]:
        """The parts that this run has, by their names here: what figures are drawn from."""
        tables = {"drops": self.drops, "retention": self.retention, "cost": self.cost}
        names = {name for name, table in tables.items() if table is not None}
        return names | {name for name in ("stability", "weights") if getattr(self, name)}

    @property
    def interventions(self) -> list[str]:
        """Those whose drops were measured."""
        return [] if self.drops is None else list(dict.fromkeys(self.drops["intervention"]))

    @property
    def confidence(self) -> float:
        """Level of all intervals, percent."""
        settings = self.settings or self.drops_provenance["settings"]
        return round(100 * settings["statistics"]["confidence"], 4)

    @classmethod
    def read(cls, config: Mapping[str, Any], root: str) -> Run:
        run = cls(config, RunPaths(root))
        paths = run.paths
        if Path(paths.drops()).is_file():
            table = files.read_table(paths.drops(), schemas.DROPS, {"table": "drops"})
            run.drops = table.to_pandas()
            run.drops_provenance = files.provenance_of(table, paths.drops())
            try:
                required(run.drops_provenance["settings"], "statistics")
            except InputError as error:
                raise InputError(f"{paths.drops()}: {error}") from None
            run.stability = read_stability(paths.stability())
            run._check_heads()
            run.weights = {
                name: HeadWeights.load(paths.head_weights(name))
                for name in dict.fromkeys(run.drops["intervention"])
                if Path(paths.head_weights(name)).is_file()
            }
        if Path(paths.table("retention", "parquet")).is_file():
            run.retention, run.settings = read_retention(root)
            if Path(paths.table("controls", "parquet")).is_file():
                run.controls = read_controls(root)
        if Path(paths.cost()).is_file():
            measured = files.read_table(paths.cost(), schemas.COST, {"table": "cost"})
            run.cost, run.cost_made = measured.to_pandas(), files.provenance_of(measured, paths.cost())
        if Path(paths.head_scores()).is_file():
            run.examples = json.loads(Path(paths.head_scores()).read_text(encoding="utf-8"))["examples"]
        if run.drops is None and run.retention is None:
            raise InputError(
                f"{root}: neither drops.parquet nor tables/retention.parquet; nothing to report."
            )
        return run

    def _check_heads(self) -> None:
        """Drops are of heads that the run's model has; stability is of interventions that have drops."""
        assert self.drops is not None
        drops, made = self.drops, self.drops_provenance["settings"].get("geometry") or {}
        for key, column in (("layers", "layer"), ("heads", "head")):
            beyond = drops[drops[column] >= made.get(key, math.inf)]
            if len(beyond):
                layer, head = beyond.iloc[0][["layer", "head"]]
                raise InputError(
                    f"{self.paths.drops()}: drops of L{layer}H{head}, but the model has {made[key]} {key}. "
                    "Delete the file and run again."
                )
        for intervention, part in drops.groupby("intervention", sort=False):
            counts = part["benchmark"].value_counts(sort=False)
            if counts.nunique() > 1:
                few, many = counts.idxmin(), counts.idxmax()
                raise InputError(
                    f"{self.paths.drops()}: {intervention} has drops of {counts[few]} heads on {few!r}, "
                    f"and of {counts[many]} on {many!r}. Delete the file and run again."
                )
        unknown = sorted(set(self.stability) - set(self.interventions))
        if unknown:
            raise InputError(
                f"{self.paths.stability()}: about intervention {unknown[0]!r}, of which {self.paths.drops()} "
                "has no drops. Delete both and run again."
            )

"""A run as the report reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from hawk.analysis.answers import Answers
from hawk.analysis.stability import read_stability
from hawk.core import files, schemas
from hawk.core.errors import InputError
from hawk.core.head_weights import UNIFORM, HeadWeights, recipe_of, weights_of_run
from hawk.core.paths import RunPaths
from hawk.core.settings_checks import required
from hawk.core.variants import ablation_names
from hawk.report.examples import read_examples
from hawk.report.tables import read_controls, read_hypotheses, read_retention


@dataclass
class Run:
    """What a run has produced so far; parts that do not exist are None or empty."""

    config: Mapping[str, Any]
    paths: RunPaths
    drops: pd.DataFrame | None = None  # of all ablations
    estimates: pd.DataFrame | None = None  # of ablations by gradient: the same columns, with margins alone
    drops_provenance: Mapping[str, Any] = field(default_factory=dict)
    stability: Mapping[str, Any] = field(default_factory=dict)  # by ablation
    weights: Mapping[str, HeadWeights] = field(default_factory=dict)  # by weights recipe
    retention: pd.DataFrame | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    controls: pd.DataFrame | None = None
    hypotheses: tuple[pd.DataFrame, Mapping[str, Any]] | None = None  # with their settings
    cost: pd.DataFrame | None = None
    cost_made: Mapping[str, Any] = field(default_factory=dict)
    # Questions that heads win and lose, by ablation and benchmark; report.answers reads them.
    answers: Mapping[str, Mapping[str, Answers | None]] = field(default_factory=dict)
    examples: Sequence[Mapping[str, Any]] = ()  # images with what heads score and variants keep

    @property
    def holds(self) -> set[str]:
        """The parts that this run has, by their names here: what figures are drawn from."""
        tables = {"drops": self.drops, "retention": self.retention, "cost": self.cost}
        names = {name for name, table in tables.items() if table is not None}
        return names | {name for name in ("stability", "weights") if getattr(self, name)}

    @property
    def ablations(self) -> list[str]:
        """Those whose drops were measured."""
        return [] if self.drops is None else list(dict.fromkeys(self.drops["ablation"]))

    def null_of(self, recipe: str) -> Mapping[str, Any] | None:
        """The stability of a weights recipe's ablation, if its null is one of these weights.

        It is computed for drops in value only, not for drops in log-probability; uniform weights need none.
        """
        made = self._recipe(recipe)
        if made["measure"] != "value" or made["normalization"] == UNIFORM:
            return None
        return self.stability.get(self.ablation_of(recipe) or "")

    def ablation_of(self, recipe: str) -> str | None:
        """The ablation that a weights recipe is made of; of several, the one that its file says."""
        names = ablation_names(self._recipe(recipe))
        if len(names) == 1:
            return names[0]
        return recipe_of(self.weights[recipe]).get("ablation") if recipe in self.weights else None

    def _recipe(self, name: str) -> Mapping[str, Any]:
        return {entry["name"]: entry for entry in self.config["weights"]["recipes"]}[name]

    @property
    def confidence(self) -> float:
        """Level of all intervals, percent."""
        settings = self.settings or self.drops_provenance["settings"]
        return round(100 * settings["statistics"]["confidence"], 4)

    @classmethod
    def read(cls, config: Mapping[str, Any], root: str) -> Run:
        run = cls(config, RunPaths(root))
        paths = run.paths
        names = [ablation["name"] for ablation in config["ablation"]["recipes"]]
        present = [name for name in names if Path(paths.drops(name)).is_file()]
        if present:
            tables = {name: read_drops(paths, name) for name in present}
            run.drops_provenance = files.provenance_of(tables[present[0]], paths.drops(present[0]))
            estimates = {name: pc.any(table.column("estimate")).as_py() for name, table in tables.items()}
            parts = {
                kind: [tables[name] for name in present if estimates[name] is kind] for kind in (False, True)
            }
            run.drops, run.estimates = (
                pa.concat_tables(parts[kind]).to_pandas() if parts[kind] else None for kind in (False, True)
            )
            stability = {name: read_stability(paths.stability(name), name)[1] for name in present}
            run.stability = {name: parts for name, parts in stability.items() if parts is not None}
            run.weights = {
                recipe["name"]: weights_of_run(paths.head_weights(recipe["name"]))
                for recipe in config["weights"]["recipes"]
                if Path(paths.head_weights(recipe["name"])).is_file()
            }
        if Path(paths.table("retention", "parquet")).is_file():
            run.retention, run.settings = read_retention(root)
            if Path(paths.table("controls", "parquet")).is_file():
                run.controls = read_controls(root)
            run.hypotheses = read_hypotheses(root)
        if Path(paths.cost()).is_file():
            cost = files.read_table(paths.cost(), schemas.COST, {"table": "cost"})
            run.cost, run.cost_made = cost.to_pandas(), files.provenance_of(cost, paths.cost())
            if run.retention is not None:
                _require_one_run(paths.cost(), run.cost_made["settings"], run.settings)
        if Path(paths.head_scores()).is_file():
            run.examples = read_examples(paths.head_scores())
        if run.drops is None and run.retention is None:
            raise InputError(f"{root}: neither drops nor tables/retention.parquet; nothing to report.")
        return run


def _require_one_run(path: str, cost: Mapping[str, Any], retention: Mapping[str, Any]) -> None:
    """Refuse a cost that was measured of something else than what the retention beside it is of."""
    told = [_measured(settings) for settings in (cost, retention)]
    for key, value in told[0].items():
        other = told[1].get(key)
        if None not in (value, other) and value != other:
            raise InputError(
                f"{path}: measured with {key} {value}; the retention of this run is of {other}. "
                "Delete the file and run again."
            )


def _measured(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the cost and the retention of one run share; older files do not tell all of it."""
    variants = settings.get("variants") or {}
    told: dict[str, Any] = {f"variant {name}": {**one, "name": name} for name, one in variants.items()}
    model = settings.get("model") or {}
    told |= {f"model {key}": model.get(key) for key in ("id", "revision", "dtype")}
    return told | {key: settings.get(key) for key in ("preprocessing", "rules")}


def read_drops(paths: RunPaths, ablation: str) -> pa.Table:
    """The drops of one ablation, of heads that its model has."""
    path = paths.drops(ablation)
    table = files.read_table(path, schemas.DROPS, {"table": "drops", "ablation": ablation})
    settings = files.provenance_of(table, path)["settings"]
    try:
        required(settings, "statistics")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    made = settings.get("geometry") or {}
    drops = table.select(["layer", "head", "benchmark"]).to_pandas()
    for key, column in (("layers", "layer"), ("heads", "head")):
        beyond = drops[drops[column] >= made.get(key, math.inf)]
        if len(beyond):
            layer, head = beyond.iloc[0][["layer", "head"]]
            raise InputError(
                f"{path}: drops of L{layer}H{head}, but the model has {made[key]} {key}. "
                "Delete the file and run again."
            )
    counts = drops["benchmark"].value_counts(sort=False)
    if counts.nunique() > 1:
        few, many = counts.idxmin(), counts.idxmax()
        raise InputError(
            f"{path}: drops of {counts[few]} heads on {few!r}, and of {counts[many]} on {many!r}. "
            "Delete the file and run again."
        )
    return table

"""Puts the workflow into the wheel, beside the package, without a second copy of it in the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# What `hawk.core.shipped` finds: beside the package in a clone, under hawk/workflow in a wheel.
SHIPPED = ("Snakefile", "rules", "config", "profiles", "data", "environment.yml")


class Workflow(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":  # there the files are used where they lie
            root = Path(self.root)
            build_data["force_include"].update(
                {str(root / name): f"hawk/workflow/{name}" for name in SHIPPED}
            )

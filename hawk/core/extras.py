"""What belongs to an extra of the package, and how to say that it is missing."""

from __future__ import annotations

import importlib.util

from hawk.core.errors import InputError

# Modules of the extra "workflow" in pyproject.toml; a test holds both together.
WORKFLOW = (
    "av",
    "datasets",
    "jsonschema",
    "matplotlib",
    "openpyxl",
    "pandas",
    "pyarrow",
    "pygments",
    "scipy",
    "snakemake",
    "snakemake_executor_plugin_slurm",
)
MESSAGE = "this needs hawk-vlm[workflow]: pip install 'hawk-vlm[workflow]'"


def explain(error: Exception) -> str | None:
    """The line to print where a module of an extra is missing; None for any other error."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in WORKFLOW:
        return MESSAGE
    return None


def need(module: str) -> None:
    """Raise InputError where a module of the extra "workflow" is not installed; imports nothing."""
    if importlib.util.find_spec(module) is None:
        raise InputError(MESSAGE)

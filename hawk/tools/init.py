"""``hawk init MODEL``: a ready config for a model, with what must agree read from the model."""

from __future__ import annotations

import math
import re
from pathlib import Path
from string import Template

import yaml

from hawk.benchmarks.sources.hub import commit
from hawk.core.atomic import check_output, write_text
from hawk.core.errors import InputError
from hawk.core.shipped import check_model_folder, resolve
from hawk.core.values import one_line
from hawk.models.loading import read_config

# "$name" is filled in, "$$" is a dollar sign.
TEMPLATE = Path(__file__).with_name("init_template.yaml")
PAPER = ["hallusionbench", "mme", "textvqa", "chartqa", "ai2d", "realworldqa"]


def write_config(model: str, output: str | None = None, force: bool = False) -> Path:
    """Write the config and return its path. Refuses an unknown family and an existing file."""
    if Path(model).is_file():
        raise InputError(f"model {model!r} is a file; init takes the model's folder, or a Hub id.")
    check_model_folder(model)
    # One request: transformers would repeat its own for half a minute where the Hub cannot be reached.
    revision = None if Path(resolve(model)).is_dir() else commit(model, None, "model")
    config, family = read_config(model, revision)
    geometry = family.config_geometry(config)
    run = re.sub(r"[^a-z0-9._-]+", "-", Path(model).name.lower()).strip("-.")[:64] or "model"
    path = check_output(f"config/{run}.yaml" if output is None else output)
    if path.exists() and not force:
        raise InputError(f"{path} exists; use --force to replace it or --output for another name.")
    write_text(
        path,
        Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
            model=one_line(model),
            path=_scalar(model),
            run=_scalar(run),
            family=family.name,
            layers=geometry.layers,
            heads=geometry.heads,
            kv_heads=geometry.kv_heads,
            head_dim=geometry.head_dim,
            calibration=", ".join(PAPER),
        ),
    )
    return path


def _scalar(text: str) -> str:
    """A text as YAML reads it back: in quotes where it must be."""
    return yaml.safe_dump([text], default_flow_style=True, width=math.inf, allow_unicode=True)[1:-2]

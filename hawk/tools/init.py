"""``hawk init MODEL``: a ready config for a model, with what must agree read from the model."""

from __future__ import annotations

import re
from pathlib import Path

from hawk.core.atomic import write_text
from hawk.core.errors import InputError
from hawk.models import family_by_type

TEMPLATE = """\
# yaml-language-server: $schema=schemas/config.schema.yaml
# Made by: hawk init {model}
# Family {family}: {layers} layers x {heads} query heads ({kv_heads} key-value heads, head_dim {head_dim})
run: {run}
seed: 0
model:
  path: {model}
  dtype: bfloat16
  attention: sdpa
  device: auto
  layers: {layers} # checked against the model in every job
  heads: {heads}
scoring: {{layer: 0, normalization: l2, rope: false, query_span: instruction}}
ablation:
  interventions: [zero, selection]
  layers: [0]
  heads: all
  heads_per_job: 1 # "all" loads the model once per benchmark
  selection_ratio: 0.8
calibration:
  benchmarks: [{calibration}]
  samples: 512
  holdout: disjoint # none is what the paper did: calibration and evaluation share images
weights: {{normalization: min_shift}}
evaluation:
  benchmarks: [{calibration}]
  samples: null # all
  ratios: [0.6, 0.8, 0.9]
  reference: hawk-uniform
  variants:
    - {{name: hawk-zero, method: hawk, weights: zero}}
    - {{name: hawk-selection, method: hawk, weights: selection}}
    - {{name: hawk-uniform, method: hawk, weights: uniform}}
    - {{name: hawk-permuted, method: hawk, weights: zero, permute: true, seeds: 5}}
    - {{name: random, method: random, seeds: 5}}
    - {{name: grid, method: grid}}
    - {{name: divprune, method: divprune}}
    - {{name: blind, method: blind}}
generation: {{protocol: vlmevalkit, batch_size: 16}}
statistics: {{resamples: 2000, confidence: 0.95}}
"""

PAPER = ["hallusionbench", "mme", "textvqa", "chartqa", "ai2d", "realworldqa"]
EMBEDDED = ["easy_vqa", "digits", "shapes", "colors", "presence"]


def write_config(model: str, output: str | None = None, force: bool = False) -> Path:
    """Write the config and return its path. Refuses an unknown family and an existing file."""
    from transformers import AutoConfig

    from hawk.benchmarks import REGISTRY
    from hawk.models.loading import check_folder, read

    check_folder(model)
    config = read(AutoConfig, model, "config")
    family = family_by_type(config.model_type)
    geometry = family.config_geometry(config)
    run = re.sub(r"[^a-z0-9._-]+", "-", Path(model).name.lower()).strip("-") or "model"
    path = Path(output or f"config/{run}.yaml")
    if path.exists() and not force:
        raise InputError(f"{path} exists; use --force to replace it or --output for another name.")
    names = [name for name in PAPER if name in REGISTRY] or EMBEDDED
    write_text(
        path,
        TEMPLATE.format(
            model=model,
            run=run,
            family=family.name,
            layers=geometry.layers,
            heads=geometry.heads,
            kv_heads=geometry.kv_heads,
            head_dim=geometry.head_dim,
            calibration=", ".join(names),
        ),
    )
    return path

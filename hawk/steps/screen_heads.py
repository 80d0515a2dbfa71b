"""The step screen_heads: an estimate of every head's drop in the margin, from one pass and its gradients.

For ablations with ``intervention: gradient``: what to look at before heads are switched off one by one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hawk.ablation.gate_gradients import screened
from hawk.config.recipes import layers
from hawk.core.files import write_table
from hawk.core.provenance import provenance
from hawk.core.schemas import HEAD_GRADIENTS
from hawk.steps.session import Session

READS = ("seed", "model", "preprocessing", "features", "generation", "ablation.recipes", "data.{benchmark}")


def screen_heads(session: Session, ablation: Mapping[str, Any]) -> None:
    """Write every sample's margin and estimated drops, per head of the ablation's layers in their order."""
    of = sorted(layers(ablation))
    found, drops = screened(session.prompts, session.batch_size, of, f"{session.name} {ablation['name']}")
    rows = []
    for sample, margin, own in zip(session.samples, found.tolist(), drops.flatten(1).tolist(), strict=True):
        has_margin = not math.isnan(margin)
        rows.append(
            {
                "sample_id": sample.sample_id,
                "margin": margin if has_margin else None,
                "drops": own if has_margin else None,
            }
        )
    identity = {"benchmark": session.name, "role": session.role, "ablation": ablation["name"]}
    settings = {**session.settings(), "prompts": session.prompts.sha256, "token_score": {}, "layers": of}
    path = session.paths.head_gradients(ablation["name"], session.name)
    write_table(path, rows, HEAD_GRADIENTS, provenance(identity, **settings))

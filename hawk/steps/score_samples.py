"""The step score_samples: a baseline, an intervention's reference and repeats, or ablated heads.

One function for all of them, so that they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hawk.ablation.ablate_heads import MODES, AblateHeads, read_means
from hawk.ablation.batched_heads import groups, score_rows
from hawk.ablation.selection import selection_pruner
from hawk.ablation.shared_layers import score_layer
from hawk.config.queries import token_score_options
from hawk.core.errors import unknown
from hawk.core.files import write_table
from hawk.core.heads import Head
from hawk.core.provenance import provenance
from hawk.core.schemas import SCORES
from hawk.core.variants import TOKEN_SCORE
from hawk.pruning.base import Pruner
from hawk.steps.session import Session

READS = ("seed", "model", "preprocessing", "features", "generation", "data.{benchmark}")
READS_MORE = {"selection": ("scoring", "ablation.selection_ratio"), "rows": ("ablation.rows_per_batch",)}

INTERVENTIONS = (*MODES, "selection")


def score_samples(
    session: Session,
    jobs: Sequence[tuple[str, str]],
    intervention: str | None = None,
    rows_per_batch: int = 1,
) -> None:
    """Score one benchmark for every (name, output) of ``jobs``, with the model loaded once.

    The name is "reference", "repeat1" ... or a head such as "L0H17". Without an intervention the
    untouched model is scored, the baseline. Every output is one file, the same whether its job ran
    alone or with others. rows_per_batch is the number of heads that share a batch (config key of that name).
    """
    if intervention is not None and intervention not in INTERVENTIONS:
        raise unknown("intervention", intervention, INTERVENTIONS)
    for name, _ in jobs:
        if _is_head(name):
            session.vlm.geometry.check(Head.parse(name))
    means = None
    if intervention == "mean":
        means = read_means(session.paths.head_means(session.name), session.name, session.vlm)
    size = rows_per_batch if intervention in MODES else 1
    # Heads of one layer share what lies below it. For "selection" every head is another prompt.
    shared = size == 1 and intervention in MODES
    for group in groups(jobs, 0 if shared else size):
        names = [name for name, _ in group]
        scored, pruner = _score(session, names, intervention, means, size)
        settings = {**session.settings(pruner), "prompts": session.prompts.sha256, "token_score": {}}
        if size > 1:
            settings["rows_per_batch"] = size
        if intervention == "selection":
            settings["selection_ratio"] = session.config["ablation"]["selection_ratio"]
            settings["token_score"] = {key: session.config["scoring"][key] for key in TOKEN_SCORE}
            settings["scoring"] = dict(session.config["scoring"])
        for (name, output), rows in zip(group, scored, strict=True):
            identity = {"benchmark": session.name, "role": session.role, "name": name}
            if intervention is not None:
                identity["intervention"] = intervention
            if _is_head(name):
                identity["head"] = name
            write_table(output, rows, SCORES, provenance(identity, **settings))


def _score(
    session: Session,
    names: list[str],
    intervention: str | None,
    means: Mapping[int, torch.Tensor] | None,
    size: int,
) -> tuple[list[list[dict[str, Any]]], Pruner | None]:
    """Rows per name, all scored at once where the group has several; and the pruner, if one was used."""
    label = f"{session.name} {intervention or 'baseline'} {names[0]}"
    label += f" to {names[-1]}" if names[1:] else ""
    shuffle = int(names[0].removeprefix("repeat")) if names[0].startswith("repeat") else None
    heads = [Head.parse(name) if _is_head(name) else None for name in names]
    if size > 1 and intervention is not None:
        rows = score_rows(
            session.prompts, session.batch_size, heads, size, intervention, means, shuffle=shuffle, what=label
        )
        return rows, None
    if len(names) > 1 and intervention is not None:
        layer = [head for head in heads if head is not None]
        return score_layer(session.prompts, session.batch_size, layer, intervention, means, what=label), None
    pruner, ablation = _treatment(session, intervention, heads[0], means)
    attached = None if ablation is None else ablation.attach(session.vlm.model)
    return [session.score(pruner=pruner, ablation=attached, shuffle=shuffle, what=label)], pruner


def _is_head(name: str) -> bool:
    return name.startswith("L") and name[1:2].isdigit()


def _treatment(
    session: Session,
    intervention: str | None,
    head: Head | None,
    means: Mapping[int, torch.Tensor] | None,
) -> tuple[Pruner | None, AblateHeads | None]:
    """What is done to the prompt or to the model in one job."""
    if intervention == "selection":
        scoring, ratio = session.config["scoring"], session.config["ablation"]["selection_ratio"]
        options = token_score_options(scoring)
        return selection_pruner(session.vlm.geometry, scoring["layer"], ratio, options, head), None
    if head is None or intervention is None:
        return None, None
    return None, AblateHeads([head], mode=intervention, means=means)

"""The step score_samples: a baseline, an ablation's reference and repeats, or ablated heads.

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
from hawk.config.recipes import CHOOSING
from hawk.core.files import write_table
from hawk.core.heads import Head
from hawk.core.provenance import provenance
from hawk.core.schemas import SCORES
from hawk.core.variants import TOKEN_SCORE
from hawk.pruning.base import Pruner
from hawk.steps.session import Session

READS = ("seed", "model", "preprocessing", "features", "generation", "data.{benchmark}")
READS_MORE = {
    "one": ("ablation.recipes",),
    "rows": ("ablation.recipes", "ablation.rows_per_batch"),
}


def score_samples(
    session: Session,
    jobs: Sequence[tuple[str, str]],
    ablation: Mapping[str, Any] | None = None,
    rows_per_batch: int = 1,
) -> None:
    """Score one benchmark for every (name, output) of ``jobs``, with the model loaded once.

    The name is "reference", "repeat1" ... or a head such as "L0H17". Without an ablation (an entry of
    ``ablation.recipes``) the untouched model is scored, the baseline. Every output is one file, the same
    whether its job ran alone or with others. rows_per_batch is the number of heads that share a batch
    (config key of that name).
    """
    intervention = None if ablation is None else ablation["intervention"]
    for name, _ in jobs:
        if _is_head(name):
            session.vlm.geometry.check(Head.parse(name))
    means = None
    if intervention == "mean":
        means = read_means(session.paths.head_means(session.name), session.name, session.vlm)
    size = rows_per_batch if intervention in MODES else 1
    # Heads of one layer share what lies below it. Where heads choose tokens every head is another prompt.
    shared = size == 1 and intervention in MODES
    for group in groups(jobs, 0 if shared else size):
        names = [name for name, _ in group]
        scored, pruner = _score(session, names, ablation, means, size)
        settings = {**session.settings(pruner), "prompts": session.prompts.sha256, "token_score": {}}
        if size > 1:
            settings["rows_per_batch"] = size
        if ablation is not None and intervention in CHOOSING:
            settings["selection_ratio"] = ablation["ratio"]
            settings["layer"] = ablation["layer"]
            settings["token_score"] = {key: ablation[key] for key in TOKEN_SCORE}
        for (name, output), rows in zip(group, scored, strict=True):
            identity = {"benchmark": session.name, "role": session.role, "name": name}
            if ablation is not None:
                identity |= {"ablation": ablation["name"], "intervention": ablation["intervention"]}
            if _is_head(name):
                identity["head"] = name
            write_table(output, rows, SCORES, provenance(identity, **settings))


def _score(
    session: Session,
    names: list[str],
    ablation: Mapping[str, Any] | None,
    means: Mapping[int, torch.Tensor] | None,
    size: int,
) -> tuple[list[list[dict[str, Any]]], Pruner | None]:
    """Rows per name, all scored at once where the group has several; and the pruner, if one was used."""
    intervention = None if ablation is None else ablation["intervention"]
    label = f"{session.name} {'baseline' if ablation is None else ablation['name']} {names[0]}"
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
    pruner, ablated = _treatment(session, ablation, heads[0], means)
    attached = None if ablated is None else ablated.attach(session.vlm.model)
    return [session.score(pruner=pruner, ablation=attached, shuffle=shuffle, what=label)], pruner


def _is_head(name: str) -> bool:
    return name.startswith("L") and name[1:2].isdigit()


def _treatment(
    session: Session,
    ablation: Mapping[str, Any] | None,
    head: Head | None,
    means: Mapping[int, torch.Tensor] | None,
) -> tuple[Pruner | None, AblateHeads | None]:
    """What is done to the prompt or to the model in one job."""
    if ablation is None:
        return None, None
    if ablation["intervention"] in CHOOSING:
        alone = ablation["intervention"] == "keep_only"
        options, ratio = token_score_options(ablation), ablation["ratio"]
        chooser = selection_pruner(session.vlm.geometry, ablation["layer"], ratio, options, head, alone)
        return chooser, None
    if head is None:
        return None, None
    return None, AblateHeads([head], mode=ablation["intervention"], means=means)

"""Several heads in one batch: its rows hold each sample once per head, and each row misses its own.

A separate switch, ``ablation.rows_per_batch``, off by default. Batches of another shape round
differently, so scores differ from those of one head at a time by rounding (float32: reference
log-probabilities by less than 1e-4; tests/ablation/test_batched_heads.py). Hence the reference and its
repeats are scored in the same layout, as that many untouched copies, and drops compare like with like.
Whatever is in the other rows of a batch does not change a row, so heads may be grouped anyhow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hawk.ablation.ablate_heads import AblateHeads
from hawk.core.heads import Head
from hawk.core.progress import progress
from hawk.inference.prompts import Prompts
from hawk.inference.scoring import batches, score_batch
from hawk.pruning.methods.unpruned import Unpruned

Rows = list[dict[str, Any]]


def groups(jobs: Sequence[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    """Heads in groups of at most ``size``, or with ``size`` 0 by layer; everything else alone."""
    heads = [job for job in jobs if job[0].startswith("L")]
    yield from ([job] for job in jobs if not job[0].startswith("L"))
    if size == 0:
        by_layer: dict[int, list[tuple[str, str]]] = {}
        for job in heads:
            by_layer.setdefault(Head.parse(job[0]).layer, []).append(job)
        yield from by_layer.values()
    else:
        yield from (heads[begin : begin + size] for begin in range(0, len(heads), size))


@torch.inference_mode()
def score_rows(
    prompts: Prompts,
    batch_size: int,
    heads: Sequence[Head | None],
    size: int,
    mode: str,
    means: Mapping[int, Tensor] | None = None,
    shuffle: int | None = None,
    what: str = "score",
) -> list[Rows]:
    """Per entry of ``heads`` the rows of every sample, as from :func:`hawk.inference.scoring.score_samples`.

    heads: at most ``size``; None is the untouched model. Always ``size`` rows per sample are
        computed, so that the shape of a batch does not depend on how many heads there are.
    batch_size: rows of a batch; it holds a ``size``-th as many samples.
    """
    gone = [[head] if head is not None else [] for head in heads]
    gone += [[] for _ in range(size - len(heads))]
    rows_by_head: list[list[dict[str, Any] | None]] = [[None] * len(prompts.samples) for _ in heads]
    lengths = [*map(len, prompts.ids)]
    for chosen in progress(batches(lengths, max(1, batch_size // size), shuffle), what):
        rows = [i for i in chosen for _ in range(size)]
        with AblateHeads(gone * len(chosen), mode=mode, means=means).attach(prompts.vlm.model):
            scored = score_batch(prompts, Unpruned(), rows, None)
        for place, (i, row) in enumerate(zip(rows, scored, strict=True)):
            if place % size < len(heads):
                rows_by_head[place % size][i] = row
    return [[row for row in rows if row is not None] for rows in rows_by_head]

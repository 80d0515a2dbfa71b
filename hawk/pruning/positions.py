"""Position ids of the prompt that remains (``position_policy``)."""

from __future__ import annotations

import torch
from torch import Tensor

POLICIES = ("keep", "rebase", "repack")


def remaining_positions(positions: Tensor, keep: Tensor, item: Tensor, policy: str) -> Tensor:
    """Positions of one row's kept tokens.

    positions: [rows, n] of the unpruned row, padding removed (rows is 1 for plain 2-D positions).
    keep: bool [n]. item: long [n], the visual item a token belongs to, -1 for text.

    ``keep``: every kept token stays where it was (the authors, MMTok). ``rebase``: what follows an
    image starts right after the last position that the image still occupies (vLLM, OpenVINO).
    ``repack``: 0, 1, 2 ... in all rows; the image's geometry is lost.
    """
    kept = positions[:, keep]
    if policy == "repack":
        return torch.arange(kept.shape[1], device=kept.device).expand_as(kept).clone()
    if policy == "rebase":
        kept = _rebase(positions, keep, item)[:, keep]
    if len(kept) > 1:
        # Row 0 of mRoPE positions is the text row: it only tells packed sequences apart and must
        # have no gaps. It is counted afresh over the kept tokens.
        kept = kept.clone()
        kept[0] = torch.arange(kept.shape[1], device=kept.device)
    return kept


def _rebase(positions: Tensor, keep: Tensor, item: Tensor) -> Tensor:
    """Shift every segment so that it starts after what is left of the visual item before it."""
    out = positions.clone()
    spatial = slice(1, None) if len(positions) > 1 else slice(None)
    shift = 0
    edges = [0, *(torch.nonzero(item[1:] != item[:-1]).flatten() + 1).tolist(), len(item)]
    for begin, end in zip(edges[:-1], edges[1:], strict=True):
        out[spatial, begin:end] -= shift
        if item[begin] < 0 or end == len(item):
            continue
        kept = out[spatial, begin:end][:, keep[begin:end]]
        start = int(out[spatial, begin:end].min())
        free = int(kept.max()) + 1 if kept.numel() else start
        following = int(positions[spatial, end].min()) - shift
        shift += following - free
    return out

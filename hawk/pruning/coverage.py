"""Greedy maximization of coverage: f(S) = Σ_j max over s in S of gain[s, j], a submodular function.

Lazy (Minoux 1978): a candidate's gain can only shrink as S grows, so its last known gain bounds the
present one, and only candidates whose bound beats the best fresh gain are looked at again. The
choice is that of plain greedy; the work is usually a few hundredths of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hawk.pruning.replay import repeat

_BATCH = 64
_PLAIN = 1 << 26  # entries of a matrix that a GPU reads faster than the CPU reads one bound of it


def greedy_coverage(gain: Tensor, count: int) -> Tensor:
    """``count`` rows of ``gain`` [candidates, covered], entries >= 0, in the order of choice."""
    if gain.device.type != "cpu" and gain.numel() <= _PLAIN:
        return _plain(gain, count)
    covered = gain.new_zeros(gain.shape[1])
    bound = _fresh(gain, torch.arange(len(gain), device=gain.device), covered)
    chosen: list[int] = []
    while len(chosen) < count:
        pick = _best(gain, bound, covered) if chosen else int(bound.argmax())
        chosen.append(pick)
        bound[pick] = -torch.inf
        covered = torch.maximum(covered, gain[pick])
    return torch.tensor(chosen, device=gain.device)


def _plain(gain: Tensor, count: int) -> Tensor:
    """Every gain afresh at every step: the same choice, and no step waits for the device."""
    chosen = torch.empty(count, dtype=torch.long, device=gain.device)
    at = torch.zeros(1, dtype=torch.long, device=gain.device)
    covered = gain.new_zeros(gain.shape[1])
    taken = gain.new_zeros(len(gain))
    # Memory that a recorded step asks for is kept for the next recording: only vectors may be of it.
    above = torch.empty_like(gain)

    def choose(done: int) -> None:
        fresh = torch.sub(gain, covered, out=above).clamp_(min=0).sum(-1)
        pick = fresh.add_(taken).argmax(0, keepdim=True)
        chosen.index_copy_(0, at, pick)
        taken.index_fill_(0, pick, -torch.inf)
        torch.maximum(covered, gain[pick][0], out=covered)
        at.add_(1)

    repeat(choose, count, gain.device)
    return chosen


def _best(gain: Tensor, bound: Tensor, covered: Tensor) -> int:
    """The candidate with the largest present gain; writes fresh gains into ``bound``."""
    order = torch.sort(bound, descending=True, stable=True).indices
    stale = bound[order]
    if float(stale[0]) <= 0:
        return int(order[0])  # everything is covered: the lowest position of those left
    best = -torch.inf
    for begin in range(0, len(order), _BATCH):
        # Equal bounds are looked at too: among equal gains the lower position is chosen.
        if float(stale[begin]) < best or stale[begin] == -torch.inf:
            break
        rows = order[begin : begin + _BATCH]
        rows = rows[bound[rows] > -torch.inf]
        fresh = _fresh(gain, rows, covered)
        bound[rows] = fresh
        best = max(best, float(fresh.max()))
    return int((bound >= best).nonzero()[0])


def _fresh(gain: Tensor, rows: Tensor, covered: Tensor) -> Tensor:
    """How much each candidate would add now; a slab of rows at a time."""
    parts = [(gain[part] - covered).clamp_(min=0).sum(-1) for part in rows.split(_BATCH)]
    return torch.cat(parts)

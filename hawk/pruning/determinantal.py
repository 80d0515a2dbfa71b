"""Greedy selection by a determinantal point process: relevant vectors that are unlike each other.

Chen, Zhang and Zhou, NeurIPS 2018 (fast greedy MAP inference). With unit vectors v, relevance r and
the kernel L_ij = r_i cos(v_i, v_j) r_j, S grows by the vector with the largest residual
d²_j = L_jj less what the chosen ones explain of it, which is the one that makes det(L_S) largest.

A kernel of lower rank than the count has no residual left at some point; relevance decides the rest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hawk.pruning.replay import repeat
from hawk.pruning.similarity import Cosines

RANK = 1e-5  # a residual below this share of L_jj is float32 noise: the token is explained


def determinantal(vectors: Tensor, relevance: Tensor, count: int) -> Tensor:
    """Greedy MAP of the kernel r_i <v_i, v_j> r_j, ``vectors`` [n, d], in the order of choice."""
    size, device = len(vectors), vectors.device
    cosines = Cosines(vectors)
    # The recursion is in float64: count steps of subtraction would eat float32.
    relevance = relevance.double()
    diagonal = relevance.square() * torch.linalg.vecdot(vectors, vectors).double()
    residual = diagonal.clone()
    factors = torch.zeros(count, size, dtype=torch.float64, device=device)  # Cholesky rows
    explained = RANK * diagonal  # what is no larger than this
    # Where nothing is left to explain, relevance decides: below every residual.
    rest = relevance - relevance.max() - 1
    chosen = torch.empty(count, dtype=torch.long, device=device)
    at = torch.zeros(1, dtype=torch.long, device=device)

    def choose(done: int) -> None:
        live = residual > explained
        # Kept in one dimension: a number would be read by the CPU, a wait per step.
        pick = torch.where(live, residual, rest).argmax(0, keepdim=True)
        chosen.index_copy_(0, at, pick)
        explained.index_fill_(0, pick, torch.inf)  # it is chosen once
        rest.index_fill_(0, pick, -torch.inf)
        row = relevance * cosines.row(pick) * relevance[pick]
        row = torch.addmv(row, factors[:done].T, factors[:done, pick][:, 0], alpha=-1)
        # A pick without residual adds no direction: its row of factors stays zero.
        row *= residual[pick].clamp(min=1e-300).rsqrt() * live[pick]
        factors.index_copy_(0, at, row[None])
        residual.addcmul_(row, row, value=-1)
        at.add_(1)

    repeat(choose, count, device)
    return chosen

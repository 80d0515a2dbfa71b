"""DivPrune and CDPruner as published, step by step: the other side of the pruners' benchmark.

Written from the papers (arXiv 2503.02175, algorithm 1; arXiv 2506.10967, with the fast greedy inference of
Chen et al. 2018), in the formulation of the authors' code: the whole n × n matrix at once, then a loop over
the tokens to choose. On features that are all different they choose what hawk's methods choose, a test
asserts it; where tokens repeat they choose one twice or divide by 0, as the authors' code does.
"""

from __future__ import annotations

import torch
from torch import Tensor


def divprune(features: Tensor, count: int) -> Tensor:
    """Max-min diversity on a full matrix of distances, [n, n]; the rows of what is chosen are taken out of
    it anew in every step, O(count² n) in all."""
    vectors = torch.nn.functional.normalize(features.float(), dim=-1)
    distances = 1 - vectors @ vectors.T
    chosen = torch.empty(count, dtype=torch.long, device=features.device)
    for step in range(count):
        if step == 0:
            # The smallest distance of a column is the one to itself: the second tells the neighbour.
            nearest = distances.topk(2, dim=0, largest=False).values[1]
        else:
            nearest = distances[chosen[:step]].amin(0)
        chosen[step] = nearest.argmax()
    return chosen


def cdpruner(features: Tensor, question: Tensor, count: int) -> Tensor:
    """Greedy MAP of the determinantal point process on a full kernel, [n, n], conditioned on relevance to
    the mean of ``question`` [m, hidden]; Cholesky rows are computed for every token in every step."""
    vectors = torch.nn.functional.normalize(features.float(), dim=-1)
    text = torch.nn.functional.normalize(question.float().mean(0), dim=-1)
    relevance = vectors @ text
    low, high = relevance.min(), relevance.max()
    relevance = (relevance - low + 1e-6) / (high - low)
    kernel = relevance[:, None] * (vectors @ vectors.T) * relevance[None]
    factors = torch.zeros(count, len(features), device=features.device)
    gain = kernel.diagonal().clone()
    chosen = torch.empty(count, dtype=torch.long, device=features.device)
    for step in range(count):
        pick = gain.argmax()
        chosen[step] = pick
        explained = torch.einsum("t,tn->n", factors[:step, pick], factors[:step])
        factors[step] = (kernel[pick] - explained) / gain[pick].sqrt()
        gain = gain - factors[step].square()
        gain[pick] = -torch.inf
    return chosen

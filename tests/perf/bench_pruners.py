"""Time and memory of token selection, per pruner, at the geometry of Qwen2.5-VL-7B.

Run by ``make bench`` or ``python tests/perf/bench_pruners.py``; prints a table and asserts nothing.
Random weights and features: times do not depend on them (but for lazy coverage, whose work grows
where tokens are alike; random ones are worst apart). On one CPU thread the clock is the process's own, so
that other work on the machine does not count. One decoder layer of real size, hidden 3584, 28
heads, 4 key-value heads, d 128, 64 text tokens, ratio 0.8. What is timed is everything that the
method adds to a prompt whose embeddings are in place; VisionZip, whose work lies in the vision
tower, is timed on a tower layer of real size.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from aims import aim
from rivals import cdpruner, divprune
from torch import Tensor, nn

from hawk.models.base import ScoringLayer, VisualItem
from hawk.pruning import pruner
from hawk.pruning.base import Pruner

HIDDEN, HEADS, KV_HEADS, WIDTH, TEXT, RATIO = 3584, 28, 4, 128, 64, "0.8"
SLOW = 10.0  # seconds
COMPARED = 3  # calls at least of what is compared with the published algorithm
TOWER_WIDTH, TOWER_HEADS = 1280, 16

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "hawk": ("hawk", {}),
    "hawk, attention": ("hawk", {"text_reduction": "attention"}),
    "fastv": ("fastv", {}),
    "divprune": ("divprune", {}),
    "cdpruner": ("cdpruner", {}),
    "mmtok": ("mmtok", {}),
    "visionzip": ("visionzip", {}),
    "dart": ("dart", {}),
    "evs": ("evs", {}),
    "facility location": ("facility_location", {}),
    "dpp over hawk": ("dpp", {"scorer": {"method": "hawk"}}),
    "mmr over hawk": ("mmr", {"scorer": {"method": "hawk"}}),
    "random": ("random", {}),
    "grid": ("grid", {}),
}


class Context(SimpleNamespace):
    """What pruners read of a PruningContext, without a model around it."""


def context(side: int, device: str, dtype: torch.dtype) -> Context:
    torch.manual_seed(0)
    tokens = side * side
    norm = nn.RMSNorm(HIDDEN, eps=1e-6)
    q_proj, k_proj = nn.Linear(HIDDEN, HEADS * WIDTH), nn.Linear(HIDDEN, KV_HEADS * WIDTH)
    for module in (norm, q_proj, k_proj):
        module.to(device, dtype).requires_grad_(False)
    layer = ScoringLayer(norm, q_proj, k_proj, HEADS, KV_HEADS, WIDTH)
    hidden = torch.randn(tokens + TEXT, HIDDEN, device=device, dtype=dtype)
    visual = torch.arange(tokens)
    text = torch.arange(tokens, tokens + TEXT)
    item = VisualItem(hidden[:tokens], (1, side, side))
    generator = torch.Generator().manual_seed(0)
    return Context(
        tokens=tokens,
        features=hidden[:tokens],
        items=[item],
        device=hidden.device,
        unchecked=[],
        visual_index=visual,
        text_index=text,
        query_ids=None,
        hidden_at=lambda number: hidden,
        query_index=lambda span: text,
        query_embeddings=lambda span: hidden[tokens:],
        scoring_layer=lambda number: layer,
        projected=lambda what, number: getattr(layer, what)(norm(hidden)),
        generator=lambda seed: generator,
        once=lambda what, owner, compute: compute(),  # timed every time
    )


def fastv_row(given: Context) -> Tensor:
    """FastV's work in its hook: one row of attention of one layer, over the whole prompt."""
    from hawk.pruning.rotary import rotate

    layer, hidden = given.scoring_layer(0), given.hidden_at(0)
    cos = torch.ones(len(hidden), WIDTH, device=hidden.device, dtype=hidden.dtype)
    normed = layer.norm(hidden)
    query = rotate(layer.q_proj(normed[-1:]).unflatten(-1, (HEADS, WIDTH)), cos[-1:], cos[-1:])
    keys = rotate(layer.k_proj(normed).unflatten(-1, (KV_HEADS, WIDTH)), cos, cos)
    grouped = query[0].float().unflatten(0, (KV_HEADS, -1))
    products = torch.einsum("grd,ngd->grn", grouped, keys.float())
    return products.softmax(-1).mean((0, 1))[: given.tokens]


def visionzip_layer(side: int, device: str, dtype: torch.dtype) -> Any:
    """Attention received in one full-attention layer: four patches per visual token."""
    from hawk.pruning.methods.visionzip import received

    hidden = torch.randn(4 * side * side, TOWER_WIDTH, device=device, dtype=dtype)
    projection = nn.Linear(TOWER_WIDTH, 2 * TOWER_WIDTH).to(device, dtype).requires_grad_(False)

    def work() -> Tensor:
        queries, keys = projection(hidden).unflatten(-1, (2, TOWER_HEADS, -1)).float().unbind(1)
        return received(queries, keys).view(-1, 4).mean(1)

    return work


def top(scores: Tensor, count: int) -> Tensor:
    return torch.sort(scores, descending=True, stable=True).indices[:count]


def job(name: str, given: Context, side: int, device: str, dtype: torch.dtype) -> Any:
    method, options = METHODS[name]
    made: Pruner = pruner(method, pruning_ratio=RATIO, **options)
    count = made.count(given.tokens)
    every = torch.arange(given.tokens, device=device)
    if method == "fastv":
        return lambda: top(fastv_row(given), count)
    if method == "visionzip":
        layer = visionzip_layer(side, device, dtype)
        return lambda: top(layer(), count)
    return lambda: made.select(given, every, count)


def published(name: str, given: Context) -> Any:
    """The same choice in the authors' formulation, for the methods that have one here; else None."""
    count = pruner(name, pruning_ratio=RATIO).count(given.tokens) if name in ("divprune", "cdpruner") else 0
    if name == "divprune":
        return lambda: divprune(given.features, count)
    if name == "cdpruner":
        return lambda: cdpruner(given.features, given.query_embeddings("instruction"), count)
    return None


def measure(
    work: Any, device: str, seconds: float, least: int = 1, memory: bool = True
) -> tuple[list[float], float]:
    """(milliseconds of warm calls, ascending; peak MB above what lies in memory).

    least: calls, however long they take, but for one of more than SLOW seconds.
    """
    cuda = device.startswith("cuda")
    clock = time.perf_counter if cuda or torch.get_num_threads() > 1 else time.process_time
    start = clock()
    work()
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    elif (cold := clock() - start) > SLOW:  # once is enough, and the profiler too slow
        return [1e3 * cold], float("nan")
    times: list[float] = []
    while len(times) < 3 or (sum(times) < seconds and len(times) < 50):
        start = clock()
        work()
        if cuda:
            torch.cuda.synchronize()
        times.append(clock() - start)
        if sum(times) > 4 * seconds and len(times) >= least:
            break
    if not memory:
        peak = float("nan")
    else:
        peak = (torch.cuda.max_memory_allocated() - before) / 1e6 if cuda else peak_cpu(work)
    return sorted(1e3 * took for took in times), peak


def peak_cpu(work: Any) -> float:
    """Peak MB of tensors alive at once, from the profiler's allocations."""
    from torch.profiler import ProfilerActivity, profile

    with silence(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        work()
    alive = peak = 0
    for event in found.profiler.kineto_results.events():
        if event.name() == "[memory]":
            alive += event.nbytes()
            peak = max(peak, alive)
    return peak / 1e6


@contextmanager
def silence() -> Iterator[None]:
    """The profiler talks on stderr, below Python."""
    own, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(own, 2)
        os.close(own)
        os.close(nothing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sides", type=int, nargs="+", default=[36, 72], help="1296 and 5184 tokens")
    parser.add_argument("--quick", action="store_true", help="36 tokens, to see that it runs")
    parser.add_argument("--seconds", type=float, default=1.0, help="about, per method and size")
    parser.add_argument("--only", nargs="+", default=list(METHODS), choices=list(METHODS))
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.sides, chosen.seconds = [6], 0.05
    torch.set_num_threads(chosen.threads)
    dtype = getattr(torch, chosen.dtype)
    where = torch.cuda.get_device_name() if chosen.device != "cpu" else f"{chosen.threads} CPU thread(s)"
    print(f"{where}, {chosen.dtype}, hidden {HIDDEN}, {HEADS} heads, ratio {RATIO}")
    print("published: the same choice in the authors' formulation (tests/perf/rivals.py); lowest - highest\n")
    print(f"{'method':20s}{'tokens':>8s}{'ms':>11s}{'spread':>19s}{'x hawk':>9s}{'peak MB':>10s}"
          f"{'published ms':>14s}{'times':>7s}")  # fmt: skip
    for side in chosen.sides:
        given = context(side, chosen.device, dtype)
        base = 0.0
        for name in dict.fromkeys(["hawk", *chosen.only]):
            if name == "visionzip" and chosen.device == "cpu" and side > 40 and len(chosen.only) > 1:
                print(f"{name:20s}{given.tokens:8d}    minutes on a CPU; --only visionzip runs it")
                continue
            with torch.inference_mode():
                work = job(name, given, side, chosen.device, dtype)
                other = published(name, given)
                least = 1 if other is None else COMPARED
                times, peak = measure(work, chosen.device, chosen.seconds, least)
                took = statistics.median(times)
                base = base or took
                row = f"{name:20s}{given.tokens:8d}{took:11.2f}{times[0]:10.2f} -{times[-1]:7.2f}"
                row += f"{took / base:9.1f}{peak:10.1f}"
                if other is not None:
                    found, _ = measure(other, chosen.device, chosen.seconds, least, memory=False)
                    theirs = statistics.median(found)
                    row += f"{theirs:14.2f}{theirs / took:7.2f}"
            print(row, flush=True)
            if other is not None:
                words = f"{name}, {given.tokens} tokens, against the published algorithm"
                aim(words, theirs / took, "x", least=1)
    print(f"peak of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()

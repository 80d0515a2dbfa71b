"""HAWK's token score at Qwen2.5-VL-7B's geometry: fast path, full matrix, share of the prefill.

Run by ``make bench`` or ``python tests/perf/bench_scoring.py``; prints a table and asserts nothing.
Random weights. The full matrix is the authors' formulation: all text x vision products of layer 0,
averaged over text. The prefill of 28 layers is estimated from one layer of real shapes, timed here; on a CPU
in float32 at 1296 tokens only, where a call takes seconds. MB: memory beyond the inputs at its peak. On one
CPU thread (OMP_NUM_THREADS=1) the clock is the process's own, so that other work on the machine does not
count.

The limit counts bytes alone. In float32 the score computes as well: of 12 ms at 1296 tokens, on a processor
with avx512_bf16, reading the query projection takes 3, the norm 4, and the product of 28 directions with
every token 4.5, at the rate of a large matrix product. Tries on it gave 22 to 40 times the authors' speed.
In bfloat16 the ratio is the processor's: one that multiplies in bfloat16 serves the authors' formulation best
(13 to 18 times at 1296 tokens); one that does not needs seconds for it, and 145 and 280 times were measured.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from aims import aim
from bench_pruners import peak_cpu
from torch import Tensor, nn

from hawk.models.base import ScoringLayer
from hawk.pruning.methods.hawk import Hawk

HIDDEN, HEADS, KV_HEADS, WIDTH, MLP, LAYERS = 3584, 28, 4, 128, 18_944, 28
TEXT, RATIO = 64, "0.8"
REPEATS = 5
SLOW = 3.0  # seconds
FASTER = {  # than the authors' formulation, on one CPU thread
    (torch.float32, 1296): 40, (torch.float32, 5184): 35,
    (torch.bfloat16, 1296): 18, (torch.bfloat16, 5184): 25,
}  # fmt: skip
MEGABYTES = 16


class Context:
    """What the score reads of a PruningContext: hidden states in place, no model around them."""

    query_ids = None

    def __init__(self, visual: int, device: str, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        self.hidden = torch.randn(visual + TEXT, HIDDEN, device=device, dtype=dtype)
        self.layer = ScoringLayer(
            norm=nn.RMSNorm(HIDDEN, eps=1e-6).to(device, dtype),
            q_proj=nn.Linear(HIDDEN, HEADS * WIDTH).to(device, dtype),
            k_proj=nn.Linear(HIDDEN, KV_HEADS * WIDTH).to(device, dtype),
            heads=HEADS,
            kv_heads=KV_HEADS,
            head_dim=WIDTH,
        )
        self.visual_index = torch.arange(visual)
        self.query = torch.arange(visual, visual + TEXT)
        self.device, self.unchecked = self.hidden.device, []
        self.tokens = visual

    def hidden_at(self, layer: int) -> Tensor:
        return self.hidden

    def scoring_layer(self, layer: int) -> ScoringLayer:
        return self.layer

    def query_index(self, span: str) -> Tensor:
        return self.query

    def once(self, what: str, owner: object, compute: Callable[[], Any]) -> Any:
        return compute()  # timed every time


def fast(context: Any, pruner: Hawk) -> Tensor:
    count = pruner.count(context.tokens)
    return pruner.select(context, context.visual_index.to(context.device), count).sort().values


def full_matrix(context: Any, pruner: Hawk) -> Tensor:
    """The authors' formulation, in the model's dtype as theirs."""
    layer = context.layer
    hidden = layer.norm(context.hidden)
    queries = layer.q_proj(hidden).view(-1, HEADS, WIDTH).transpose(0, 1)
    keys = layer.k_proj(hidden).view(-1, KV_HEADS, WIDTH).transpose(0, 1)
    keys = keys.repeat_interleave(HEADS // KV_HEADS, 0)[:, context.visual_index]
    raw = (queries[:, context.query] @ keys.transpose(1, 2) / WIDTH**0.5).mean(1)
    scores = (raw / raw.norm(dim=-1, keepdim=True)).mean(0)
    return scores.topk(pruner.count(context.tokens)).indices.sort().values


def prefill_layer(device: str, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """One decoder layer of real shapes; norms and rotation are left out, they cost little."""
    q = nn.Linear(HIDDEN, HEADS * WIDTH)
    kv = nn.Linear(HIDDEN, 2 * KV_HEADS * WIDTH)
    o = nn.Linear(HEADS * WIDTH, HIDDEN, bias=False)
    gate_up = nn.Linear(HIDDEN, 2 * MLP, bias=False)
    down = nn.Linear(MLP, HIDDEN, bias=False)
    for module in (q, kv, o, gate_up, down):
        module.to(device, dtype)

    def run(hidden: Tensor) -> Tensor:
        queries = q(hidden).view(1, -1, HEADS, WIDTH).transpose(1, 2)
        keys, values = kv(hidden).view(1, -1, 2, KV_HEADS, WIDTH).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(
            queries, keys, values, is_causal=True, enable_gqa=True
        )
        hidden = hidden + o(mixed.transpose(1, 2).flatten(2)[0])
        gate, up = gate_up(hidden).chunk(2, -1)
        return hidden + down(nn.functional.silu(gate) * up)

    return run


def milliseconds(work: Callable[[], Any], device: str) -> float:
    """Median of some warm calls; of the first alone if that was slow."""
    return statistics.median(times_of(work, device))


def times_of(work: Callable[[], Any], device: str) -> list[float]:
    """Milliseconds of some warm calls; of the first alone if that was slow."""
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    times: list[float] = []
    for number in range(REPEATS + 1):
        _synchronize(device)
        start = clock()
        work()
        _synchronize(device)
        took = clock() - start
        if number or took > SLOW:
            times.append(1e3 * took)
        if took > SLOW:
            break
    return times


def bandwidth(device: str) -> float:
    """Bytes read a second by a sum over more than any cache holds, the fastest of some."""
    values = torch.ones(2**28 if device == "cuda" else 2**26, device=device)
    return 1e3 * values.nbytes / min(times_of(values.sum, device))


def read_by_score(context: Context) -> int:
    """Bytes that no way of computing the score can leave unread: the embeddings, and the two projections."""
    layer = context.layer
    read = (context.hidden, layer.q_proj.weight, layer.k_proj.weight)
    return sum(tensor.nbytes for tensor in read)


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="64 tokens, to see that it runs")
    quickly = parser.parse_args().quick
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    speed = bandwidth(device)
    print(f"memory is read at {speed / 1e9:.1f} GB/s; limit: embeddings and projections read once at that")
    print(f"device {device}, torch {torch.__version__}, {TEXT} text tokens, ratio {RATIO}; milliseconds\n")
    print(f"{'dtype':>9} {'visual':>7} {'full matrix':>12} {'fast':>8} {'spread':>15} {'times':>6} "
          f"{'limit':>7} {'same':>7} {'MB':>6} "
          f"{'prefill':>9} {'share':>7}")  # fmt: skip
    for dtype in (torch.float32, torch.bfloat16):
        pruner = Hawk(pruning_ratio=RATIO)
        layer = prefill_layer(device, dtype)
        per_token = []
        for visual in (64,) if quickly else (1296, 5184):
            context = Context(visual, device, dtype)
            slow = milliseconds(lambda: full_matrix(context, pruner), device)  # noqa: B023
            times = times_of(lambda: fast(context, pruner), device)  # noqa: B023
            quick, limit = statistics.median(times), 1e3 * read_by_score(context) / speed
            prefill = float("nan")
            if device != "cpu" or (visual < 2000 and dtype == torch.float32):
                prefill = LAYERS * milliseconds(lambda: layer(context.hidden), device)  # noqa: B023
            ours, theirs = fast(context, pruner), full_matrix(context, pruner)
            same = torch.isin(ours, theirs).float().mean()
            peak = float("nan") if device != "cpu" else peak_cpu(lambda: fast(context, pruner))  # noqa: B023
            per_token.append(quick / visual)
            print(f"{str(dtype).removeprefix('torch.'):>9} {visual:>7} {slow:>12.2f} {quick:>8.2f} "
                  f"{min(times):>7.2f}-{max(times):>7.2f} "
                  f"{slow / quick:>6.1f} {limit:>7.2f} {same:>7.1%} {peak:>6.1f} "
                  f"{prefill:>9.0f} {quick / prefill:>7.2%}")  # fmt: skip
            name = f"token score, {str(dtype).removeprefix('torch.')}, {visual} tokens"
            if device == "cpu" and (dtype, visual) in FASTER:
                words = f"{name}, against the authors' formulation"
                aim(words, slow / quick, "x", least=FASTER[dtype, visual])
                aim(f"{name}, memory beyond the inputs", peak, "MB", most=MEGABYTES)
        if len(per_token) > 1:
            words = f"token score, {str(dtype).removeprefix('torch.')}, time per token from 1296 to 5184"
            aim(words, per_token[-1] / per_token[0], "x", most=1.1)


if __name__ == "__main__":
    main()

"""What ``make gpu`` measures, part by part; every part is a function of the run and of its record."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import bench_pruners
import bench_scoring
import torch
from bench_sweep import multiply_adds
from gpu_budget import Part, Row
from gpu_model import Geometry, build, inputs_of, prompts_of

from hawk.ablation.ablate_heads import AblateHeads
from hawk.ablation.shared_layers import score_layer
from hawk.core.heads import Head
from hawk.inference.phases import Phases, generate_by_phase
from hawk.inference.scoring import score_samples
from hawk.models import packed
from hawk.models.base import VisionLanguageModel
from hawk.pruning import REGISTRY, pruner
from hawk.pruning.base import Pruner
from hawk.pruning.options import facts
from hawk.pruning.prompt import prune

ROOT = Path(__file__).resolve().parents[2]
RATIOS = ("0.6", "0.8", "0.9")
NEW_TOKENS = 8
ANSWER = 2  # "Yes" and the end, as on MME, whose cost the paper states


@dataclass
class Run:
    """Where and on what everything is measured. The model is made when a part first needs it."""

    geometry: Geometry
    device: str
    repeats: int = 3
    log: Path | None = None  # where the whole output of the tests goes
    peak: float = float("nan")  # FLOP a second of a large matrix product
    bandwidth: float = float("nan")  # bytes a second, read and written
    start: float = float("nan")  # seconds until the model was there

    @cached_property
    def vlm(self) -> VisionLanguageModel:
        began = time.perf_counter()
        vlm = build(self.geometry, self.device)
        self.synchronize()
        self.start = time.perf_counter() - began
        return vlm

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")

    def synchronize(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any], calls: int = 1) -> float:
        """Median of some warm measurements of ``calls`` calls each, per call."""
        times = []
        for _ in range(self.repeats + 1):
            self.synchronize()
            began = time.perf_counter()
            for _ in range(calls):
                work()
            self.synchronize()
            times.append((time.perf_counter() - began) / calls)
        return statistics.median(times[1:])


def gpu_tests(run: Run, part: Part) -> None:
    """The tests that are marked gpu, in a process of its own; only files that have one are collected."""
    if not run.cuda:
        return part.leave_out("the tests marked gpu need a CUDA device")
    marked = sorted(p for p in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in p.read_text())
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "gpu",
        "-rsfE",
        "-vv",  # a line per test, so that the output tells how far they came
        "--tb=short",
        "-p",
        "no:cacheprovider",
        *map(str, marked),
    ]
    # In front of what this process was given there: packages that the environment lacks, or has older.
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=max(1, part.left())
        )
    except subprocess.TimeoutExpired as late:
        part.status = "cut"
        said = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
        part.notes.append(f"the tests did not end in their time; passed: {said.count(' PASSED')}")
        part.notes += [line for line in said.splitlines() if re.search(" (FAILED|ERROR) ", line)]
        if run.log is not None:
            run.log.write_text(said)
        return None
    counts = {
        what: int(number) for number, what in re.findall(r"(\d+) (passed|failed|error|skipped)", done.stdout)
    }
    part.rows.append({"passed": 0, "failed": 0, "error": 0, "skipped": 0, **counts})
    part.notes += [
        line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR", "SKIPPED"))
    ]
    if run.log is not None:
        run.log.write_text(done.stdout + done.stderr)
    if done.returncode:
        part.fail(f"pytest ended with code {done.returncode}: {done.stdout[-300:]}")
    return None


def machine(run: Run, part: Part) -> None:
    """The card's rate in a large matrix product and in a copy: what the rest is compared with."""
    side = 8192 if run.cuda else 512
    dtype = getattr(torch, run.geometry.dtype)
    a, b = (torch.randn(side, side, device=run.device, dtype=dtype) for _ in range(2))

    def product() -> Row:
        run.peak = 2 * side**3 / run.seconds(lambda: a @ b, calls=10)
        return {"tflops": run.peak / 1e12}

    source = torch.empty(2**30 if run.cuda else 2**24, dtype=torch.uint8, device=run.device)
    target = torch.empty_like(source)

    def copy() -> Row:
        run.bandwidth = 2 * source.numel() / run.seconds(lambda: target.copy_(source), calls=10)
        return {"gb_per_s": run.bandwidth / 1e9}

    part.measure({"what": f"matrix product {side}, {run.geometry.dtype}"}, product)
    part.measure({"what": f"copy of {source.numel() / 2**20:.0f} MiB"}, copy)


def token_score(run: Run, part: Part) -> None:
    """HAWK's choice of tokens alone, beside the authors' full matrix and a prefill of 28 layers."""
    sides = (36, 72) if run.cuda else (8, 16)
    for dtype in (torch.float32, torch.bfloat16):
        layer = bench_scoring.prefill_layer(run.device, dtype)
        for side in sides:
            part.measure(
                {"dtype": str(dtype).removeprefix("torch."), "visual": side**2},
                lambda dtype=dtype, side=side, layer=layer: _token_score(run, dtype, side, layer),
            )


def _token_score(run: Run, dtype: torch.dtype, side: int, layer: Any) -> Row:
    chooser = pruner("hawk", pruning_ratio="0.8")
    context = bench_scoring.Context(side**2, run.device, dtype)
    fast = 1e3 * run.seconds(lambda: bench_scoring.fast(context, chooser))
    full = 1e3 * run.seconds(lambda: bench_scoring.full_matrix(context, chooser))
    prefill = 1e3 * bench_scoring.LAYERS * run.seconds(lambda: layer(context.hidden))
    chosen, theirs = bench_scoring.fast(context, chooser), bench_scoring.full_matrix(context, chooser)
    same = torch.isin(chosen, theirs).float().mean().item()
    read = bench_scoring.read_by_score(context)
    return {
        "ms": fast, "limit_ms": 1e3 * read / run.bandwidth, "full_matrix_ms": full, "same_choice": same,
        "share_of_prefill": fast / prefill, "us_per_token": 1e3 * fast / side**2,
    }  # fmt: skip


def greedy(run: Run, part: Part) -> None:
    """The rivals that choose one token after another, beside the published algorithms; the same work."""
    dtype = getattr(torch, run.geometry.dtype)
    for side in (36, 72) if run.cuda else (8,):
        given = bench_pruners.context(side, run.device, dtype)
        for name in ("divprune", "cdpruner"):
            part.measure({"method": name, "visual": side**2}, partial(_greedy, run, name, given, side, dtype))


def _greedy(run: Run, name: str, given: Any, side: int, dtype: torch.dtype) -> Row:
    ours = bench_pruners.job(name, given, side, run.device, dtype)
    theirs = bench_pruners.published(name, given)
    same = torch.isin(ours(), theirs()).float().mean().item()
    fast, slow = 1e3 * run.seconds(ours), 1e3 * run.seconds(theirs)
    return {"ms": fast, "published_ms": slow, "times": slow / fast, "same_choice": same}


# (rows of a batch, each the sides of its pictures in units of the ordinary one)
WAITS = {"one picture": [[1]], "large picture": [[2]], "four pictures": [[1] * 4], "16 rows": [[1]] * 16}


def waits(run: Run, part: Part) -> None:
    """Times that ``prune`` makes the CPU wait for the device, on features that are there.

    CUDA's debug mode counts every copy that is not declared asynchronous, to the device as well.
    """
    side = run.geometry.side
    chooser = pruner("hawk", pruning_ratio="0.8")
    for name, rows in WAITS.items():
        inputs = inputs_of(run.vlm, [[one * side for one in sides] for sides in rows], encoded=True)

        def work(inputs: dict[str, Any] = inputs) -> None:
            prune(chooser, run.vlm.model, run.vlm.family, inputs)

        work()
        part.measure({"prompt": name}, lambda work=work: {"waits": None} if not run.cuda else _waits(work))
    if not run.cuda:
        part.notes.append("nothing waits on a CPU: only counted with CUDA")


def _waits(work: Callable[[], None]) -> Row:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return count_waits(seen)


def count_waits(seen: Sequence[warnings.WarningMessage]) -> Row:
    """All waits, and those that a line of ours stands for, by line."""
    where = [f"{one.filename}:{one.lineno}" for one in seen if "synchronizing CUDA" in str(one.message)]
    ours = Counter(place.removeprefix(f"{ROOT}/") for place in where if place.startswith(f"{ROOT / 'hawk'}/"))
    return {"waits": len(where), "in_our_lines": sum(ours.values()), "lines": dict(ours.most_common())}


def choosers() -> Iterator[tuple[str, str, Callable[[], Pruner | None]]]:
    """(method, ratio, what makes its pruner), the most wanted first: what comes late is cut first.

    Of every registered method that chooses among the tokens of a prompt by what a model can know: not those
    that work on other pictures, nor those that are told which tokens matter.
    """
    yield "unpruned", "0", lambda: None
    methods = [m for m in REGISTRY if not (facts(m).other_images or facts(m).uses_relevant)]
    rivals = [method for method in methods if method != "hawk"]
    order = [("hawk", ratio) for ratio in ("0.8", "0.6", "0.9")]
    order += [(method, ratio) for ratio in ("0.8", "0.6", "0.9") for method in rivals]
    for method, ratio in order:
        if ratio == "0.8" or not facts(method).ratio_free:
            yield method, ratio, partial(pruner, method, pruning_ratio=ratio, **_options(method))


def _options(method: str) -> dict[str, Any]:
    """What a method cannot do without."""
    return {"scorer": {"method": "hawk"}} if "scorer" in facts(method).options else {}


def generation(run: Run, part: Part) -> None:
    """Vision, token score, prefill, decode, KV cache and peak memory of every method.

    Large batches at 80 % alone, large pictures for hawk alone.
    """
    g = run.geometry
    with attention(run, best_attention(run)):
        for rows, side in [(1, g.large), (g.batch, g.side), (1, g.side)]:
            inputs = inputs_of(run.vlm, [[side]] * rows)
            for method, ratio, make in choosers():
                ours = method in ("unpruned", "hawk")
                if not ours and (side == g.large or (rows > 1 and ratio != "0.8")):
                    continue
                what = {"batch": rows, "visual": side**2, "method": method, "ratio": ratio}
                part.measure(what, lambda make=make, inputs=inputs: _phases(run, inputs, make(), NEW_TOKENS))


def attentions(run: Run) -> list[str]:
    """Those that are there: with sdpa Qwen's vision tower attends window by window, else to all at once."""
    from transformers.utils import is_flash_attn_2_available

    flash = ["flash_attention_2"] if is_flash_attn_2_available() else []
    return ["sdpa", "varlen", *flash] if run.cuda else ["sdpa"]


def best_attention(run: Run) -> str:
    return "varlen" if run.cuda else "sdpa"


@contextmanager
def attention(run: Run, name: str) -> Iterator[None]:
    """The model with another attention: as ``hawk.load(attention=name)`` gives it."""
    if name == "varlen":
        packed.use(run.vlm.model)
    else:
        run.vlm.model.set_attn_implementation(name)
    try:
        yield
    finally:
        run.vlm.model.set_attn_implementation("sdpa")


def _phases(run: Run, inputs: dict[str, Any], chooser: Pruner | None, new: int) -> Row:
    found: list[Phases] = []
    for _ in range(run.repeats + 1):
        found.append(generate_by_phase(run.vlm, inputs, chooser, new, fixed_length=True)[0])
    columns = {key: [asdict(one)[key] for one in found[1:]] for key in asdict(found[0])}
    row: Row = {key: statistics.median(values) for key, values in columns.items()}
    row["total_ms_low"], row["total_ms_high"] = min(columns["total_ms"]), max(columns["total_ms"])
    return row


def end_to_end(run: Run, part: Part) -> None:
    """Picture to answer of two tokens, as the paper's cost on MME; pruned and unpruned take turns."""
    g = run.geometry
    for name in attentions(run):
        with attention(run, name):
            for rows, side in [(1, g.side), (g.batch, g.side), (1, g.large)]:
                inputs = inputs_of(run.vlm, [[side]] * rows)
                what = {"attention": name, "batch": rows, "visual": side**2}
                part.measure(what, lambda inputs=inputs: _speedup(run, inputs))


def _speedup(run: Run, inputs: dict[str, Any]) -> Row:
    times: dict[str, list[float]] = {"0": [], "0.8": []}
    memory: dict[str, int] = {}
    for turn in range(run.repeats + 3):
        for ratio, kept in times.items():
            chooser = None if ratio == "0" else pruner("hawk", pruning_ratio=ratio)
            phases, *_ = generate_by_phase(run.vlm, inputs, chooser, ANSWER, fixed_length=True)
            memory[ratio] = phases.peak_memory_bytes
            if turn:
                kept.append(phases.total_ms)
    plain, pruned = (statistics.median(found) for found in times.values())
    return {
        "unpruned_ms": plain, "pruned_ms": pruned, "speedup": plain / pruned, "paper": 1.34,
        "lowest": min(times["0"]) / max(times["0.8"]), "highest": max(times["0"]) / min(times["0.8"]),
        "memory_unpruned": memory["0"], "memory_pruned": memory["0.8"],
    }  # fmt: skip


def sweep(run: Run, part: Part) -> None:
    """Heads scored a second when a job has 1, 7 or all heads of a layer: the first, and the last.

    A job's start, which a larger job pays less often, is counted beside: here the model's making.
    """
    g = run.geometry
    heads, last = g.text["num_attention_heads"], g.text["num_hidden_layers"] - 1
    prompts = prompts_of(run.vlm, g.side, g.batch)
    score_samples(prompts, g.batch, what="warm-up")
    for layer in (0, last):
        for per_job in (1, 7, heads):
            what = {"layer": layer, "heads_per_job": "all" if per_job == heads else per_job}
            chosen = [Head(layer, number) for number in range(min(per_job, heads))]
            part.measure(what, lambda chosen=chosen: _sweep(run, prompts, chosen))


def _sweep(run: Run, prompts: Any, heads: list[Head]) -> Row:
    """One job's heads, as the step score_samples scores them."""
    batch, samples = run.geometry.batch, len(prompts.samples)
    with timed_forward(run) as inside:
        run.synchronize()
        began = time.perf_counter()
        if len(heads) == 1:
            attached = AblateHeads(heads, mode="zero").attach(run.vlm.model)
            score_samples(prompts, batch, ablation=attached, what="sweep")
        else:
            score_layer(prompts, batch, heads, "zero", what="sweep")
        run.synchronize()
        took = time.perf_counter() - began
    flops = 2 * multiply_adds(run.geometry.text) * inside["tokens"]
    row = {
        "heads": len(heads),
        "samples": samples,
        "seconds": took,
        "head_samples_per_s": len(heads) * samples / took,
        "start_s": run.start,
        "in_model": inside["seconds"] / took,
    }
    # Of a later layer's heads the layers below are computed once: their FLOPs are not known here.
    if heads[0].layer == 0 or len(heads) == 1:
        row["of_peak_in_model"] = flops / inside["seconds"] / run.peak
        row["of_peak_in_prefill"] = inside["prefill_flops"] / inside["prefill_seconds"] / run.peak
    return row


@contextmanager
def timed_forward(run: Run) -> Iterator[dict[str, float]]:
    """Seconds and tokens of every forward pass inside; and of those alone that read a prompt."""
    model = run.vlm.model
    found = {"seconds": 0.0, "tokens": 0, "prefill_seconds": 0.0, "prefill_flops": 0.0}
    forward = model.forward
    per_token = 2 * multiply_adds(run.geometry.text)

    def timed(*args: Any, **kwargs: Any) -> Any:
        run.synchronize()
        began = time.perf_counter()
        try:
            out = forward(*args, **kwargs)
        finally:  # a pass that ends early (hawk.models.partial) took its time as well
            run.synchronize()
            took = time.perf_counter() - began
            found["seconds"] += took
        tokens = kwargs["input_ids"].numel()
        found["tokens"] += tokens
        if kwargs["input_ids"].shape[1] > run.geometry.side**2:
            found["prefill_seconds"] += took
            found["prefill_flops"] += per_token * tokens
        return out

    model.forward = timed
    try:
        yield found
    finally:
        del model.forward

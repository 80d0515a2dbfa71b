"""Throughput of a head sweep: naive, one job per head, and all heads in one job.

Run by ``make bench`` or ``python tests/perf/bench_sweep.py [--mid N]``; prints a table per model and
asserts nothing. All numbers of a table come from one run on one thread, so read the ratios; on a
busy machine, those of CPU seconds.

(a) a process per head, batch 1, the vision tower in every one; (b) a process per head, stored
features, batches; (c) ``heads_per_job: all``: heads of layer 0, then, sharing the layers below it,
heads of the last layer, and for the tiny model every head of every layer, where the start of the
process is spread over most. Below the table: the share of the time inside the model, and the language
model's own multiply-adds there against a matrix product's rate on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
EMBEDDED = ROOT / "data" / "models" / "tiny-qwen2.5-vl"
MID = {
    "hidden_size": 768,
    "intermediate_size": 2816,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
}

# Scores heads in this process and says how much of it was spent inside the model, and on how many tokens.
TIMED = """
import json, sys, time
began = time.perf_counter()
from hawk.config.load import load_config
from hawk.core.paths import RunPaths
from hawk.steps import session
from hawk.steps.score_samples import score_samples
config, root, files = json.loads(sys.argv[1])
inside, tokens, loaded = [0.0], [0], session.load_for
def load_for(*words, **more):
    vlm = loaded(*words, **more)
    forward = vlm.model.forward
    def timed(*args, **kwargs):
        start = time.perf_counter()
        out = forward(*args, **kwargs)
        inside[0] += time.perf_counter() - start
        tokens[0] += kwargs["input_ids"].numel()
        return out
    vlm.model.forward = timed
    return vlm
session.load_for = load_for
opened = session.Session.open(config, RunPaths(root), "digits", "calibration")
score_samples(opened, files, {"name": "zero", "intervention": "zero"})
print(json.dumps([inside[0], tokens[0], time.perf_counter() - began]))
"""


def mid_size(folder: Path) -> Path:
    """A random model of about 100 M parameters with the embedded one's tokenizer and vision tower."""
    from hawk.training.architectures import build

    torch.manual_seed(0)
    tiny = build("qwen2_5_vl")
    config = tiny.model.config
    for key, value in MID.items():
        setattr(config.text_config, key, value)
    config.text_config.layer_types = ["full_attention"] * MID["num_hidden_layers"]
    config.text_config.head_dim = 64
    config.text_config.rope_parameters["mrope_section"] = [8, 12, 12]
    config.vision_config.out_hidden_size = MID["hidden_size"]
    model = type(tiny.model)(config)
    model.generation_config = tiny.model.generation_config
    model.save_pretrained(folder)
    tiny.processor.save_pretrained(folder)
    return folder


def config_of(model: Path, samples: int, pixels: int | None) -> dict[str, Any]:
    from hawk.config.load import fill

    text = json.loads((model / "config.json").read_text())["text_config"]
    section = {"path": str(model), "device": "cpu", "threads": 1}
    section |= {"layers": text["num_hidden_layers"], "heads": text["num_attention_heads"]}
    part = {
        "run": "bench",
        "model": section,
        "preprocessing": {"min_pixels": pixels, "max_pixels": pixels},
        "calibration": {"benchmarks": ["digits"], "samples": samples},
        "evaluation": {"benchmarks": ["digits"], "variants": [{"name": "blind", "method": "blind"}]},
        "generation": {"batch_size": 64},
    }
    return fill(part, "config")


@dataclass(frozen=True)
class Spent:
    """Seconds on the clock, and of CPU: what the clock would say on a machine that does nothing else."""

    clock: float
    cpu: float

    def over(self, heads: int) -> Spent:
        return Spent(self.clock / heads, self.cpu / heads)


def process(words: list[str]) -> tuple[Spent, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    clock, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(clock, cpu), done.stdout


def peak() -> float:
    """Multiply-adds per second of a large float32 matrix product on one thread."""
    torch.set_num_threads(1)
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    best = 0.0
    for _ in range(8):
        began = time.perf_counter()
        a @ b
        best = max(best, 1024**3 / (time.perf_counter() - began))
    return best


def bench(name: str, model: Path, samples: int, heads: int, pixels: int | None, whole: bool) -> None:
    from hawk.core.paths import RunPaths
    from hawk.steps.encode_images import encode_images
    from hawk.steps.prepare_samples import prepare_samples

    config = config_of(model, samples, pixels)
    with tempfile.TemporaryDirectory() as folder:
        root = f"{folder}/outputs/bench"
        prepare_samples(config, RunPaths(root), "calibration", "digits")
        encode_images(config, RunPaths(root), "calibration", "digits")

        def one_head(settings: dict[str, Any], head: str) -> Spent:
            output = f"{root}/scores/digits/zero/{head}.parquet"
            text = json.dumps(
                {k: v for k, v in settings.items() if k not in ("run", "calibration", "evaluation")}
            )
            return process(["-m", "hawk", "score-samples", "--config", text, output])[0]

        naive = {**config, "features": "recomputed"}
        naive["generation"] = {**config["generation"], "batch_size": 1}
        seconds = {"(a) naive": one_head(naive, "L0H0"), "(b) one job per head": one_head(config, "L0H1")}
        layers = config["model"]["layers"]
        swept = {"(c) heads of layer 0": [0], "(c) of the last layer": [layers - 1]}
        if whole:
            swept["(c) every head"] = list(range(layers))
        inside: dict[str, tuple[float, float, int]] = {}
        for label, chosen in swept.items():
            names = [f"L{layer}H{h}" for layer in chosen for h in range(heads)]
            files = [(name, f"{folder}/all/{name}.parquet") for name in names]
            spent, text = process(["-c", TIMED, json.dumps([config, root, files])])
            in_model, tokens, _ = json.loads(text)
            inside[label] = (spent.clock, in_model, tokens)
            seconds[label] = spent.over(len(names))
    slow = seconds["(a) naive"]
    print(f"\n{name}: {samples} samples, {heads} heads of a layer")
    print(f"{'head × samples':<24}{'per second':>12}{'× (a)':>8}{'per CPU s':>12}{'× (a)':>8}")
    for label, spent in seconds.items():
        print(
            f"{label:<24}{samples / spent.clock:>12.1f}{slow.clock / spent.clock:>8.1f}"
            f"{samples / spent.cpu:>12.1f}{slow.cpu / spent.cpu:>8.1f}"
        )
    text_config = json.loads((model / "config.json").read_text())["text_config"]
    clock, in_model, tokens = inside["(c) heads of layer 0"]
    used = multiply_adds(text_config) * tokens / peak() / in_model
    print(f"(c) heads of layer 0: {in_model / clock:.0%} of the time in the model; {used:.0%} of peak there")
    if whole:
        clock, in_model, _ = inside["(c) every head"]
        print(f"(c) every head: {in_model / clock:.0%} of the time in the model")


def multiply_adds(text: dict[str, Any]) -> float:
    """Per token of the language model: its matrices, without attention's products and the logits."""
    hidden, inner = text["hidden_size"], text["intermediate_size"]
    keys = hidden * text["num_key_value_heads"] // text["num_attention_heads"]
    return text["num_hidden_layers"] * (2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * inner)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=EMBEDDED, help="the tiny model's folder")
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--mid", type=int, default=8, help="samples for the mid-size model; 0 leaves it out")
    parser.add_argument("--quick", action="store_true", help="few samples and heads, to see that it runs")
    options = parser.parse_args()
    if options.quick:
        options.samples, options.heads, options.mid = 8, 2, 0
    bench("tiny", options.model, options.samples, options.heads, None, whole=True)
    if options.mid:
        with tempfile.TemporaryDirectory() as folder:
            # 256 visual tokens of 8 × 8 pixels
            bench("about 100 M parameters", mid_size(Path(folder)), options.mid, 4, 256 * 64, whole=False)


if __name__ == "__main__":
    main()

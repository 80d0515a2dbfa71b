"""Starting: CPU seconds of a scoring job in a process of its own, and of a run with and without `hawk warm`.

Run by ``make bench`` or ``python tests/perf/bench_start.py``; prints two tables and asserts nothing. The
job scores 16 stored prompts with the embedded model, so that nearly all of it is start-up. What the libraries
take by themselves stands beside it: no job that runs a model can be below. The run is the workflow on one
benchmark and few heads with ``--cores 2``, plain and beside a warm process, in turns. Each of its small jobs
pays for the libraries' import or for a fork, which bounds how near the two can come.

The variants of a benchmark are a job each; there is no ``variants_per_job``. Snakemake records inputs and
params of a whole job for every file that it makes, and compares both before a run: of a shared job each file
would have the weight files and options of all its variants, and another grouping would evaluate all of them
again. (Heads can share a job: their inputs and params are the same.) A job loads the model once for all its
ratios and seeds, so that sharing could save starts alone. By ``bench_start.py --evaluation``, with
config/config.yaml on one core of a busy machine, a start is 5.3 of the 7.7 CPU seconds of a job (mean of
seven variants on digits), and beside `hawk warm` 0.3 of 2.7. On a 7B the starts of its 169 jobs, 24 s each by
``hawk plan --config config/qwen2_5_vl_7b.yaml --card h100``, are 1.1 of 51 GPU hours.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from aims import aim

from hawk.tools.warm import THREADS

ROOT = Path(__file__).resolve().parents[2]
HAWK = [sys.executable, "-m", "hawk"]
MODEL = ROOT / "data" / "models" / "tiny-qwen2.5-vl"
FEWER = "import gc; gc.set_threshold(100_000, 10, 10); "  # collections, as hawk's own processes have
END = "; import os; os._exit(0)"  # as they end
IMPORTS = {
    "import torch": f"{FEWER}import torch{END}",
    "and the model's class": f"{FEWER}import transformers.models.qwen2_5_vl.modeling_qwen2_5_vl{END}",
}
FEATURES = "outputs/start/features/evaluation/digits.safetensors"
SCORES = "outputs/start/scores/digits/baseline/evaluation.parquet"
# Of config/config.yaml, those that need no head weights.
NEED_NO_WEIGHTS = ["hawk-uniform", "random", "keep_first", "grid", "divprune", "blind", "oracle"]
ADOPT = 36  # PR_SET_CHILD_SUBREAPER: a process whose parent ends becomes a child of this one


def config_of() -> dict[str, Any]:
    """Jobs enough for a run on two cores to have something to do at once: 8 heads and 2 variants."""
    variants = [{"name": name, "method": name} for name in ("random", "divprune")]
    return {
        "run": "start",
        "model": {"path": str(MODEL), "device": "cpu", "threads": 1, "layers": 4, "heads": 8},
        "ablation": {"recipes": [{"name": "zero", "intervention": "zero"}]},
        "calibration": {"benchmarks": ["digits"], "samples": 16},
        "evaluation": {"benchmarks": ["digits"], "samples": 16, "ratios": [0.8], "variants": variants},
        "generation": {"batch_size": 16},
        "statistics": {"resamples": 200},
    }


def spent(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds on the clock, and of CPU of all that the command started, whether it waited for it or not."""
    if sys.platform == "linux":  # elsewhere there is no warm process either
        ctypes.CDLL(None).prctl(ADOPT, 1, 0, 0, 0)
    threads = dict.fromkeys(THREADS, "1")  # as Snakemake gives a job; with others it takes no warm process
    environment = {**os.environ, **threads, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    clock = time.perf_counter() - began
    with suppress(ChildProcessError):
        while True:
            os.wait()  # for the warm process, which ends after its command
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{(done.stdout + done.stderr)[-3000:]}")
    return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def snakemake(*words: str) -> list[str]:
    """Snakemake on the config of the folder, two jobs at a time."""
    command = ["snakemake", *words, "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    return [sys.executable, "-m", *command, "--configfile", "config.yaml"]


def cold_job(folder: Path, repeats: int) -> None:
    spent(snakemake(FEATURES), folder)
    work = {label: [sys.executable, "-c", code] for label, code in IMPORTS.items()}
    work["the whole job"] = [*HAWK, "score-samples", "--config", "config.yaml", SCORES]
    found: dict[str, list[float]] = {label: [] for label in work}
    for _ in range(repeats):
        for label, command in work.items():
            found[label].append(spent(command, folder)[1])
    print(f"{'a process that does':<24}{'CPU s':>8}{'spread':>16}")
    for label, seconds in found.items():
        low, high = min(seconds), max(seconds)
        print(f"{label:<24}{statistics.median(seconds):>8.2f}{low:>9.2f} -{high:>5.2f}")
    whole = statistics.median(found["the whole job"])
    aim("cold scoring job, CPU", whole, "s", most=3)


def evaluation_jobs() -> None:
    """CPU seconds of a job that evaluates a variant, and of one that is nearly all start, with and without
    `hawk warm`; means over the variants."""
    demo = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    demo["model"]["path"] = str(MODEL)
    print(f"\n{'a job of evaluation':<24}{'by itself':>12}{'hawk warm':>12}   CPU s")
    for label, config, variants in (
        ("16 prompts at one ratio", config_of(), ["random", "divprune"]),
        ("as config/config.yaml", demo, NEED_NO_WEIGHTS),
    ):
        with tempfile.TemporaryDirectory() as name:
            folder, run = Path(name), config["run"]
            (folder / "config.yaml").write_text(yaml.safe_dump(config))
            spent(snakemake(f"outputs/{run}/features/evaluation/digits.safetensors"), folder)
            outputs = [f"outputs/{run}/evaluation/digits/{variant}.parquet" for variant in variants]
            step = [*HAWK, "evaluate-pruned", "--config", "config.yaml"]
            jobs = ["sh", "-ec", "\n".join(shlex.join([*step, output]) for output in outputs)]
            alone = spent(jobs, folder)[1]
            for output in outputs:
                (folder / output).unlink()
            _, idle = spent([*HAWK, "warm", "true"], folder)
            beside = spent([*HAWK, "warm", *jobs], folder)[1] - idle
            print(f"{label:<24}{alone / len(outputs):>12.2f}{beside / len(outputs):>12.2f}", flush=True)


def runs(repeats: int) -> None:
    ways = {"snakemake": [], "hawk warm": [*HAWK, "warm"]}
    found: dict[str, list[tuple[float, float]]] = {label: [] for label in ways}
    for _ in range(repeats):
        for label, before in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "config.yaml").write_text(yaml.safe_dump(config_of()))
                found[label].append(spent([*before, *snakemake()], Path(folder)))
    print(f"\n{'a run with --cores 2':<24}{'seconds':>8}{'spread':>16}{'CPU s':>8}")
    for label, both in found.items():
        clock, cpu = zip(*both, strict=True)
        print(
            f"{label:<24}{statistics.median(clock):>8.1f}{min(clock):>9.1f} -{max(clock):>5.1f}"
            f"{statistics.median(cpu):>8.1f}"
        )
    plain, warm = (statistics.median(clock for clock, _ in found[label]) for label in ways)
    aim("plain snakemake against hawk warm, a run of few jobs", plain / warm, "x", most=1.8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="cold jobs")
    parser.add_argument("--runs", type=int, default=1, help="whole runs of each kind")
    parser.add_argument("--evaluation", action="store_true", help="jobs of evaluation, and nothing else")
    parser.add_argument("--quick", action="store_true", help="one job, and no whole run")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.runs = 1, 0
    if options.evaluation:
        evaluation_jobs()
        return
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.yaml").write_text(yaml.safe_dump(config_of()))
        cold_job(Path(folder), options.repeats)
    if options.runs:
        runs(options.runs)


if __name__ == "__main__":
    main()

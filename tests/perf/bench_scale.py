"""Dry runs of 168, 6,272 and 50,000 ablation jobs, and the drops step over 6,288 score files.

Run by ``make bench`` or ``python tests/perf/bench_scale.py``; prints two tables and asserts nothing.
No model is loaded. Planning is what a real run pays before its first job; printing every job costs up to as
much again, and is timed for the smallest only. ``--files 3`` writes and reads 50,016 score files, which
takes minutes. The profile shows whose the time of planning is, and on what it goes.
"""

from __future__ import annotations

import argparse
import os
import pstats
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from aims import aim

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["easy_vqa", "digits", "shapes", "colors", "presence", "ai2d", "textvqa", "realworldqa"]
SIZES = [(6, 1, 28), (8, 28, 28), (8, 125, 50)]  # benchmarks, layers, heads


def config_of(benchmarks: int, layers: int, heads: int, samples: int = 100) -> dict[str, Any]:
    return {
        "run": "scale",
        "model": {"path": "owner/model", "layers": layers, "heads": heads},
        "ablation": {"recipes": [{"name": "zero", "intervention": "zero", "layers": list(range(layers))}]},
        "calibration": {"benchmarks": NAMES[:benchmarks], "samples": samples},
        "evaluation": {
            "benchmarks": NAMES[:benchmarks],
            "samples": samples,
            "variants": [{"name": "uniform", "method": "hawk", "weights": "uniform"}],
        },
        "statistics": {"resamples": 200},
    }


def measured(command: list[str], folder: Path) -> tuple[str, float, float]:
    """Seconds on the clock and of CPU, and peak memory, of a command as cells of a table; and the seconds."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=printed, stderr=printed)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        printed.seek(0)
        text = printed.read().decode(errors="replace")
    if status != 0:
        raise SystemExit(f"{' '.join(command)}\n{text[-3000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return f"{seconds:>8.1f} {cpu:>8.1f} {usage.ru_maxrss / 1024:>6.0f}", seconds, cpu


def dry_runs(folder: Path, sizes: list[tuple[int, int, int]]) -> None:
    print(f"{'ablation jobs':>14} {'dry run':<24} {'seconds':>8} {'CPU s':>8} {'MB':>6}")
    for size in sizes:
        (folder / "config.yaml").write_text(yaml.safe_dump(config_of(*size)))
        command = [
            sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2",
            "--directory", str(folder), "--configfile", "config.yaml", "--dry-run",
        ]  # fmt: skip
        jobs, planned = int(np.prod(size)), ("--quiet: only planned", ["--quiet"])
        for what, more in [planned] if jobs > 1000 else [("every job printed", []), planned]:
            cells, clock, cpu = measured([*command, *more], folder)
            print(f"{jobs:>14,} {what:<24} {cells}", flush=True)
            if jobs > 10_000:
                aim(f"dry run of {jobs:,} jobs, {what}", clock, "s", most=60)
            elif jobs > 1000:
                aim(f"dry run of {jobs:,} jobs, {what}, CPU", cpu, "s", most=8)


def shares(folder: Path, size: tuple[int, int, int]) -> None:
    """Whose the time of planning is: seconds inside functions of this repository's files, and all others."""
    (folder / "config.yaml").write_text(yaml.safe_dump(config_of(*size)))
    found = folder / "profile"
    command = [
        sys.executable, "-m", "cProfile", "-o", str(found), "-m", "snakemake", "--snakefile",
        str(ROOT / "Snakefile"), "--cores", "2", "--directory", str(folder), "--configfile", "config.yaml",
        "--dry-run", "--quiet",
    ]  # fmt: skip
    measured(command, folder)
    seconds: dict[str, float] = {"this repository": 0.0, "snakemake": 0.0, "other libraries": 0.0}
    found_in = pstats.Stats(str(found)).stats  # type: ignore[attr-defined]
    for (file, _, _), (_, _, own, _, _) in found_in.items():
        ours = file.startswith(str(ROOT)) and "site-packages" not in file
        name = "this repository" if ours else "snakemake" if "/snakemake" in file else "other libraries"
        seconds[name] += own
    whole = sum(seconds.values())
    print(f"\nplanning {int(np.prod(size)):,} jobs under a profiler, by the file that a function stands in")
    for name, own in seconds.items():
        print(f"{name:<18} {own:>6.1f} s {own / whole:>6.1%}", flush=True)
    print("\nthe functions with most time of their own")
    slowest = sorted(found_in.items(), key=lambda one: -one[1][2])[:8]
    for (file, line, name), (_, calls, own, _, _) in slowest:
        where = "/".join(Path(file).parts[-2:])
        print(f"{own:>6.1f} s {own / whole:>6.1%} {calls:>9,} calls  {where}:{line} {name}", flush=True)


def drops(folder: Path, size: tuple[int, int, int], samples: int) -> None:
    """Write a finished ablation of random scores and time ``hawk head-drops`` on it."""
    from hawk.config.load import fill
    from hawk.config.recipes import ablated_heads
    from hawk.core.files import write_table
    from hawk.core.paths import RunPaths
    from hawk.core.schemas import SAMPLES, SCORES

    config = fill(config_of(*size, samples), "config")
    (folder / "config.yaml").write_text(yaml.safe_dump(config_of(*size, samples)))
    os.chdir(folder)
    paths = RunPaths("outputs/scale")
    rng = np.random.default_rng(0)
    began, files = time.perf_counter(), 0
    for name in config["calibration"]["benchmarks"]:
        ids = [f"{name}-{i}" for i in range(samples)]
        blank = {"split": "test", "images": [], "video": None, "question": "?", "options": []}
        rows = [
            {
                "sample_id": i,
                "group_id": i,
                "metric_group": i,
                "references": ["yes"],
                "category": "a",
                **blank,
            }
            for i in ids
        ]
        identity = {"role": "calibration", "benchmark": name}
        write_table(paths.samples("calibration", name), rows, SAMPLES, {"identity": identity, "settings": {}})
        for what in [
            "reference",
            "repeat1",
            *map(str, ablated_heads(config, config["ablation"]["recipes"][0])),
        ]:
            scores = rng.integers(0, 2, samples).astype(float)
            rows = [
                {"sample_id": i, "prediction": "yes", "parsed": "yes", "score": s, "reference_logprob": -s,
                 "prompt_tokens": 9, "visual_tokens": 4, "kept_tokens": 4}
                for i, s in zip(ids, scores.tolist(), strict=True)
            ]  # fmt: skip
            identity = {"role": "calibration", "benchmark": name, "ablation": "zero", "name": what}
            identity["intervention"] = "zero"
            if what.startswith("L"):
                identity["head"] = what
            block = {"identity": identity, "settings": {"protocol": "vlmevalkit"}}
            write_table(paths.scores(name, "zero", what), rows, SCORES, block)
            files += 1
    print(f"\n({files:,} score files written in {time.perf_counter() - began:.0f} s)", flush=True)
    command = [sys.executable, "-m", "hawk", "head-drops", "--config", "config.yaml", "--ablation", "zero"]
    cells, clock, _ = measured(command, folder)
    print(f"{'score files':>14} {'seconds':>8} {'CPU s':>8} {'MB':>6}")
    print(f"{files:>14,} {cells}", flush=True)
    if files > 10_000:
        aim(f"drops of {files:,} score files", clock, "s", most=60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--largest", type=int, default=3, choices=[1, 2, 3], help="how many of the three sizes"
    )
    parser.add_argument(
        "--files", type=int, default=2, choices=[1, 2, 3], help="score files of which size; 3 takes minutes"
    )
    parser.add_argument("--samples", type=int, default=100, help="rows of a score file")
    parser.add_argument("--quick", action="store_true", help="the smallest, to see that it runs")
    options = parser.parse_args()
    if options.quick:
        options.largest, options.files, options.samples = 1, 1, 10
    with tempfile.TemporaryDirectory() as folder:
        dry_runs(Path(folder), SIZES[: options.largest])
        shares(Path(folder), SIZES[min(options.largest, 2) - 1])
    with tempfile.TemporaryDirectory() as folder:
        drops(Path(folder), SIZES[options.files - 1], options.samples)
        os.chdir(ROOT)


if __name__ == "__main__":
    main()

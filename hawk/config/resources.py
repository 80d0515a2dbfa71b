"""What a job asks of the machine: memory and time, estimated from its input and the model. No torch here.

Each function gives one that Snakemake calls with a job's wildcards, input and attempt.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from hawk.benchmarks.bases.video import VideoBenchmark
from hawk.config.queries import benchmark_named, samples_section
from hawk.core.shipped import resolve

START_MB = 3000  # the libraries
UNKNOWN_MODEL_MB = 17_000  # 7B parameters in half precision
START_MINUTES = 15


class JobResources:
    """Estimates for one config.

    Stored features are memory-mapped and count little; images to encode are read whole.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.stored = config["features"] == "stored"
        self.model_mb = model_mb(config["model"]["path"])

    @property
    def scoring(self) -> float:
        """How much of its input a scoring job holds in memory."""
        return 0.1 if self.stored else 4

    def memory(self, factor: float) -> Callable[..., int]:
        """Host memory in MB: libraries, weights, ``factor`` times the input. Half as much more on retry."""
        fixed = START_MB + 1.2 * self.model_mb
        return lambda wildcards, input, attempt: round(
            (fixed + factor * megabytes(input)) * 1.5 ** (attempt - 1)
        )

    def minutes(self, passes: int = 1, encode: bool = False) -> Callable[..., int]:
        """Time limit: a start, and passes over the input at a rate any GPU reaches. Doubled on retry.

        A stored image is some megabytes of features; an encoded one, a tenth of a megabyte of file.
        A video takes a minute to decode, and its thousands of tokens seconds to score.
        """
        rate = 10.0 if self.stored and not encode else 0.1  # MB per second
        clip = 10 if self.stored and not encode else 60  # seconds
        return lambda wildcards, input, attempt: round(
            (START_MINUTES + passes * (megabytes(input) / rate + clip * self.clips(wildcards)) / 60)
            * 2 ** (attempt - 1)
        )

    def clips(self, wildcards: Any) -> int:
        """Questions of a job that asks about videos, which are files of their own and count in no input."""
        bench = benchmark_named(self.config, wildcards.benchmark)
        if not isinstance(bench, VideoBenchmark):
            return 0
        # A job without a role is one of the ablation, or has a variant and evaluates.
        role = "evaluation" if hasattr(wildcards, "variant") else wildcards.get("role", "calibration")
        return self.config[samples_section(role)]["samples"] or bench.published_rows


def model_mb(path: str) -> int:
    """Size of the weights: of a folder, of a Hub id in the cache, or what a model of 7B has."""
    hub = os.environ.get("HF_HUB_CACHE") or f"{os.environ.get('HF_HOME', '~/.cache/huggingface')}/hub"
    cached = Path(hub).expanduser().glob(f"models--{path.replace('/', '--')}/snapshots/*")
    sizes = [
        sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        for folder in [Path(resolve(path)), *cached]
    ]
    return max(sizes) // 2**20 or UNKNOWN_MODEL_MB


def megabytes(files: Iterable[str]) -> float:
    """Size of a job's input. ``input.size_mb`` starts an event loop: a quarter of a large dry run.

    A file that is not there yet raises, and Snakemake asks again when it is.
    """
    return sum(os.path.getsize(file) for file in files) / 2**20

"""How long jobs would take on a card that is only named: a vendor's numbers and stated assumptions.

An estimate to choose between settings, right within a factor of two or so; ``hawk plan --measure`` times
the real thing. No model is loaded and nothing is downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hawk.core.errors import InputError


@dataclass(frozen=True)
class Card:
    """Dense bfloat16 FLOP/s and bytes/s of memory, as the vendor states them."""

    flops: float
    bandwidth: float


CARDS = {
    "a100": Card(312e12, 2.0e12),
    "h100": Card(989e12, 3.35e12),
    "h200": Card(989e12, 4.8e12),
    "l40s": Card(362e12, 0.864e12),
    "rtx4090": Card(165e12, 1.01e12),
    "v100": Card(125e12, 0.9e12),  # float16: it has no bfloat16
}
# What a job gets of that. 40 % in a prefill, half the bandwidth while decoding, at least 20 ms a step:
# usual values of transformers' generate; `make gpu` measures them on a card.
USED, READ, STEP = 0.4, 0.5, 0.020
IMPORTS, LOADING = 10.0, 1e9  # seconds of a job's start, and bytes of weights read a second
NEW_TOKENS, TEXT_TOKENS, VISUAL_TOKENS = 8, 64, 1296
TOWER, PATCHES = 0.7e9, 4  # parameters of a vision tower, and its patches per visual token


@dataclass(frozen=True)
class Timing:
    """Measured or estimated on one device; seconds per start of a job, per image, per scored sample; bytes
    on disk."""

    device: str
    start: float
    encode: float
    score: float
    feature_bytes: float
    sample_bytes: float
    row_bytes: float


def parameters_of(config: Mapping[str, Any]) -> float:
    """Parameters of the model by its name: 7B is 7 billion."""
    sizes = re.findall(r"(\d+(?:\.\d+)?)[bB](?![a-zA-Z0-9])", str(config["model"]["path"]))
    if not sizes:
        raise InputError(
            f"model.path {config['model']['path']!r} does not say how large the model is (as 7B does); give "
            "--parameters, in billions."
        )
    return float(sizes[-1]) * 1e9


def visual_tokens(config: Mapping[str, Any]) -> int:
    """Visual tokens of a prompt: an ordinary picture's, or as many as the config asks for at least."""
    least = config["preprocessing"]["min_pixels"] or 0
    return max(VISUAL_TOKENS, least // 28**2)


def estimated(config: Mapping[str, Any], name: str, parameters: float) -> Timing:
    """What a job takes on a named card; ``parameters`` is a count."""
    if name not in CARDS:
        raise InputError(f"--card {name!r} is not known; allowed: {', '.join(CARDS)}.")
    card, batch = CARDS[name], config["generation"]["batch_size"]
    visual = visual_tokens(config)
    width = 2 * parameters  # bytes of the weights, in two bytes a number
    prefill = 2 * parameters * (visual + TEXT_TOKENS) / (USED * card.flops)
    step = max(STEP, width / (READ * card.bandwidth)) / batch
    hidden = 128 * (config["model"].get("heads") or 28)
    return Timing(
        device=name,
        start=IMPORTS + width / LOADING,
        encode=2 * TOWER * PATCHES * visual / (USED * card.flops),
        score=prefill + NEW_TOKENS * step,
        feature_bytes=2 * visual * hidden,
        sample_bytes=1e5,
        row_bytes=40.0,
    )


def assumptions(config: Mapping[str, Any], name: str, parameters: float) -> str:
    """What :func:`estimated` takes for granted, in a sentence."""
    card = CARDS[name]
    return (
        f"Estimated, not measured, for {name} by its vendor's numbers ({card.flops / 1e12:.0f} TFLOP/s, "
        f"{card.bandwidth / 1e12:.2g} TB/s), of which a prefill gets {USED:.0%} and decoding {READ:.0%}, "
        f"{STEP * 1e3:.0f} ms a step at least; {parameters / 1e9:g} billion parameters of two bytes, read at "
        f"{LOADING / 1e9:g} GB/s after {IMPORTS:.0f} s of imports; prompts of {visual_tokens(config)} visual "
        f"and {TEXT_TOKENS} text tokens, {NEW_TOKENS} new ones, batches of "
        f"{config['generation']['batch_size']}; a vision tower of {TOWER / 1e9:g} billion parameters. Other "
        "picture sizes and answers scale it. --measure 8 times this machine instead."
    )

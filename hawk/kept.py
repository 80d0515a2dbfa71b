"""The step kept_tokens: a few evaluation images with what every variant keeps of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hawk.benchmarks import Sample, benchmark
from hawk.benchmarks.images import open_image, rgb
from hawk.config import weights_subset
from hawk.figures import save, style
from hawk.figures_retention import KeptTokens, kept_token_panel
from hawk.paths import RunPaths
from hawk.pruning.budget import ratio_text
from hawk.samples import read_samples
from hawk.scoring import Prompts, features_for, load_for, score_samples
from hawk.variants import build, needs_tower

EXAMPLES = 4


def kept_tokens_step(config: Mapping[str, Any], root: str) -> list[str]:
    """Draw figures/kept_tokens: one sample of each of the first benchmarks, at the middle ratio."""
    paths = RunPaths(root)
    evaluation = config["evaluation"]
    ratios = sorted(evaluation["ratios"])
    ratio = ratio_text(ratios[len(ratios) // 2])
    stored = config["features"] == "stored"
    vlm = load_for(config, vision=not stored)
    entries = []
    for name in evaluation["benchmarks"][:EXAMPLES]:
        bench = benchmark(name, config["data"].get(name))
        role = evaluation["role"]
        samples = read_samples(paths.samples(role, name), role, name)
        path = paths.features(role, name) if stored else None
        features = features_for(config, vlm, samples, path)
        protocol = config["generation"]["protocol"]
        sample = next(
            (s for s in samples if _drawable(Prompts(vlm, bench, [s], features, protocol), s)), None
        )
        if sample is None:
            continue
        prompts = Prompts(vlm, bench, [sample], features, protocol)
        kept, notes = {}, {}
        for variant in evaluation["variants"]:
            if needs_tower(variant):
                continue  # it saw another image, or the tower that is not here
            subset = weights_subset(config, variant, name)
            weights = None if subset is None else paths.head_weights(*subset)
            pruner = build(config, variant, ratio, 0, vlm.geometry, weights)
            (row,) = score_samples(prompts, bench, protocol, 1, pruner=pruner)
            kept[variant["name"]] = pruner.last.kept_index[0].tolist()
            notes[variant["name"]] = f"{row['prediction']} ({row['kept_tokens']})"
        _, rows, columns = prompts.items(sample)[0].grid
        title = f"{sample.question} {sample.references[0]}"
        image = rgb(open_image(sample.images[0]["bytes"]))
        entries.append(KeptTokens(image, rows, columns, kept, title, notes))
    if not entries:
        raise ValueError("no evaluation sample has a single image with a rectangular grid of tokens")
    with style():
        return save(kept_token_panel(entries), paths, "kept_tokens")


def _drawable(prompts: Prompts, sample: Sample) -> bool:
    """One image whose visual tokens are one rectangle."""
    items = prompts.items(sample)
    if len(items) != 1:
        return False
    frames, rows, columns = items[0].grid
    return frames == 1 and rows * columns == items[0].tokens

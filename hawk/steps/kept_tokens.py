"""The step kept_tokens: a few evaluation images, or frames of videos, with what every variant keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hawk.benchmarks import benchmark
from hawk.benchmarks.samples import read_samples
from hawk.config.queries import weights_subset
from hawk.core.paths import RunPaths
from hawk.inference.preprocessing import prepare_image, read_clip
from hawk.inference.prompts import Prompts
from hawk.inference.scoring import score_samples
from hawk.inference.visual_files import VisualFile
from hawk.models.base import Layout, VisionLanguageModel, VisualItem
from hawk.pruning.budget import ratio_text
from hawk.report.figures.kept_tokens import KeptTokens, kept_token_panel
from hawk.report.figures.style import save, style
from hawk.steps.session import features_for, load_for
from hawk.steps.variants import build, needs_tower

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
        sample = samples[0]
        prompts = Prompts(vlm, bench, [sample], features, protocol)
        file, item = prompts.files[0][0], prompts.items(0)[0]
        image, layout, what = picture(vlm, file, item, config["preprocessing"])
        kept, notes = {}, {}
        for variant in evaluation["variants"]:
            if needs_tower(variant):
                continue  # it saw another image, or the tower that is not here
            subset = weights_subset(config, variant, name)
            weights = None if subset is None else paths.head_weights(*subset)
            pruner = build(config, variant, ratio, 0, vlm.geometry, weights)
            (row,) = score_samples(prompts, bench, protocol, 1, pruner=pruner)
            chosen = set(pruner.last.kept_index[0].tolist())
            kept[variant["name"]] = [i for i, token in enumerate(layout.tokens) if token in chosen]
            notes[variant["name"]] = f"{row['prediction']} ({row['kept_tokens']})"
        title = f"{what}{sample.question} {sample.references[0]}"
        entries.append(KeptTokens(image, layout.rows, layout.columns, kept, title, notes))
    with style():
        return save(kept_token_panel(entries), paths, "kept_tokens")


def picture(
    vlm: VisionLanguageModel, file: VisualFile, item: VisualItem, preprocessing: Mapping[str, Any]
) -> tuple[Any, Layout, str]:
    """The first image of a sample, or the middle frame of its video; its tokens; what is shown."""
    if file.modality == "image":
        assert isinstance(file.source, bytes)
        image = prepare_image(vlm, file.source, preprocessing)
        return image, vlm.family.layout(vlm.model, vlm.processor, item, image.size[::-1]), ""
    from PIL import Image

    clip = read_clip(vlm, file, preprocessing)
    steps, rows, columns = item.grid
    step = steps // 2
    frame = step * -(-len(clip.frames) // steps)  # some models merge frames in twos
    begin = step * rows * columns
    tokens = tuple(range(begin, begin + rows * columns))
    title = f"(frame {frame + 1} of {len(clip.frames)}) "
    return Image.fromarray(clip.frames[frame]), Layout(rows, columns, tokens), title

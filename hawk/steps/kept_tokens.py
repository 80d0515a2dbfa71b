"""The step kept_tokens: a few evaluation images, or frames of videos, with what every variant keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hawk.config.queries import weights_subset
from hawk.core.paths import RunPaths
from hawk.inference.preprocessing import prepare_image, read_clip
from hawk.inference.scoring import prepared, score_prompt
from hawk.inference.visual_files import VisualFile
from hawk.models.base import Layout, VisionLanguageModel, VisualItem
from hawk.pruning.budget import ratio_text
from hawk.report.figures.kept_tokens import KeptTokens, kept_token_panel
from hawk.report.figures.style import save, style
from hawk.steps.session import Session
from hawk.steps.variants import build, needs_tower

EXAMPLES = 4


READS = (
    "seed",
    "model",
    "preprocessing",
    "features",
    "generation",
    "scoring",
    "weights.recipes",
    "evaluation",
    "calibration",
    "data",
)


def kept_tokens(config: Mapping[str, Any], paths: RunPaths) -> list[str]:
    """Draw figures/kept_tokens: one sample of each of the first benchmarks, at the middle ratio."""
    evaluation = config["evaluation"]
    ratios = sorted(evaluation["ratios"])
    ratio = ratio_text(ratios[len(ratios) // 2])
    entries = []
    vlm: VisionLanguageModel | None = None
    for name in evaluation["benchmarks"][:EXAMPLES]:
        session = Session.open(config, paths, name, evaluation["role"], pixels=True)
        if vlm is not None:
            session.vlm = vlm  # loaded once for all benchmarks
        vlm = session.vlm
        session.samples = session.samples[:1]
        entries.append(_example(session, ratio))
    with style():
        return save(kept_token_panel(entries), paths, "kept_tokens")


def _example(session: Session, ratio: str) -> KeptTokens:
    """What every variant keeps of the session's first sample, and what it answers."""
    config, vlm, prompts = session.config, session.vlm, session.prompts
    sample = session.samples[0]
    file, item = prompts.files[0][0], prompts.items(0)[0]
    image, layout, what = picture(vlm, file, item, config["preprocessing"])
    kept, notes = {}, {}
    for variant in config["evaluation"]["variants"]:
        if needs_tower(variant):
            continue  # it saw another image, or the tower that is not here
        subset = weights_subset(config, variant, session.name)
        weights = None if subset is None else session.paths.head_weights(*subset)
        pruner = build(config, variant, ratio, 0, vlm.geometry, weights)
        prompt = prepared(prompts, pruner, [0])
        (row,) = score_prompt(prompts, pruner, prompt, [0])
        chosen = set(prompt.last.kept_index[0].tolist())
        kept[variant["name"]] = [i for i, token in enumerate(layout.tokens) if token in chosen]
        notes[variant["name"]] = f"{row['prediction']} ({row['kept_tokens']})"
    title = f"{what}{sample.question} {sample.references[0]}"
    return KeptTokens(image, layout.rows, layout.columns, kept, title, notes)


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

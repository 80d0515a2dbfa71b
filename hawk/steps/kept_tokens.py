"""The step kept_tokens: a few evaluation images, or frames of videos, with what every variant keeps.

Beside the picture, figures/head_scores.json holds the same images with the token scores of every head of
the scoring layer: what the page shows of a head that is clicked.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from torch import Tensor

from hawk.config.queries import token_score_options, weights_subset
from hawk.core import atomic
from hawk.core.errors import InputError
from hawk.core.paths import RunPaths
from hawk.inference.preprocessing import prepare_image, read_clip
from hawk.inference.scoring import prepared, score_prompt
from hawk.inference.visual_files import VisualFile
from hawk.models.base import Layout, VisionLanguageModel, VisualItem
from hawk.pruning.budget import ratio_text
from hawk.pruning.context import PruningContext
from hawk.pruning.methods.hawk import Hawk, normalize
from hawk.report.figures.kept_tokens import KeptTokens, kept_token_panel
from hawk.report.figures.style import save, style
from hawk.steps.session import Session
from hawk.steps.variants import build, needs_tower

EXAMPLES = 4
WIDEST = 480  # pixels of an example image on the page


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
    """One sample of each of the first benchmarks, at the middle ratio; returns the files it wrote."""
    evaluation = config["evaluation"]
    ratios = sorted(evaluation["ratios"])
    ratio = ratio_text(ratios[len(ratios) // 2])
    entries: list[KeptTokens] = []
    examples: list[dict[str, Any]] = []
    vlm: VisionLanguageModel | None = None
    for name in evaluation["benchmarks"][:EXAMPLES]:
        session = Session.open(config, paths, name, evaluation["role"], pixels=True)
        session.samples = [sample for sample in session.samples if sample.images or sample.video][:1]
        if not session.samples:
            raise InputError(f"kept tokens: benchmark {name!r} has no sample with a picture to draw.")
        if vlm is not None:
            session.vlm = vlm  # loaded once for all benchmarks
        vlm = session.vlm
        entry, example = _example(session, ratio)
        entries.append(entry)
        examples.append(example)
    with style():
        written = save(kept_token_panel(entries, f"{100 * float(ratio):g} % removed"), paths, "kept_tokens")
    atomic.write_json(paths.head_scores(), {"examples": examples})
    return [*written, paths.head_scores()]


def _example(session: Session, ratio: str) -> tuple[KeptTokens, dict[str, Any]]:
    """What every variant keeps of the session's first sample and answers; and the same for the page."""
    config, vlm, prompts = session.config, session.vlm, session.prompts
    sample = session.samples[0]
    file, item = prompts.files[0][0], prompts.items(0)[0]
    image, layout, what = picture(vlm, file, item, config["preprocessing"])
    kept: dict[str, list[int]] = {}
    notes: dict[str, str] = {}
    answers: dict[str, dict[str, Any]] = {}
    for variant in config["evaluation"]["variants"]:
        if needs_tower(variant):
            continue  # it saw another image, or the tower that is not here
        subset = weights_subset(config, variant, session.name)
        weights = None if subset is None else session.paths.head_weights(*subset)
        pruner = build(config, variant, ratio, 0, vlm.geometry, weights)
        prompt = prepared(prompts, pruner, [0])
        (row,) = score_prompt(prompts, pruner, prompt, [0])
        chosen = set(prompt.last.kept_index[0].tolist())
        name = variant["name"]
        kept[name] = [i for i, token in enumerate(layout.tokens) if token in chosen]
        answers[name] = {"text": row["prediction"], "right": row["score"] > 0}
        verdict = "right" if row["score"] > 0 else "wrong"
        notes[name] = f"{row['prediction']} ({row['kept_tokens']} kept, {verdict})"
    question = f"{what}{sample.question}"
    title = f"{question} {sample.references[0]}"
    layer = config["scoring"]["layer"]
    looked = Looked(pruning_ratio=ratio, layer=layer, **token_score_options(config["scoring"]))
    prepared(prompts, looked, [0])
    example = {
        "benchmark": session.name,
        "question": f"{question} (answer: {sample.references[0]})",
        "layer": layer,
        "ratio": f"{100 * float(ratio):g} %",
        "rows": layout.rows,
        "columns": layout.columns,
        "scores": [_bytes(scores[list(layout.tokens)]) for scores in looked.seen[0]],
        "kept": kept,
        "answers": answers,
        **_shown(image),
    }
    return KeptTokens(image, layout.rows, layout.columns, kept, title, notes), example


@dataclass(frozen=True)
class Looked(Hawk):
    """HAWK that keeps what every head scored: a list of [heads, n], one per prompt."""

    seen: list[Tensor] = field(default_factory=list, repr=False, compare=False)

    def scores(self, context: PruningContext) -> Tensor:
        raw = self.head_scores(context)
        self.seen.append(normalize(raw.float().cpu(), "minmax"))
        return raw.mean(0)


def _bytes(scores: Tensor) -> str:
    """Scores in [0, 1] as one byte each, in base64."""
    return base64.b64encode(bytes((scores * 255).round().int().tolist())).decode("ascii")


def _shown(image: Image.Image) -> dict[str, Any]:
    """The image as the page shows it: a data URI, no wider than it needs to be."""
    small = image.convert("RGB")
    small.thumbnail((WIDEST, WIDEST))
    written = io.BytesIO()
    # Photographs are smaller as JPEG; drawings of a few pixels would blur.
    photo = max(small.size) > 200
    small.save(written, format="JPEG" if photo else "PNG", quality=80)
    kind = "jpeg" if photo else "png"
    code = base64.b64encode(written.getvalue()).decode("ascii")
    return {"image": f"data:image/{kind};base64,{code}", "width": image.width, "height": image.height}


def picture(
    vlm: VisionLanguageModel, file: VisualFile, item: VisualItem, preprocessing: Mapping[str, Any]
) -> tuple[Any, Layout, str]:
    """What the model sees of a sample's first image, or its video's middle frame; its tokens; its title."""
    if file.modality == "image":
        assert isinstance(file.source, bytes)
        image = prepare_image(vlm, file.source, preprocessing)
        image = image.crop(vlm.family.visible(vlm.processor, image.size[::-1]))
        return image, vlm.family.layout(vlm.model, vlm.processor, item, image.size[::-1]), ""

    clip = read_clip(vlm, file, preprocessing)
    steps, rows, columns = item.grid
    step = steps // 2
    frame = step * -(-len(clip.frames) // steps)  # some models merge frames in twos
    begin = step * rows * columns
    tokens = tuple(range(begin, begin + rows * columns))
    title = f"(frame {frame + 1} of {len(clip.frames)}) "
    return Image.fromarray(clip.frames[frame]), Layout(rows, columns, tokens), title

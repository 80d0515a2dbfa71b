"""The model card of head weights, and its picture, made from the file alone."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from hawk.core.heads import Head
from hawk.core.variants import TOKEN_SCORE, TOKEN_SCORE_VALUES

# Every ``weights`` here is a HeadWeights, whose module imports this one.

LICENCE = "apache-2.0"
DONE_TO_A_HEAD = {
    "zero": "zero: its output in the model is replaced by 0",
    "mean": "mean: its output in the model is replaced by its mean",
    "selection": "selection: the model is untouched, and tokens are chosen without the head",
    "keep_only": "keep_only: the model is untouched, and tokens are chosen by this head alone",
    "gradient": "gradient: an estimate of zero from gradients",
}
CELL, MARGIN = 24, 4


def card(
    weights: Any,
    repo_id: str,
    noise: Sequence[bool] | None = None,
    drops: Mapping[str, Sequence[float]] | None = None,
) -> str:
    """The text of ``README.md``.

    noise: per head, whether its weight lies where noise gives it too. drops: benchmark → points lost per
    head. Both are in the run, not in the file; None where the run is not at hand.
    """
    model = weights.model.get("id") or "an unnamed model"
    sections = [
        _front(weights),
        f"# Head weights for {model}",
        "One weight per attention head of one layer: what the head is worth to the answers. hawk keeps the "
        "visual tokens that the question scores highest with these heads, and removes the others first.",
        "![weights of the heads](heads.png)",
        "## Use\n\n" + _use(weights, repo_id),
        "## Model\n\n" + _facts(_model(weights)),
        "## Recipe\n\n" + _facts(_recipe(weights)),
        "## Calibration\n\n" + _calibration(weights),
        "## Heads\n\n" + _heads(weights, noise, drops),
        "## Null\n\n" + _null(noise),
        "## Made with\n\n" + _made_with(weights),
        f"## Licence\n\n{_licence(weights)}",
    ]
    return "\n\n".join(sections) + "\n"


def _front(weights: Any) -> str:
    lines = [f"license: {LICENCE}", "library_name: hawk-vlm", "tags: [visual-token-pruning, attention-heads]"]
    if weights.model.get("id", "").count("/") == 1:  # a Hub id, no path of a machine
        lines.append(f"base_model: {json.dumps(weights.model['id'])}")
    return "\n".join(["---", *lines, "---"])


_SNIPPET = """`pip install hawk-vlm`; with a picture of yours:

```python
import hawk
from PIL import Image

vlm = hawk.load({model!r})  # dtype="bfloat16" for a large model
picture = {{"type": "image", "image": Image.open("picture.jpg").convert("RGB")}}
question = {{"type": "text", "text": "What is in the picture?"}}
inputs = vlm.processor.apply_chat_template(
    [{{"role": "user", "content": [picture, question]}}],
    add_generation_prompt=True,
    tokenize=True,
    return_dict=True,
    return_tensors="pt",
).to(vlm.model.device)

weights = hawk.HeadWeights.load({repo_id!r})  # revision="…" pins a commit
with hawk.Hawk({options}).attach(vlm.model):
    out = vlm.model.generate(**inputs, max_new_tokens=64)
new = out[:, inputs["input_ids"].shape[1] :]
print(vlm.processor.batch_decode(new, skip_special_tokens=True)[0])
```"""


def _use(weights: Any, repo_id: str) -> str:
    """A program that runs as it stands, with the token score of the calibration."""
    own = {
        TOKEN_SCORE[key]: value
        for key, value in weights.token_score.items()
        if value != TOKEN_SCORE_VALUES[key][0]
    }
    options = ", ".join(["weights=weights", "pruning_ratio=0.8", *(f"{k}={v!r}" for k, v in own.items())])
    return _SNIPPET.format(model=weights.model.get("id") or "MODEL", repo_id=repo_id, options=options)


def _model(weights: Any) -> dict[str, Any]:
    g = weights.geometry
    return {
        "id": weights.model.get("id"),
        "revision": weights.model.get("revision"),
        "family": weights.model.get("family"),
        "geometry": f"{g.layers} layers x {g.heads} heads, {g.kv_heads} KV heads, head_dim {g.head_dim}",
        "scoring layer": weights.layer,
    }


def _recipe(weights: Any) -> dict[str, Any]:
    token_score = ", ".join(f"{key} {value}" for key, value in weights.token_score.items())
    return {
        "what was done to a head": DONE_TO_A_HEAD.get(weights.intervention, weights.intervention),
        "drops to weights": weights.weight_normalization,
        "token score": token_score or None,
    }


def _calibration(weights: Any) -> str:
    if not weights.samples:
        return str(weights.provenance.get("calibration") or "The file names no calibration benchmark.")
    rows = [f"| {name} | {count} |" for name, count in weights.samples.items()]
    table = "\n".join(["| benchmark | samples |", "|---|---|", *rows])
    return f"{table}\n\nSHA-256 of the set of calibration images: `{weights.calibration_groups}`"


def _heads(weights: Any, noise: Sequence[bool] | None, drops: Mapping[str, Sequence[float]] | None) -> str:
    """Heads by weight, with what each benchmark gives it and what it costs to switch it off."""
    drops, share = drops or {}, weights.per_benchmark
    heading = ["head", "weight", *(f"weight, {n}" for n in share), *(f"drop, {n}" for n in drops)]
    heading += [] if noise is None else ["as noise gives"]
    lines = ["| " + " | ".join(heading) + " |", "|---" * len(heading) + "|"]
    for i in sorted(range(len(weights.weights)), key=lambda i: -weights.weights[i]):
        cells = [str(Head(weights.layer, i)), f"{weights.weights[i]:.4f}"]
        cells += [f"{values[i]:.4f}" for values in share.values()]
        cells += [f"{values[i]:+.2f}" for values in drops.values()]
        cells += [] if noise is None else ["yes" if noise[i] else "no"]
        lines.append("| " + " | ".join(cells) + " |")
    about = f"Uniform weights would be {1 / len(weights.weights):.4f} each."
    if drops:
        about += " A drop is in points of the benchmark's metric: how much the head is worth."
    return "\n".join([about, "", *lines])


def _null(noise: Sequence[bool] | None) -> str:
    if noise is None:
        return "Whether these weights differ from what noise gives stands in its run, not in the file."
    outside = sum(not is_noise for is_noise in noise)
    return (
        f"{outside} of {len(noise)} weights lie outside the middle 95 % of the weights that come out when "
        "ablated and reference runs are swapped at random, image by image: if no head mattered."
    )


def _made_with(weights: Any) -> str:
    environment = weights.provenance.get("environment") or {}
    if weights.provenance.get("source"):
        return str(weights.provenance["source"])
    libraries = environment.get("libraries") or {}
    facts = {"hawk": environment.get("hawk"), "commit": environment.get("commit"), **libraries}
    return _facts(facts) or "The file does not say."


def _licence(weights: Any) -> str:
    notice = weights.provenance.get("notice")
    return (
        f"Apache-2.0. {notice}"
        if notice
        else "Apache-2.0. The model that they are for has a licence of its own."
    )


def _facts(facts: Mapping[str, Any]) -> str:
    return "\n".join(f"- {key}: {value}" for key, value in facts.items() if value is not None)


def picture(weights: Any) -> bytes:
    """A PNG: one row per benchmark and one for the pooled weights, one cell per head, on one colour scale."""
    from PIL import Image, ImageDraw, ImageFont

    rows = {"pooled": weights.weights, **weights.per_benchmark}
    total = {name: sum(map(abs, values)) or 1.0 for name, values in rows.items()}
    largest = max(max(map(abs, values)) / total[name] for name, values in rows.items()) or 1.0
    font = ImageFont.load_default()
    left = max(int(font.getlength(name)) for name in rows) + 2 * MARGIN
    heads = len(weights.weights)
    image = Image.new("RGB", (left + heads * CELL + MARGIN, (len(rows) + 1) * CELL + MARGIN), "white")
    draw = ImageDraw.Draw(image)
    for y, (name, values) in enumerate(rows.items()):
        draw.text((MARGIN, y * CELL + CELL // 4), name, fill="black", font=font)
        for x, value in enumerate(values):
            place = (left + x * CELL, y * CELL, left + (x + 1) * CELL - 2, (y + 1) * CELL - 2)
            draw.rectangle(place, fill=colour(value / total[name] / largest))
    for x in range(heads):
        draw.text((left + x * CELL + MARGIN, len(rows) * CELL + CELL // 4), str(x), fill="black", font=font)
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def colour(share: float) -> tuple[int, int, int]:
    """0 is nearly white, 1 dark blue; -1, of a head that counts against a token, dark red."""
    low, high = (247, 251, 255), (8, 48, 107) if share >= 0 else (103, 0, 13)
    red, green, blue = (round(a + (b - a) * min(abs(share), 1.0)) for a, b in zip(low, high))
    return red, green, blue

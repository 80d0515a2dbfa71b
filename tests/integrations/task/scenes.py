"""What the task hawk_scenes.yaml calls; lmms-eval reads this file, so it imports nothing of hawk."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

SIDE = 448  # a multiple of 28 and of 64: qwen_vl_utils, for 14-pixel patches, leaves it as it is


def doc_to_visual(doc: dict[str, Any]) -> list[Image.Image]:
    image = doc["image"]
    if isinstance(image, dict):
        image = Image.open(io.BytesIO(image["bytes"]))
    return [image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST)]


def doc_to_text(doc: dict[str, Any], lmms_eval_specific_kwargs: Any = None) -> str:
    return doc["question"]


def doc_to_messages(doc: dict[str, Any], lmms_eval_specific_kwargs: Any = None) -> list[dict[str, Any]]:
    content = [{"type": "image", "url": doc_to_visual(doc)[0]}, {"type": "text", "text": doc["question"]}]
    return [{"role": "user", "content": content}]


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    return {"exact": float(results[0].strip().lower() == doc["answer"].strip().lower())}

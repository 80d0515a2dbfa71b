"""Real processor classes for the models of ``tests/tiny_random.py``: same token ids, same patch sizes."""

from __future__ import annotations

from typing import Any

from tiny_random import MODELS, VOCAB

from hawk.models import family_of
from hawk.models.base import VisionLanguageModel, remember_markers

# What the ids of tiny_random.START to VIDEO are called, by family.
SPECIAL = {
    "qwen": ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"],
    "internvl": ["<img>", "</img>", "<IMG_CONTEXT>", "<video>"],
    "llava_onevision": ["<none>", "</none>", "<image>", "<video>"],
}
PLACES = {
    "qwen": ("<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|><|video_pad|><|vision_end|>"),
    "internvl": ("<IMG_CONTEXT>\n", "<video>\n"),
    "llava_onevision": ("<image>\n", "<video>\n"),
}
WORDS = [*"0123456789<>.:-?", "seconds", "Frame", "which", "one", "is", "red", "before", "yes"]

TEMPLATE = """\
{%- for message in messages -%}{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{{- IMAGE -}}
{%- elif part['type'] == 'video' -%}{{- VIDEO -}}
{%- else -%}{{- part['text'] -}}{%- endif -%}
{%- endfor -%}{{- '<|im_end|>\\n' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


def tokenizer(kind: str) -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<|im_start|>", "user", "\n", "<|im_end|>", "<|endoftext|>", *SPECIAL[kind], "[UNK]", *WORDS]
    assert len(names) <= VOCAB
    made = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(" "), "removed"),
            pre_tokenizers.Split(Regex(r"\n|[0-9]|[a-zA-Z]+|[^\w\s]"), "isolated"),
        ]
    )
    special = [name for name in names[:9] if name not in ("user", "\n")]
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    start, end, image, video = SPECIAL[kind]
    known = {"image_token": image, "video_token": video}
    if kind == "internvl":
        known = {"start_image_token": start, "end_image_token": end, "context_image_token": image}
        known["video_token"] = video
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", pad_token="<|endoftext|>", eos_token="<|im_end|>",
        padding_side="left", extra_special_tokens=known,
    )  # fmt: skip


def processor(family: str) -> Any:
    kind = family if family in SPECIAL else "qwen"
    words = tokenizer(kind)
    places = [repr(place) for place in PLACES[kind]]
    template = TEMPLATE.replace("IMAGE", places[0]).replace("VIDEO", places[1])
    if kind == "internvl":
        return _internvl(words, template)
    if kind == "llava_onevision":
        return _llava_onevision(words, template)
    import transformers

    shape = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
    size = {"size": {"shortest_edge": 256, "longest_edge": 1024}}
    name = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL", "qwen3_vl": "Qwen3VL"}[family]
    video = "Qwen3VLVideoProcessor" if family == "qwen3_vl" else "Qwen2VLVideoProcessor"
    if family == "qwen3_vl":
        frames = {"size": {"shortest_edge": 256, "longest_edge": 8192}}  # of all frames together
    else:
        frames = size
    return getattr(transformers, f"{name}Processor")(
        transformers.Qwen2VLImageProcessor(**shape, **size),
        words,
        getattr(transformers, video)(**shape, **frames),
        chat_template=template,
    )


def _internvl(words: Any, template: str) -> Any:
    from transformers import GotOcr2ImageProcessor, InternVLProcessor, InternVLVideoProcessor

    size = {"height": 32, "width": 32}
    images = GotOcr2ImageProcessor(size=size, crop_to_patches=True, min_patches=1, max_patches=4)
    videos = InternVLVideoProcessor(size=size)
    return InternVLProcessor(images, words, videos, image_seq_length=16, chat_template=template)


def _llava_onevision(words: Any, template: str) -> Any:
    from transformers import (
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
    )

    size = {"height": 16, "width": 16}
    pinpoints = [[16 * h, 16 * w] for h in (1, 2, 3) for w in (1, 2, 3)]
    return LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=pinpoints),
        words,
        LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=template,
    )


def vlm(family: str) -> VisionLanguageModel:
    """A random model with its processor. Tests may not change it."""
    model, made = MODELS[family](), processor(family)
    handle = family_of(model)
    remember_markers(model, handle.markers(made.tokenizer, model.config))
    return VisionLanguageModel(model, made, handle, {"id": family, "revision": None, "dtype": "float32"})

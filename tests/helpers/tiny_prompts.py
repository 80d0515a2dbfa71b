"""What a processor writes for the models of ``tiny_random.py``: random prompts, and the real class.

Two views of one thing, by family: :func:`build` makes a batch directly, with pixels drawn at random;
:func:`processor` is the processor of transformers, with the same token ids and patch sizes.
:data:`PROMPTS` says for every family which functions make them.

In a batch a prompt is a list of parts: an int is a text id, an :class:`Image` or a :class:`Video` what it
says. A row's pixels depend on its draw alone (its number, unless given), so that a row can be had again
by itself or several times in one batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from tiny_random import (
    END,
    IMAGE,
    MODELS,
    NEWLINE,
    PAD,
    START,
    USER,
    VIDEO,
    VISION_END,
    VISION_START,
    VOCAB,
)
from torch import Tensor

from hawk.models import family_of
from hawk.models.base import VisionLanguageModel
from hawk.models.turns import remember_markers

ASSISTANT = 40


@dataclass(frozen=True)
class Image:
    """Height and width in visual tokens (Qwen), or in tiles (InternVL, LLaVA-NeXT and -OneVision)."""

    height: int = 2
    width: int = 2


@dataclass(frozen=True)
class Video:
    """Frames, each of height x width visual tokens (Qwen) or one tile (the others)."""

    frames: int = 3
    height: int = 2
    width: int = 2


def prompt_ids(parts: list[list[int]]) -> list[int]:
    """One user turn and the opening of the answer."""
    body = [token for part in parts for token in part]
    return [START, USER, NEWLINE, *body, END, START, ASSISTANT, NEWLINE]


def left_padded(prompts: list[list[int]]) -> dict[str, Tensor]:
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), PAD)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for i, prompt in enumerate(prompts):
        ids[i, width - len(prompt) :] = torch.tensor(prompt)
        mask[i, width - len(prompt) :] = 1
    return {"input_ids": ids, "attention_mask": mask}


def generators(draws: Sequence[int]) -> Iterator[torch.Generator]:
    for draw in draws:
        yield torch.Generator().manual_seed(draw)


def _qwen_inputs(
    rows: list[list[Any]], draws: Sequence[int], frames_apart: bool = False, times: bool = False
) -> dict[str, Tensor]:
    """The frames of a video stand apart in Qwen3-VL; only Qwen2.5-VL knows their times."""
    grids: dict[str, list[list[int]]] = {"image": [], "video": []}
    pixels: dict[str, list[Tensor]] = {"image": [], "video": []}
    prompts = []
    for row, generator in zip(rows, generators(draws), strict=True):
        parts = []
        for part in row:
            if isinstance(part, int):
                parts.append([part])
                continue
            modality, token = ("image", IMAGE) if isinstance(part, Image) else ("video", VIDEO)
            frames = getattr(part, "frames", 1)
            area = part.height * part.width
            if frames_apart:
                groups = [[VISION_START, *[token] * area, VISION_END]] * frames
                # A frame's time, as text before each frame of a video.
                groups = [[50 + i, *g] if modality == "video" else g for i, g in enumerate(groups)]
                parts += groups
            else:
                parts.append([VISION_START, *[token] * (frames * area), VISION_END])
            grids[modality].append([frames, 2 * part.height, 2 * part.width])
            pixels[modality].append(torch.randn(4 * frames * area, 96, generator=generator))
        prompts.append(prompt_ids(parts))
    inputs = left_padded(prompts)
    ids = inputs["input_ids"]
    for modality, name in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        if grids[modality]:
            inputs[name] = torch.cat(pixels[modality])
            inputs[f"{modality}_grid_thw"] = torch.tensor(grids[modality])
    if grids["image"] or grids["video"]:
        inputs["mm_token_type_ids"] = (ids == IMAGE).long() + 2 * (ids == VIDEO).long()
    if grids["video"] and times:
        inputs["second_per_grid_ts"] = torch.tensor([0.7] * len(grids["video"]))
    return inputs


def _internvl_inputs(rows: list[list[Any]], draws: Sequence[int]) -> dict[str, Tensor]:
    """Tiles and a thumbnail where an image has more than one tile; video frames are images."""
    pixels, prompts = [], []
    for row, generator in zip(rows, generators(draws), strict=True):
        parts = []
        for part in row:
            if isinstance(part, int):
                parts.append([part])
            elif isinstance(part, Image):
                count = part.height * part.width
                count += count > 1
                pixels.append(torch.randn(count, 3, 32, 32, generator=generator))
                parts.append([VISION_START, *[IMAGE] * (16 * count), VISION_END])
            else:
                pixels.append(torch.randn(part.frames, 3, 32, 32, generator=generator))
                parts += [[50 + i, VISION_START, *[IMAGE] * 16, VISION_END] for i in range(part.frames)]
        prompts.append(prompt_ids(parts))
    inputs = left_padded(prompts)
    if pixels:
        inputs["pixel_values"] = torch.cat(pixels)
    return inputs


def _llava_onevision_inputs(rows: list[list[Any]], draws: Sequence[int]) -> dict[str, Tensor]:
    """A lone image is tiled (base view, then rows that end in a newline), several are not."""
    sizes, counts, views, videos, prompts = [], [], [], [], []
    for row, generator in zip(rows, generators(draws), strict=True):
        images = [part for part in row if isinstance(part, Image)]
        counts += [len(images)] if images else []
        parts = []
        for part in row:
            if isinstance(part, int):
                parts.append([part])
            elif isinstance(part, Image):
                sizes.append([16 * part.height, 16 * part.width])
                views.append(torch.randn(10, 3, 16, 16, generator=generator))
                area = part.height * part.width * 16
                tokens = 16 + area + 4 * part.height if len(images) == 1 else 17
                parts.append([IMAGE] * tokens)
            else:
                videos.append(torch.randn(part.frames, 3, 16, 16, generator=generator))
                parts.append([VIDEO] * (part.frames * 4 + 1))
        prompts.append(prompt_ids(parts))
    inputs = left_padded(prompts)
    if sizes:
        inputs["image_sizes"] = torch.tensor(sizes)
        inputs["batch_num_images"] = torch.tensor(counts)
        inputs["pixel_values"] = torch.stack(views)
    if videos:
        inputs["pixel_values_videos"] = torch.stack(videos)
    return inputs


# --- the processors of transformers ---
# What the ids of tiny_random.START to VIDEO are called, by kind of prompt.
CHATML = ["<|im_start|>", "user", "\n", "<|im_end|>", "<|endoftext|>"]
SPECIAL = {
    "qwen": [*CHATML, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"],
    "internvl": [*CHATML, "<img>", "</img>", "<IMG_CONTEXT>", "<video>"],
    "llava_onevision": [*CHATML, "<none>", "</none>", "<image>", "<video>"],
    "vicuna": ["<s>", "USER", "\n", "</s>", "<pad>", "<none>", "</none>", "<image>", "<video>"],
    "mistral": ["<s>", "INST", "\n", "</s>", "<pad>", "<none>", "</none>", "<image>", "<video>"],
    "idefics3": [
        "<|begin_of_text|>", "User", "\n", "<end_of_utterance>", "<pad>",
        "<fake_token_around_image>", "<none>", "<image>", "<video>",
    ],
    "smolvlm": [
        "<|im_start|>", "User", "\n", "<end_of_utterance>", "<pad>",
        "<fake_token_around_image>", "<global-img>", "<image>", "<video>",
    ],
}  # fmt: skip
PLACES = {
    "qwen": ("<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|><|video_pad|><|vision_end|>"),
    "internvl": ("<IMG_CONTEXT>\n", "<video>\n"),
    "llava_onevision": ("<image>\n", "<video>\n"),
}
# Tokenizers that begin every text with the first special token, by themselves.
BEGIN = {"vicuna", "mistral", "idefics3"}
# Of SmolVLM a tile's place is one token; of Idefics3 it is many, as is the sign of the whole image.
PLACE_TOKENS = {"smolvlm": [f"<row_{y}_col_{x}>" for y in range(1, 5) for x in range(1, 5)]}
WORDS = [
    *"0123456789<>.:-?[]/_", "\n\n", "seconds", "Frame", "which", "one", "is", "red", "before", "yes",
    "ASSISTANT", "Assistant", "row", "col", "global", "img",
]  # fmt: skip

# As the checkpoints write them: LLaVA-1.5 (images first), LLaVA-NeXT with Mistral, Idefics3 and SmolVLM.
VICUNA_TEMPLATE = """\
{%- for message in messages -%}
{{- message['role'].upper() + ': ' -}}
{%- for part in message['content'] if part['type'] == 'image' -%}{{- '<image>\n' -}}{%- endfor -%}
{%- for part in message['content'] if part['type'] == 'text' -%}{{- part['text'] + ' ' -}}{%- endfor -%}
{%- endfor -%}{%- if add_generation_prompt -%}{{- 'ASSISTANT:' -}}{%- endif -%}
"""
MISTRAL_TEMPLATE = """\
{%- for message in messages -%}{{- '[INST] ' -}}
{%- for part in message['content'] if part['type'] == 'image' -%}{{- '<image>\n' -}}{%- endfor -%}
{%- for part in message['content'] if part['type'] == 'text' -%}{{- part['text'] -}}{%- endfor -%}
{{- ' [/INST]' -}}{%- endfor -%}
"""
IDEFICS3_TEMPLATE = """\
{{- BEGIN -}}{%- for message in messages -%}{{- message['role'].capitalize() -}}
{{- ':' if message['content'][0]['type'] == 'image' else ': ' -}}
{%- for part in message['content'] -%}
{%- if part['type'] == 'text' -%}{{- part['text'] -}}
{%- elif part['type'] == 'image' -%}{{- '<image>' -}}{%- endif -%}
{%- endfor -%}{{- '<end_of_utterance>\n' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'Assistant:' -}}{%- endif -%}
"""
TEMPLATE = """\
{%- for message in messages -%}{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{{- IMAGE -}}
{%- elif part['type'] == 'video' -%}{{- VIDEO -}}
{%- else -%}{{- part['text'] -}}{%- endif -%}
{%- endfor -%}{{- '<|im_end|>\\n' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


def _llava_inputs(rows: list[list[Any]], draws: Sequence[int]) -> dict[str, Tensor]:
    """Every image is one square, whatever its size; frames of a video are images."""
    pixels, prompts = [], []
    for row, generator in zip(rows, generators(draws), strict=True):
        parts = []
        for part in row:
            if isinstance(part, int):
                parts.append([part])
                continue
            for _ in range(getattr(part, "frames", 1)):
                pixels.append(torch.randn(3, 16, 16, generator=generator))
                parts.append([IMAGE] * 16)
        prompts.append(prompt_ids(parts))
    inputs = left_padded(prompts)
    if pixels:
        inputs["pixel_values"] = torch.stack(pixels)
    return inputs


def _llava_next_inputs(rows: list[list[Any]], draws: Sequence[int]) -> dict[str, Tensor]:
    """Every image is a base view and rows of tiles that end in a newline; frames of a video are images."""
    sizes, views, prompts = [], [], []
    for row, generator in zip(rows, generators(draws), strict=True):
        parts = []
        for part in row:
            if isinstance(part, int):
                parts.append([part])
                continue
            height, width = (part.height, part.width) if isinstance(part, Image) else (1, 1)
            for _ in range(getattr(part, "frames", 1)):
                sizes.append([16 * height, 16 * width])
                views.append(torch.randn(10, 3, 16, 16, generator=generator))
                parts.append([IMAGE] * (16 + 16 * height * width + 4 * height))
        prompts.append(prompt_ids(parts))
    inputs = left_padded(prompts)
    if sizes:
        inputs["image_sizes"] = torch.tensor(sizes)
        inputs["pixel_values"] = torch.stack(views)
    return inputs


def _idefics3_inputs(rows: list[list[Any]], draws: Sequence[int]) -> dict[str, Tensor]:
    """Tiles, each after its place, a line break after every row of them, then the whole image.

    VISION_START is the token around tiles, VISION_END the sign of the whole image. Frames are images.
    """
    pixels, prompts = [], []
    for row, generator in zip(rows, generators(draws), strict=True):
        parts, views = [], []
        for part in row:
            if isinstance(part, int):
                parts.append([part])
                continue
            height, width = (part.height, part.width) if isinstance(part, Image) else (1, 1)
            for _ in range(getattr(part, "frames", 1)):
                whole = [VISION_START, VISION_END, *[IMAGE] * 4, VISION_START]
                for y in range(height if height * width > 1 else 0):
                    for x in range(width):
                        parts.append([VISION_START, 60 + 6 * y + x, *[IMAGE] * 4])
                    parts.append([NEWLINE])
                parts.append([NEWLINE, *whole] if height * width > 1 else whole)
                count = height * width + (height * width > 1)
                views.append(torch.randn(count, 3, 16, 16, generator=generator))
        pixels.append(torch.cat(views) if views else torch.zeros(0, 3, 16, 16))
        prompts.append(prompt_ids(parts))
    inputs = left_padded(prompts)
    most = max(map(len, pixels))
    if most:
        padded = [torch.cat([one, torch.zeros(most - len(one), 3, 16, 16)]) for one in pixels]
        inputs["pixel_values"] = torch.stack(padded)
    return inputs


def tokenizer(kind: str) -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    own = SPECIAL[kind]
    names = [*own, "[UNK]", *WORDS, *PLACE_TOKENS.get(kind, [])]
    assert len(names) <= VOCAB
    made = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(" "), "removed"),
            pre_tokenizers.Split(Regex(r"\n+|[0-9]|[a-zA-Z]+|[^\w\s]"), "isolated"),
        ]
    )
    special = [name for i, name in enumerate(own) if i not in (USER, NEWLINE)] + PLACE_TOKENS.get(kind, [])
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    if kind in BEGIN:
        made.post_processor = processors.TemplateProcessing(
            single=f"{own[START]} $A", special_tokens=[(own[START], START)]
        )
    known = {"image_token": own[IMAGE], "video_token": own[VIDEO]}
    if kind == "internvl":
        known = {
            "start_image_token": own[VISION_START], "end_image_token": own[VISION_END],
            "context_image_token": own[IMAGE], "video_token": own[VIDEO],
        }  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", pad_token=own[PAD], eos_token=own[END],
        bos_token=own[START] if own[PAD] == "<pad>" else None,
        padding_side="left", extra_special_tokens=known,
    )  # fmt: skip


def _words_and_template(kind: str) -> tuple[Any, str]:
    places = [repr(place) for place in PLACES[kind]]
    return tokenizer(kind), TEMPLATE.replace("IMAGE", places[0]).replace("VIDEO", places[1])


def _qwen_processor(cls: str, frames_apart: bool = False) -> Any:
    import transformers

    words, template = _words_and_template("qwen")
    shape = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
    size = {"size": {"shortest_edge": 256, "longest_edge": 1024}}
    frames = {"size": {"shortest_edge": 256, "longest_edge": 8192}} if frames_apart else size  # of all frames
    video = "Qwen3VLVideoProcessor" if frames_apart else "Qwen2VLVideoProcessor"
    return getattr(transformers, f"{cls}Processor")(
        transformers.Qwen2VLImageProcessor(**shape, **size),
        words,
        getattr(transformers, video)(**shape, **frames),
        chat_template=template,
    )


def _internvl_processor() -> Any:
    from transformers import GotOcr2ImageProcessor, InternVLProcessor, InternVLVideoProcessor

    words, template = _words_and_template("internvl")
    size = {"height": 32, "width": 32}
    images = GotOcr2ImageProcessor(size=size, crop_to_patches=True, min_patches=1, max_patches=4)
    videos = InternVLVideoProcessor(size=size)
    return InternVLProcessor(images, words, videos, image_seq_length=16, chat_template=template)


def _llava_onevision_processor() -> Any:
    from transformers import (
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
    )

    words, template = _words_and_template("llava_onevision")
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


def _llava_processor() -> Any:
    from transformers import CLIPImageProcessor, LlavaProcessor

    square = {"height": 16, "width": 16}
    return LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=square),
        tokenizer("vicuna"),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=VICUNA_TEMPLATE,
    )


def _llava_next_processor() -> Any:
    from transformers import LlavaNextImageProcessor, LlavaNextProcessor

    pinpoints = [[16 * h, 16 * w] for h in (1, 2, 3) for w in (1, 2, 3)]
    square = {"height": 16, "width": 16}
    return LlavaNextProcessor(
        LlavaNextImageProcessor(size={"shortest_edge": 16}, crop_size=square, image_grid_pinpoints=pinpoints),
        tokenizer("mistral"),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=MISTRAL_TEMPLATE,
    )


TILES = {"size": {"longest_edge": 48}, "max_image_size": {"longest_edge": 16}}


def _idefics3_processor() -> Any:
    from transformers import Idefics3ImageProcessor, Idefics3Processor

    template = IDEFICS3_TEMPLATE.replace("BEGIN", "'<|begin_of_text|>'")
    return Idefics3Processor(
        Idefics3ImageProcessor(**TILES), tokenizer("idefics3"), image_seq_len=4, chat_template=template
    )


def _smolvlm_processor() -> Any:
    from transformers import SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor
    from transformers.models.smolvlm import processing_smolvlm

    # It asks for the package, which only prompts with a video need.
    processing_smolvlm.num2words = processing_smolvlm.num2words or str
    template = IDEFICS3_TEMPLATE.replace("BEGIN", "'<|im_start|>'")
    return SmolVLMProcessor(
        SmolVLMImageProcessor(**TILES),
        tokenizer("smolvlm"),
        SmolVLMVideoProcessor(),
        image_seq_len=4,
        chat_template=template,
    )


@dataclass(frozen=True)
class Maker:
    """How a family's prompts are made."""

    inputs: Callable[[list[list[Any]], Sequence[int]], dict[str, Tensor]]
    processor: Callable[[], Any]


PROMPTS = {
    "qwen2_vl": Maker(_qwen_inputs, partial(_qwen_processor, "Qwen2VL")),
    "qwen2_5_vl": Maker(partial(_qwen_inputs, times=True), partial(_qwen_processor, "Qwen2_5_VL")),
    "qwen3_vl": Maker(
        partial(_qwen_inputs, frames_apart=True), partial(_qwen_processor, "Qwen3VL", frames_apart=True)
    ),
    "internvl": Maker(_internvl_inputs, _internvl_processor),
    "llava_onevision": Maker(_llava_onevision_inputs, _llava_onevision_processor),
    "llava": Maker(_llava_inputs, _llava_processor),
    "llava_next": Maker(_llava_next_inputs, _llava_next_processor),
    "idefics3": Maker(_idefics3_inputs, _idefics3_processor),
    "smolvlm": Maker(_idefics3_inputs, _smolvlm_processor),
}


def build(family: str, rows: list[list[Any]], draws: Sequence[int] | None = None) -> dict[str, Tensor]:
    """The batch for a family's tiny model."""
    return PROMPTS[family].inputs(rows, range(len(rows)) if draws is None else draws)


def processor(family: str) -> Any:
    return PROMPTS[family].processor()


def vlm(family: str, model: torch.nn.Module | None = None) -> VisionLanguageModel:
    """A random model with its processor: one of its own, for markers are remembered by model.

    model: another of the family.
    """
    model, made = copy.deepcopy(MODELS[family]()) if model is None else model, processor(family)
    handle = family_of(model)
    remember_markers(model, handle.markers(made.tokenizer, model.config), made.tokenizer)
    return VisionLanguageModel(model, made, handle, {"id": family, "revision": None, "dtype": "float32"})

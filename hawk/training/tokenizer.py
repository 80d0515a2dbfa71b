"""Word-level tokenizers in Hugging Face format, with the families' special tokens and templates.

Text is lower-cased and split at spaces and punctuation; decoding joins words with single spaces.
Every answer is one word, so it survives the round trip.
"""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hawk.benchmarks.toy.vocabulary import WORDS

UNKNOWN, PAD, END_OF_TURN = "[UNK]", "<|endoftext|>", "<|im_end|>"
QWEN_SPECIAL = (
    PAD, "<|im_start|>", END_OF_TURN, "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
INTERNVL_SPECIAL = (
    PAD,
    "<|im_start|>",
    END_OF_TURN,
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<video>",
)

# Turns in ChatML. Content is a string, or a list of image, video and text parts in any order.
_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] in ('image', 'image_url') -%}
{{- 'IMAGE' -}}
{%- elif part['type'] == 'video' -%}
{{- 'VIDEO' -}}
{%- elif part['type'] == 'text' -%}
{{- part['text'] -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""
QWEN_TEMPLATE = _TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>").replace(
    "VIDEO", "<|vision_start|><|video_pad|><|vision_end|>"
)
# The processor puts the start and end tokens around the context tokens.
INTERNVL_TEMPLATE = _TEMPLATE.replace("IMAGE", "<IMG_CONTEXT>\\n").replace("VIDEO", "<video>\\n")


def build_tokenizer(special: tuple[str, ...], names: dict[str, str]) -> PreTrainedTokenizerFast:
    """A tokenizer that knows `special` and `WORDS`; processors ask for the attributes `names`."""
    vocabulary = {token: i for i, token in enumerate((UNKNOWN, *special, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        pad_token=PAD,
        eos_token=END_OF_TURN,
        padding_side="left",
        extra_special_tokens=names,
    )

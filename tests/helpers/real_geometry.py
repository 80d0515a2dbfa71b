"""A folder with a model of Qwen2.5-VL-7B's head geometry, real token ids and processor, and no knowledge.

28 query heads, 4 key-value heads, head_dim 128, as published; but one layer, a small MLP, a small vision
tower, tied embeddings, random weights in bfloat16. The vocabulary is the real one, from the PyPI package
``dashscope``. What it answers means nothing: after an answer's token it ends, so that runs are short.
"""

from __future__ import annotations

import base64
from pathlib import Path

import torch

HEADS, KV_HEADS, HEAD_DIM, LAYERS = 28, 4, 128, 1
HIDDEN = HEADS * HEAD_DIM
VOCABULARY = 152_064  # rows of the published embedding; the tokenizer has fewer
_ADDED = """
<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|>
<|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>
<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|>
"""
ADDED = tuple(_ADDED.split())
FIRST_ADDED = 151_643
PLAIN_ADDED = {
    one for one in ADDED if not one.startswith("<|") or "fim" in one or "repo" in one or "file" in one
}
ANSWERS = ("Yes", "No", "A", "B", "C", "D", "2", "no", "yes")
# The published template's rendering: a system line by default, one placeholder for a picture or video.
TEMPLATE = """{% if messages[0].role != 'system' %}<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content -%}
{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% elif part.type == 'video' -%}
<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif -%}
<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def tokenizer():
    """Qwen2.5's tokenizer from the published byte ranks, merges found by replaying them."""
    import dashscope
    from transformers import AddedToken, Qwen2Tokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    lines = (Path(dashscope.__file__).parent / "resources" / "qwen.tiktoken").read_text().split("\n")
    ranks = {base64.b64decode(word): int(rank) for word, rank in (line.split() for line in lines if line)}
    assert len(ranks) == FIRST_ADDED
    shown = bytes_to_unicode()

    def text(word: bytes) -> str:
        return "".join(shown[byte] for byte in word)

    merges = []
    for word, rank in ranks.items():
        if len(word) > 1:
            left, right = halves(word, rank, ranks)
            merges.append((text(left), text(right)))
    vocabulary = {text(word): rank for word, rank in ranks.items()}
    vocabulary |= {one: FIRST_ADDED + number for number, one in enumerate(ADDED)}
    result = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        unk_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        extra_special_tokens={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
    )
    result.add_tokens([AddedToken(one, special=one not in PLAIN_ADDED, normalized=False) for one in ADDED])
    return result


def halves(word: bytes, rank: int, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two parts that byte-pair encoding joins last to make the word."""
    parts = [word[i : i + 1] for i in range(len(word))]
    while len(parts) > 2:
        joined = [ranks.get(parts[i] + parts[i + 1], rank) for i in range(len(parts) - 1)]
        best = min(range(len(joined)), key=joined.__getitem__)
        assert joined[best] < rank
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts[0], parts[1]


def processor():
    from transformers import Qwen2_5_VLProcessor
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    size = {"shortest_edge": 3136, "longest_edge": 12_845_056}
    return Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(patch_size=14, merge_size=2, temporal_patch_size=2, size=size),
        tokenizer(),
        Qwen2VLVideoProcessor(patch_size=14, merge_size=2, temporal_patch_size=2),
        chat_template=TEMPLATE,
    )


def model(words):
    """Random weights; a text's answer is one of ``ANSWERS`` and then the end."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    vision = {
        "depth": 1,
        "hidden_size": 64,
        "num_heads": 4,
        "intermediate_size": 96,
        "out_hidden_size": HIDDEN,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 112,
        "fullatt_block_indexes": [0],
    }
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": 128,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": 128_000,
        "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6},
        "tie_word_embeddings": True,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
        "bos_token_id": None,
    }
    ids = {
        "image_token_id": words.convert_tokens_to_ids("<|image_pad|>"),
        "video_token_id": words.convert_tokens_to_ids("<|video_pad|>"),
        "vision_start_token_id": words.convert_tokens_to_ids("<|vision_start|>"),
        "vision_end_token_id": words.convert_tokens_to_ids("<|vision_end|>"),
    }
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
    config.dtype = torch.bfloat16
    torch.manual_seed(0)
    with torch.device("meta"):
        empty = Qwen2_5_VLForConditionalGeneration(config)
    result = empty.to(torch.bfloat16).to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in sorted(result.named_parameters()):
            if "norm" in name:
                parameter.fill_(1.0)
            elif parameter.ndim < 2:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
            elif "embed_tokens" not in name and "lm_head" not in name:
                scale = 1.5 / parameter[0].numel() ** 0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
        rotary(result)
        result.tie_weights()
        embeddings(result, words, generator)
    result.generation_config.eos_token_id = words.eos_token_id
    result.generation_config.pad_token_id = words.pad_token_id
    return result


def embeddings(result: torch.nn.Module, words, generator: torch.Generator) -> None:
    """Rows by which greedy decoding says an answer's token, and then the end.

    Answers have a direction of their own and one in common, of which the end's row has more than twice
    as much. After a prompt that direction is taken out, and some answer's own one wins; after an answer
    it stands in the residual stream, and the end wins.
    """
    weight = result.get_input_embeddings().weight
    for start in range(0, len(weight), 8192):
        part = weight[start : start + 8192]
        part.copy_(torch.randn(part.shape, generator=generator) * 0.02)
    common, *own = torch.nn.functional.normalize(
        torch.randn(1 + len(ANSWERS), HIDDEN, generator=generator), dim=-1
    )
    for answer, direction in zip(ANSWERS, own, strict=True):
        (token,) = words(answer, add_special_tokens=False)["input_ids"]
        weight[token] = (100.0 * direction + 100.0 * common).to(weight.dtype)
    weight[words.eos_token_id] = (230.0 * common).to(weight.dtype)
    prompt = words.apply_chat_template(
        [{"role": "user", "content": "Which?"}],
        chat_template=TEMPLATE,
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    last = prompt["input_ids"][0, -1]
    for _ in range(4):  # its row also enters what attention adds, so a few rounds
        state = last_state(result, prompt)
        # A little below 0, or pictures that push the state the other way would end at once.
        surplus = state @ common + 0.5 * state.norm() / HIDDEN**0.5
        weight[last] -= (surplus * common).to(weight.dtype)


def last_state(result: torch.nn.Module, prompt) -> torch.Tensor:
    """The residual stream at the prompt's end, before the last norm."""
    seen: list[torch.Tensor] = []
    norm = result.model.language_model.norm
    handle = norm.register_forward_pre_hook(lambda module, args: seen.append(args[0][0, -1]))
    try:
        result(**prompt)
    finally:
        handle.remove()
    return seen[0].float()


def rotary(result: torch.nn.Module) -> None:
    """Frequencies are buffers that are not saved; made on meta they must be made again."""
    for module in result.modules():
        if hasattr(module, "inv_freq"):
            fresh = type(module)(module.config) if hasattr(module, "config") else type(module)(module.dim)
            module.inv_freq = fresh.inv_freq
            if hasattr(module, "original_inv_freq"):
                module.original_inv_freq = fresh.inv_freq


def save(folder: Path) -> Path:
    """The folder that a config's ``model.path`` names."""
    made = processor()
    made.save_pretrained(folder)
    model(made.tokenizer).save_pretrained(folder)
    return folder

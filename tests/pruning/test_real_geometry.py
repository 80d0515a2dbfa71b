"""Qwen2.5-VL-7B's vocabulary, processor and layer shapes on real-sized images and videos."""

from __future__ import annotations

import os

import numpy as np
import pytest
import real
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from hawk.core.head_weights import HeadWeights
from hawk.models import family_by_type
from hawk.models.base import ScoringLayer
from hawk.models.turns import instruction_index
from hawk.pruning.budget import kept_count
from hawk.pruning.context import PruningContext
from hawk.pruning.methods.hawk import Hawk

FAMILY = family_by_type("qwen2_5_vl")
QUESTION = "What is written on the sign to the left of the door? Answer in one word."


def picture(width, height):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height))


def prompt(*images, question=QUESTION, clip=None, size=None):
    content = [{"type": "image"}] * len(images) + [{"type": "video"}] * (clip is not None)
    messages = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
    processor = real.processor()
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    call = {"text": [text], "return_tensors": "pt"}
    if images:
        call.update(images=[list(images)], images_kwargs={"size": size} if size else {})
    if clip is not None:
        metadata = {"total_num_frames": len(clip), "fps": 2.0, "frames_indices": list(range(len(clip)))}
        call["videos"] = [clip]
        call["videos_kwargs"] = {"do_sample_frames": False, "video_metadata": [metadata]}
    return dict(processor(**call))


# --- vocabulary and prompt --------------------------------------------------------------------------


def test_published_ids():
    tokenizer = real.tokenizer()
    assert len(tokenizer) == 151_665
    names = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>", "<|video_pad|>")
    assert tokenizer.convert_tokens_to_ids(list(names)) == [151644, 151645, 151652, 151655, 151656]
    for text in ("Hello, world!", "你好 🙂", "def f(x):\n\treturn x ** 2"):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text


def test_published_markers_are_the_tokenizers():
    config = _config()
    assert FAMILY.published_markers(config) == FAMILY.markers(real.tokenizer(), config)


def _config():
    from transformers import Qwen2_5_VLConfig

    text = {**real.TEXT_7B, "num_hidden_layers": 28}
    return Qwen2_5_VLConfig(
        text_config=text, vision_config={**real.VISION_7B, "depth": 32},
        image_token_id=151_655, video_token_id=151_656,
        vision_start_token_id=151_652, vision_end_token_id=151_653,
    )  # fmt: skip


def test_the_7b_takes_the_authors_weights():
    geometry = FAMILY.config_geometry(_config())
    assert geometry == HeadWeights.load("qwen2.5-vl-7b").geometry


def test_instruction_is_the_question():
    inputs = prompt(picture(280, 280))
    ids = inputs["input_ids"][0].tolist()
    markers = FAMILY.published_markers(_config())
    for span in ("instruction", "after_vision"):
        index = instruction_index(ids, {151_655, 151_656}, markers, span)
        assert real.tokenizer().decode([ids[i] for i in index]) == QUESTION


@pytest.mark.parametrize(
    ("pixels", "size", "tokens"),
    [
        ((1008, 1008), None, 1296),
        # 640 x 480 enlarged to at least 1280 tokens of 28 x 28 pixels.
        ((640, 480), {"shortest_edge": 1280 * 28**2, "longest_edge": 16_384 * 28**2}, 1302),
        ((4000, 3000), None, 15_301),
    ],
)
def test_visual_tokens(pixels, size, tokens):
    grid = real.processor().image_processor(
        [picture(*pixels)], return_tensors="pt", **({"size": size} if size else {})
    )["image_grid_thw"]
    assert int(grid.prod()) // 4 == tokens


def test_the_papers_counts():
    assert [kept_count(1296, ratio) for ratio in ("0.6050", "0.8025", "0.9013")] == [512, 256, 128]
    assert kept_count(1296, "0.802") == 257  # the authors' keep ratio of 0.198


# --- the score at real size -----------------------------------------------------------------------------


class Largest(TorchDispatchMode):
    """The largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


class Fake:
    """A context of real size without a model: 7B's projections, random hidden states."""

    query_ids = None
    device = torch.device("cpu")

    def __init__(self, visual, text, dtype=torch.float32):
        generator = torch.Generator().manual_seed(0)
        hidden = torch.randn(visual + text, 3584, generator=generator).to(dtype)
        projections = []
        for heads in (28, 4):
            linear = torch.nn.Linear(3584, heads * 128)
            linear.weight.data.normal_(std=0.02, generator=generator)
            projections.append(linear.to(dtype).requires_grad_(False))
        norm = torch.nn.RMSNorm(3584, eps=1e-6).to(dtype).requires_grad_(False)
        self.layer = ScoringLayer(norm, *projections, 28, 4, 128)
        self.visual_index = torch.arange(visual)
        self.query = torch.arange(visual, visual + text)
        self.hidden_at = lambda layer: hidden
        self.tokens = visual
        self.positions = None

    def scoring_layer(self, layer):
        return self.layer

    def query_index(self, span):
        return self.query

    def once(self, what, owner, compute):
        return compute()


def full_matrix(context):
    """The authors' formulation: every text x vision product."""
    layer, hidden = context.layer, context.layer.norm(context.hidden_at(0))
    queries = layer.q_proj(hidden[context.query]).view(-1, 28, 128).transpose(0, 1)
    keys = layer.k_proj(hidden[context.visual_index]).view(-1, 4, 128).transpose(0, 1)
    products = queries @ keys.repeat_interleave(7, 0).transpose(1, 2) / 128**0.5
    raw = products.mean(1)  # [heads, n]
    return (raw / raw.norm(dim=-1, keepdim=True)).mean(0)


@pytest.mark.parametrize("text", [8, 512])
def test_fast_score_at_real_size(text):
    context = Fake(1296, text)
    pruner = Hawk(pruning_ratio="0.8025")
    with Largest() as largest:
        scores = pruner.scores(context)
    expected = full_matrix(context)
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-5)
    kept = pruner.select(context, torch.arange(1296), 256).sort().values
    assert torch.equal(kept, expected.topk(256).indices.sort().values)
    # Memory grows with neither text x vision nor vision: nothing is larger than the slab of a weight.
    assert largest.numel == 512 * 3584
    with Largest() as largest:
        full_matrix(context)
    assert largest.numel >= 1296 * 3584
    assert PruningContext.query_index  # the fake has the interface it stands for


# --- whole prompts (minutes) ----------------------------------------------------------------------------


@pytest.fixture
def all_cores():
    """These run alone, not beside other workers."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


@pytest.mark.long
@pytest.mark.usefixtures("all_cores")
@pytest.mark.parametrize("ratio", ["0.605", "0.9013"])
def test_enlarged_image(ratio):
    inputs = prompt(picture(640, 480), size={"shortest_edge": 1280 * 28**2, "longest_edge": 16_384 * 28**2})
    _generates(inputs, ratio, visual=1302)


@pytest.mark.long
@pytest.mark.usefixtures("all_cores")
def test_photo_sized_image():
    _generates(prompt(picture(4000, 3000)), "0.9", visual=15_301)


@pytest.mark.long
@pytest.mark.usefixtures("all_cores")
def test_video_of_64_frames():
    clip = np.stack([np.asarray(picture(640, 480))] * 64)
    inputs = prompt(clip=clip)
    visual = int((inputs["input_ids"] == 151_656).sum())
    t, h, w = inputs["video_grid_thw"][0].tolist()
    assert t == 32
    assert visual == t * h * w // 4
    _generates(inputs, "0.9", visual, budget="per_image", expected=32 * kept_count(visual // 32, "0.9"))


def _generates(inputs, ratio, visual, expected=None, **options):
    """Runs; counts are exact; the cache holds what was kept; the result has the full prompt."""
    model = real.model()
    pruner = Hawk(pruning_ratio=ratio, **options)
    with torch.inference_mode(), pruner.attach(model):
        out = model.generate(
            **inputs, max_new_tokens=3, min_new_tokens=3, do_sample=False, return_dict_in_generate=True
        )
    length = inputs["input_ids"].shape[1]
    kept = kept_count(visual, ratio) if expected is None else expected
    assert pruner.last.visual_tokens == [visual]
    assert pruner.last.kept_tokens == [kept]
    assert torch.equal(out.sequences[:, :length], inputs["input_ids"])
    assert out.sequences.shape[1] == length + 3
    assert out.past_key_values.get_seq_length() == length - visual + kept + 2

"""``hawk generate`` on untrained tiny models saved as checkpoints: output, overlay, mistakes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image as Picture
from tiny_prompts import Image, build
from tiny_random import MODELS
from videos import write_video

from hawk.cli.generate import generate
from hawk.core.errors import InputError
from hawk.models import family_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two checkpoints, a picture and a video."""
    from hawk.training.architectures import build as untrained

    path = tmp_path_factory.mktemp("generate")
    for family in ("qwen2_5_vl", "internvl"):
        torch.manual_seed(0)
        tiny = untrained(family)
        tiny.model.save_pretrained(path / family)
        tiny.processor.save_pretrained(path / family)
    noise = np.random.default_rng(0).integers(0, 255, (96, 160, 3), dtype=np.uint8)
    Picture.fromarray(noise).save(path / "a.png")
    write_video(path / "v.mp4")
    (path / "text.png").write_text("no picture")
    return path


def run(folder, *words, model="qwen2_5_vl", prompt="which digit is red?"):
    call = [str(folder / model), prompt, "--max-new-tokens", "2", *map(str, words)]
    return CliRunner().invoke(generate, call, catch_exceptions=False)


@pytest.mark.parametrize(("model", "before", "after"), [("qwen2_5_vl", 60, 12), ("internvl", 192, 39)])
def test_image(folder, tmp_path, model, before, after):
    """A 96x160 picture is 6 x 10 tokens for Qwen; a tile each side and a thumbnail for InternVL."""
    overlay = tmp_path / "new" / "o.png"
    done = run(folder, "--image", folder / "a.png", "--save-overlay", overlay, model=model)
    assert done.exit_code == 0
    assert f"{before} → {after}" in done.stderr
    assert "prefill" in done.stderr
    assert done.stdout.strip()
    assert Picture.open(overlay).width > 100


def test_two_images_and_a_system_prompt(folder, tmp_path):
    picture = folder / "a.png"
    done = run(
        folder, "--image", picture, "--image", picture, "--system", "what is red?",
        "--ratio", "0.9", "--save-overlay", tmp_path / "o.png",
    )  # fmt: skip
    assert "120 → 12" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o-1.png", "o-2.png"]


@pytest.mark.parametrize(("model", "tokens"), [("qwen2_5_vl", "140 → 28"), ("internvl", "256 → 52")])
def test_video(folder, tmp_path, model, tokens):
    """Four frames are two temporal positions of 70 tokens, or four tiles of 64, each with its share."""
    done = run(
        folder, "--video", folder / "v.mp4", "--frames", 4, "--option", "budget=per_image",
        "--save-overlay", tmp_path / "o.png", model=model,
    )  # fmt: skip
    assert tokens in done.stderr
    assert len(list(tmp_path.iterdir())) == (2 if model == "qwen2_5_vl" else 4)


def test_ratio_0_and_no_image(folder):
    assert "60 → 60" in run(folder, "--image", folder / "a.png", "--ratio", "0").stderr
    assert "0 → 0" in run(folder).stderr


def test_method_and_pixel_limits(folder):
    limits = ["--min-pixels", 9216, "--max-pixels", 9216]
    done = run(folder, "--image", folder / "a.png", "--method", "random", *limits)
    assert "135 → 27" in done.stderr  # 72 x 120 pixels


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image", "none.png"], r"none\.png: there is no such file"),
        (["--image", "text.png"], r"text\.png: not a readable image"),
        (["--video", "text.png"], r"text\.png: not a video"),
        (["--image", "a.png", "--video", "v.mp4"], "one or the other"),
        (["--save-overlay", "o.png"], "needs an --image"),
        (["--image", "a.png", "--ratio", "1"], r"'1' is outside \[0, 1\)"),
        (["--image", "a.png", "--weights", "qwen2.5-vl-7b"], "28 heads.*8 heads"),
        (["--image", "a.png", "--weights", "nowhere"], "unknown head weights"),
        (["--image", "a.png", "--method", "hawks"], "Did you mean 'hawk'"),
        (["--image", "a.png", "--method", "grid", "--weights", "w.json"], "takes no head weights"),
        (["--image", "a.png", "--option", "rope"], "KEY=VALUE"),
        (["--image", "a.png", "--option", "ropes=true"], "Did you mean 'rope'"),
        (["--image", "a.png", "--attention", "flash_attention_2"], "flash-attn is not installed"),
        (["--image", "a.png", "--attention", "flash"], "unknown attention implementation"),
        (["--image", "a.png", "--dtype", "int8"], "unknown dtype"),
        (["--video", "v.mp4", "--frames", "0"], "frames: 0"),
        (["--image", "a.png", "--frames", "4"], "--frames 4 is of a video; give a --video"),
        (["--frames", "8"], "--frames 8 is of a video"),
        (["--max-pixels", "9216"], "--max-pixels 9216 is of pictures"),
        (["--min-pixels", "9216"], "--min-pixels 9216 is of pictures"),
        (["--image", "a.png", "--min-pixels", "100000000"], "than max_pixels .* the processor's own"),
        (
            ["--image", "a.png", "--max-pixels", "9"],
            "larger than max_pixels 9; the one",
        ),
        (["--video", "v.mp4", "--min-pixels", "1000000000"], "than max_pixels .*; the one"),
        (["--video", ""], "no such file"),
        (["--image", "a.png", "--method", "downscale"], "--method downscale: it works on images before"),
        (["--image", "a.png", "--video", ""], "one or the other"),
        (["--image", "a.png", "--save-overlay", "a.png"], "--save-overlay: .*a.png is what is read"),
        (["--system", "see <|image_pad|>"], r"the system prompt holds <\|image_pad\|>"),
    ],
)
def test_mistakes(folder, words, message):
    files = {"none.png", "text.png", "a.png", "v.mp4", "o.png"}
    words = [folder / word if word in files else word for word in words]
    with pytest.raises(InputError, match=message):
        run(folder, *words)


@pytest.mark.parametrize("pictures", [[], ["a.png"]])
@pytest.mark.parametrize(
    ("model", "token"),
    [("qwen2_5_vl", "<|image_pad|>"), ("qwen2_5_vl", "<|video_pad|>"), ("internvl", "<IMG_CONTEXT>")],
)
def test_a_question_that_holds_a_pictures_token(folder, model, token, pictures):
    """With a picture it ended in a traceback; without one the token was pruned as if it were a picture."""
    words = [word for picture in pictures for word in ("--image", folder / picture)]
    with pytest.raises(InputError, match="which stands for a picture") as told:
        run(folder, *words, model=model, prompt=f"what is {token} here?")
    assert token in str(told.value)


def test_a_numbered_overlay_replaces_no_image(folder, tmp_path):
    """Two pictures are written as o-1 and o-2, either of which may be an image that is read."""
    images = [tmp_path / "o-2.png", tmp_path / "x.png"]
    for image in images:
        image.write_bytes((folder / "a.png").read_bytes())
    before = images[0].read_bytes()
    words = [word for image in images for word in ("--image", image)]
    with pytest.raises(InputError, match="o-2.png is what is read"):
        run(folder, *words, "--save-overlay", tmp_path / "o.png")
    assert images[0].read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_no_such_model(folder):
    with pytest.raises(InputError, match="no such model folder"):
        run(folder, "--image", folder / "a.png", model="missing")


class Processor:
    """What the layout of InternVL's tiles depends on."""

    class image_processor:  # noqa: N801
        size = {"height": 32, "width": 32}
        min_patches, max_patches = 1, 12


@pytest.mark.parametrize(
    ("family", "shape", "rows", "columns"),
    [
        ("qwen2_5_vl", (2, 3), 2, 3),
        ("internvl", (2, 3), 8, 12),
        ("internvl", (1, 1), 4, 4),
        ("llava_onevision", (2, 3), 8, 12),
        ("llava_next", (2, 3), 8, 12),
        ("llava", (2, 3), 4, 4),
        ("idefics3", (2, 3), 4, 6),
        ("smolvlm", (1, 1), 2, 2),
    ],
)
def test_layout_of_tokens_on_the_image(family, shape, rows, columns):
    """Every cell has its own token; a tile's tokens are neighbours on the picture."""
    model, family_ = MODELS[family](), family_of(MODELS[family]())
    inputs = build(family, [[Image(*shape), 20]])
    (item,) = family_.encode(model, inputs)["image"]
    pixels = (32 * shape[0], 32 * shape[1])
    layout = family_.layout(model, Processor(), item, pixels)
    assert (layout.rows, layout.columns) == (rows, columns)
    assert len(set(layout.tokens)) == rows * columns
    assert max(layout.tokens) < item.tokens
    if family == "internvl" and shape == (2, 3):
        # The second tile starts after the 16 tokens of the first and lies right of it.
        assert layout.tokens[4] == 16
        assert layout.tokens[12] == 4
    if family in ("llava_next", "llava_onevision"):
        assert layout.tokens[0] == 16  # behind the base view
        assert layout.tokens[12] == 16 + 13  # behind the first row's newline

"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Nothing in the tests may ask a hub for anything.
os.environ["HF_HUB_OFFLINE"] = "1"

ROOT = Path(__file__).parent.parent
EMBEDDED = ROOT / "data" / "models" / "tiny-qwen2.5-vl"


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Models this small are fastest on one thread, and parallel test workers share the cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model folder of the embedded kind with 2 layers and 2 heads: few jobs."""
    import torch
    from tiny_random import enlarge

    from hawk.training.architectures import build

    torch.manual_seed(0)
    tiny = build("qwen2_5_vl")
    config = tiny.model.config
    text = config.text_config
    text.num_attention_heads, text.num_key_value_heads, text.num_hidden_layers = 2, 1, 2
    text.head_dim = text.hidden_size // 2
    text.rope_parameters["mrope_section"] = [text.head_dim // 8, *[text.head_dim * 3 // 16] * 2]
    text.layer_types = text.layer_types[:2]
    folder = tmp_path_factory.mktemp("models") / "small"
    model = enlarge(type(tiny.model)(config), seed=0)
    model.generation_config = tiny.model.generation_config
    model.save_pretrained(folder)
    tiny.processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def embedded():
    """The embedded trained model; tests must not change it."""
    import hawk

    return hawk.load(str(EMBEDDED), device="cpu")

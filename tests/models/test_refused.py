"""Models whose attention does not fit are refused in one line; and turns are found in every template."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
from tiny_random import MODELS

import hawk
from hawk.core.errors import InputError
from hawk.models import family_by_type, family_of
from hawk.models.llava import Llava, grid_side, turn_markers
from hawk.models.llava_next import LlavaNext
from hawk.models.turns import Markers, instruction_index


def refusal(call, *args) -> str:
    with pytest.raises(InputError) as error:
        call(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["qwen3_5", "qwen3_5_moe"])
def test_layers_without_heads_are_refused(name: str) -> None:
    assert "linear attention" in refusal(family_by_type, name)


def test_sliding_windows_are_refused() -> None:
    assert "sliding windows" in refusal(family_by_type, "gemma3")
    model = copy.deepcopy(MODELS["llava_next"]())
    family_of(model)  # the control: without a window
    model.config.text_config.sliding_window = 4096
    text = refusal(family_of, model)
    assert "4096 tokens" in text
    assert "sliding_window: null" in text
    with pytest.raises(InputError, match="sliding windows"), hawk.Hawk(pruning_ratio=0.5).attach(model):
        pass


def test_a_window_that_no_layer_uses_is_none() -> None:
    model = copy.deepcopy(MODELS["qwen2_5_vl"]())
    model.config.text_config.layer_types = ["full_attention"] * 3
    model.config.text_config.sliding_window = 4096
    family_of(model)
    model.config.text_config.layer_types = ["full_attention", "linear_attention", "full_attention"]
    assert "linear attention" in refusal(family_of, model)


def test_llava_towers_that_are_no_square_are_refused() -> None:
    config = copy.deepcopy(MODELS["llava"]().config)
    assert grid_side(config) == 4
    config.vision_feature_select_strategy = "full"
    assert "class token" in refusal(grid_side, config)
    other = SimpleNamespace(model_type="llava", vision_config=SimpleNamespace(model_type="pixtral"))
    assert "'pixtral'" in refusal(grid_side, other)
    for family in (Llava(), LlavaNext()):
        assert "'pixtral'" in refusal(family.check_config, other)
    model = copy.deepcopy(MODELS["llava_next"]())
    model.config.vision_feature_select_strategy = "full"
    with pytest.raises(InputError, match="class token"), hawk.Hawk(pruning_ratio=0.5).attach(model):
        pass


class Words:
    """A tokenizer of whole words."""

    def __init__(self, *special: str) -> None:
        self.names = [*special, "USER", ":", "ASSISTANT", "[INST]", "[/INST]", "a", "b"]

    def get_vocab(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        words = text.replace(":", " :").split()
        return {"input_ids": [self.names.index(word) for word in words]}


@pytest.mark.parametrize(
    ("model", "prompt", "question"),
    [
        ("llama", "a USER: b a b ASSISTANT:", "b a b"),
        ("llama", "USER: a ASSISTANT: b USER: b b ASSISTANT:", "b b"),  # the last turn
        ("mistral", "[INST] b a [/INST]", "b a"),
    ],
)
def test_the_question_is_found_where_words_close_a_turn(model: str, prompt: str, question: str) -> None:
    words = Words()
    markers = turn_markers(words, SimpleNamespace(text_config=SimpleNamespace(model_type=model)))
    ids = words(prompt)["input_ids"]
    found = [ids[i] for i in instruction_index(ids, set(), markers, "instruction")]
    assert found == words(question)["input_ids"]
    wrong = Markers(markers.user, (*markers.end[:1], 99))  # the control: another end
    assert [ids[i] for i in instruction_index(ids, set(), wrong, "instruction")] != found

"""``hawk vlmevalkit`` where VLMEvalKit is not installed: names, arguments, and what a built model does.

``test_vlmevalkit.py`` runs the real one.
"""

from __future__ import annotations

import copy
from functools import partial
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

import hawk
from hawk.cli.main import cli
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry
from hawk.integrations import vlmevalkit as kit

TABLE = {"Qwen2.5-VL-7B-Instruct": None, "SmolVLM": None}


def refusal(call, *args, **kwargs) -> str:
    with pytest.raises(InputError) as error:
        call(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_models_are_found_among_the_arguments() -> None:
    words = ["--data", "A", "B", "--model", "x", "hawk-y", "--verbose", "--mode", "infer"]
    assert kit.models_of(words) == ["x", "hawk-y"]
    assert kit.models_of(["--model=hawk-z", "--data", "hawk-data"]) == ["hawk-z"]


def test_a_call_that_prunes_nothing_is_refused() -> None:
    text = refusal(kit.check_names, ["--model", "SmolVLM", "--data", "A"], TABLE)
    assert "'hawk-'" in text
    refusal(kit.check_names, ["--data", "A"], TABLE)
    kit.check_names(["--model", "hawk-SmolVLM", "SmolVLM"], TABLE)  # beside the plain one
    kit.check_names(["--config", "c.json"], TABLE)


def test_an_unknown_name_has_its_neighbour() -> None:
    text = refusal(kit.check_names, ["--model", "hawk-Qwen2.5-VL-7B"], TABLE)
    assert "Did you mean hawk-Qwen2.5-VL-7B-Instruct?" in text
    assert "vlmutil mlist all" in text


def test_settings_have_a_folder_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMEVAL_ROOT", raising=False)
    pruners = [hawk.Hawk(pruning_ratio=0.8), hawk.Hawk(pruning_ratio=0.9), hawk.Hawk(0.8, rope=True)]
    folders = [kit.with_work_dir(["--data", "A"], pruner, "hawk")[-1] for pruner in pruners]
    assert len(set(folders)) == 3
    assert folders[0].startswith("./outputs/hawk-0.8-")
    given = ["--work-dir", "mine"]
    assert kit.with_work_dir(given, pruners[0], "hawk") == given


def inputs(vlm):
    from PIL import Image

    from hawk.inference.preprocessing import prompt_inputs

    return prompt_inputs(
        vlm, "what shape is blue?", [Image.new("RGB", (64, 64), (0, 0, 255))], None, None, {}
    )


def test_what_vlmevalkit_builds_is_pruned_for_good(embedded) -> None:
    model = copy.deepcopy(embedded.model)
    asked = []

    def build(**keywords):
        asked.append(keywords)
        return SimpleNamespace(model=model, processor=embedded.processor)

    table = {"Tiny": build}
    pruner = hawk.Hawk(pruning_ratio="0.75")
    kit.register(table, pruner)
    assert sorted(table) == ["Tiny", "hawk-Tiny"]
    assert isinstance(table["hawk-Tiny"], partial)  # VLMEvalKit reads .keywords of its entries
    assert asked == []
    made = table["hawk-Tiny"](use_vllm=False)
    assert asked == [{"use_vllm": False}]
    made.model.generate(**inputs(embedded), max_new_tokens=1)
    assert pruner.last.kept_tokens == [16]


def test_what_cannot_be_pruned_is_said_in_one_line(embedded) -> None:
    pruner = hawk.Hawk(pruning_ratio=0.8)
    other = SimpleNamespace(model=SimpleNamespace(config=SimpleNamespace(model_type="mantis")))
    text = refusal(kit.pruned, lambda: other, "hawk-Mantis", pruner)
    assert "'mantis'" in text
    assert "qwen2_5_vl" in text
    assert "--use-vllm" in refusal(kit.pruned, lambda: other, "hawk-X", pruner, use_vllm=True)
    weights = HeadWeights.uniform(Geometry(28, 28, 4, 128))
    built = SimpleNamespace(model=copy.deepcopy(embedded.model), processor=embedded.processor)
    text = refusal(kit.pruned, lambda: built, "hawk-Tiny", hawk.Hawk(weights=weights, pruning_ratio=0.8))
    assert "28 layers x 28 heads" in text
    assert "generate" not in built.model.__dict__  # nothing stays attached


def test_the_command_says_what_is_wrong_before_it_starts() -> None:
    def error(*words: str) -> str:
        result = CliRunner().invoke(cli, ["vlmevalkit", *words])
        assert isinstance(result.exception, InputError), result.output
        return str(result.exception)

    assert "Did you mean 'hawk'?" in error("--method", "hwak", "--model", "hawk-SmolVLM")
    assert "unknown option of method 'hawk'" in error("--option", "ropes=true")
    assert "outside [0, 1)" in error("--ratio", "1.5")
    assert "no such file" in error("--weights", "nowhere.json")
    assert "KEY=VALUE" in error("--option", "rope")
    assert "pip install ms-vlmeval" in error("--model", "hawk-SmolVLM", "--data", "A")

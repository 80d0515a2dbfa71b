"""A checkpoint is loaded whole or refused, and its own code never runs."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import EMBEDDED, ROOT
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_random import MODELS

import hawk
from hawk.cli.main import command_line
from hawk.core.errors import InputError
from hawk.models.loading import _refuse_incomplete


def changed(folder: Path, edit) -> str:
    """The embedded model with other tensors."""
    shutil.copytree(EMBEDDED, folder)
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


def q_proj(tensors: dict[str, torch.Tensor]) -> str:
    return next(name for name in tensors if name.endswith("layers.0.self_attn.q_proj.weight"))


@pytest.mark.parametrize("device", [3.5, "tpu9", "meta", [], "cuda:x"])
def test_what_is_no_device_is_refused(device) -> None:
    with pytest.raises(InputError, match="^model.device is "):
        hawk.load(EMBEDDED, device=device)


def test_a_device_of_torch_is_one() -> None:
    assert hawk.load(EMBEDDED, device=torch.device("cpu")).model.device.type == "cpu"


@pytest.mark.parametrize("heads", [0, -8])
def test_a_config_without_heads(tmp_path: Path, heads: int) -> None:
    from hawk.tools.init import write_config

    shutil.copytree(EMBEDDED, tmp_path / "model")
    file = tmp_path / "model/config.json"
    config = json.loads(file.read_text())
    config["text_config"]["num_attention_heads"] = heads
    file.write_text(json.dumps(config))
    with pytest.raises(InputError, match=f"the model's num_attention_heads is {heads}; it must be a whole"):
        write_config(str(tmp_path / "model"), str(tmp_path / "out.yaml"))


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    """It used to be drawn at random, so that two runs with one seed gave different answers."""
    path = changed(tmp_path / "model", lambda tensors: tensors.pop(q_proj(tensors)))
    with pytest.raises(
        InputError, match=r"the checkpoint lacks \S*layers\.0\.self_attn\.q_proj\.weight; it is"
    ):
        hawk.load(path, device="cpu")


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    path = changed(tmp_path / "model", lambda tensors: [tensors.pop(name) for name in list(tensors)[1:]])
    with pytest.raises(InputError, match=r"lacks .* and \d+ more"):
        hawk.load(path, device="cpu")


def test_a_tensor_too_many_is_named(tmp_path: Path) -> None:
    path = changed(tmp_path / "model", lambda tensors: tensors.update(stray=torch.zeros(2)))
    with pytest.raises(InputError, match="the model has no place for, stray"):
        hawk.load(path, device="cpu")


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    def shorter(tensors: dict[str, torch.Tensor]) -> None:
        tensors[q_proj(tensors)] = tensors[q_proj(tensors)][:-1].contiguous()

    path = changed(tmp_path / "model", shorter)
    with pytest.raises(InputError, match=r"has in another shape \S*layers\.0\.self_attn\.q_proj\.weight; it"):
        hawk.load(path, device="cpu")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_no_number_is_named(tmp_path: Path, value: float) -> None:
    """It used to answer nothing, with exit code 0. Largest finite weights, whose sum overflows, are read."""

    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors[q_proj(tensors)][-1, -1] = value

    def largest(tensors: dict[str, torch.Tensor]) -> None:
        tensors[q_proj(tensors)][-1, -3:] = torch.finfo(torch.float32).max

    with pytest.raises(
        InputError,
        match=r"NaN or infinity, read as float32, in \S*layers\.0\.self_attn\.q_proj\.weight; only",
    ):
        hawk.load(changed(tmp_path / "bad", spoil), device="cpu")
    good = changed(tmp_path / "good", largest)
    hawk.load(good, device="cpu")
    with pytest.raises(InputError, match="NaN or infinity, read as float16, in .*dtype is too narrow"):
        hawk.load(good, device="cpu", dtype="float16")


def test_no_command_answers_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = changed(tmp_path / "bad", lambda tensors: tensors[q_proj(tensors)].fill_(float("nan")))
    image = tmp_path / "image.png"
    Image.new("RGB", (64, 64)).save(image)
    monkeypatch.setattr(sys, "argv", ["hawk", "generate", path, "what?", "--image", str(image)])
    assert command_line() == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1].startswith(f"error: model.path {path!r}: NaN or infinity")


@pytest.mark.parametrize("kept", [None, 0, 200, 5000], ids=["no file", "empty", "half a header", "cut"])
def test_weights_that_cannot_be_read(tmp_path: Path, kept: int | None) -> None:
    folder = tmp_path / "model"
    shutil.copytree(EMBEDDED, folder)
    file = folder / "model.safetensors"
    content = file.read_bytes()[: kept or 0]
    file.unlink()
    if kept is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match="its weights cannot be read: .") as caught:
        hawk.load(str(folder), device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", '{"a":', "its config cannot be read"),
        (
            "config.json",
            '{"model_type": "qwen2_5_vl", "text_config": {"num_hidden_layers": "x"}}',
            "its config",
        ),
        ("processor_config.json", "[]", "its processor cannot be read"),
        ("tokenizer.json", "{", "its processor cannot be read"),
    ],
)
def test_files_beside_the_weights_that_cannot_be_read(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "model")
    (tmp_path / "model" / name).write_text(content)
    with pytest.raises(InputError, match=said) as caught:
        hawk.load(str(tmp_path / "model"), device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", [None, 3, ["data/models/tiny-qwen2.5-vl"], True])
def test_a_path_that_is_no_text_is_refused(path: object) -> None:
    with pytest.raises(InputError, match=r"model.path is .*; it must be a text"):
        hawk.load(path)


@pytest.mark.parametrize("vision", [True, False])
@pytest.mark.parametrize("name", ["tiny-qwen2.5-vl", "tiny-internvl3"])
def test_whole_models_load(name: str, vision: bool) -> None:
    assert hawk.load(EMBEDDED.parent / name, device="cpu", vision=vision).geometry.heads == 8


@pytest.mark.parametrize("family", sorted(MODELS))
def test_a_saved_model_of_every_family_is_whole(family: str, tmp_path: Path) -> None:
    model = MODELS[family]()
    model.save_pretrained(tmp_path)
    _, loaded = type(model).from_pretrained(tmp_path, output_loading_info=True)
    _refuse_incomplete(str(tmp_path), loaded)


# Everything that opens a model folder; the last is transformers itself, which asks and believes the "y".
OPENS = {
    "load": "import hawk; hawk.load(FOLDER, device='cpu')",
    "init": "from hawk.tools.init import write_config; write_config(FOLDER, FOLDER + '.yaml')",
    "evaluate": "from pathlib import Path; from hawk.training.evaluate import Answerer;"
    "Answerer(Path(FOLDER))",
    "continue": "from pathlib import Path; from hawk.training.train import continue_folder;"
    "continue_folder(Path(FOLDER), 0, Path(FOLDER + '.new'))",
    "adopt": "from pathlib import Path; from hawk.training.language_base import adopt_language;"
    "adopt_language(None, Path(FOLDER), 0)",
    "control": "import transformers; transformers.AutoConfig.from_pretrained(FOLDER)",
}


@pytest.mark.parametrize("name", OPENS)
def test_code_of_a_checkpoint_never_runs(name: str, tmp_path: Path) -> None:
    """Not even after a "y" on standard input, which transformers would ask for."""
    folder = tmp_path / "model"
    shutil.copytree(EMBEDDED, folder)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "unheard_of"
    config["auto_map"] = {"AutoConfig": "own_code.Config"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own_code.py").write_text(f"open({str(tmp_path / 'RAN')!r}, 'w')\nclass Config: pass\n")
    done = subprocess.run(
        [sys.executable, "-c", f"FOLDER = {str(folder)!r}\n{OPENS[name]}"],
        input="y\n" * 9, capture_output=True, text=True, cwd=ROOT, timeout=120,
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_MODULES_CACHE": str(tmp_path / "modules")},
    )  # fmt: skip
    assert (tmp_path / "RAN").exists() == (name == "control"), done.stderr[-2000:]
    if name != "control":
        assert done.returncode != 0
        assert "code of its own, which hawk never runs" in done.stderr, done.stderr[-2000:]


def test_every_loading_call_says_that_no_code_is_trusted() -> None:
    """A new call that forgets it fails here."""
    bad = []
    for path in sorted((ROOT / "hawk").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr == "from_pretrained":
                    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                    if given.get("trust_remote_code") != "False":
                        bad.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert bad == []

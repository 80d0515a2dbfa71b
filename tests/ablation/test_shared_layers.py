"""Heads of a layer share what lies below it, and nothing else changes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from oracles import CASES, FAMILIES, generate, stacked
from tiny_prompts import build
from tiny_random import MODELS

from hawk.ablation.ablate_heads import AblateHeads
from hawk.ablation.shared_layers import LayersBelow
from hawk.config.load import fill
from hawk.config.recipes import ablation_named
from hawk.core.files import digest
from hawk.core.heads import Head
from hawk.core.paths import RunPaths
from hawk.models import family_of
from hawk.pruning.methods.unpruned import Unpruned
from hawk.pruning.prompt import PrunedPrompt, prune
from hawk.steps.encode_images import encode_images
from hawk.steps.head_means import head_means
from hawk.steps.prepare_samples import prepare_samples
from hawk.steps.score_samples import score_samples
from hawk.steps.session import Session


def prompt_of(model: torch.nn.Module, family: str, case: str, draw: int = 0) -> PrunedPrompt:
    rows = CASES[case]
    return prune(Unpruned(), model, family_of(model), build(family, rows, range(draw, draw + len(rows))))


@pytest.mark.parametrize("case", ["mixed", "video"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_prefill_from_the_layer_equals_one_from_the_start(family: str, case: str) -> None:
    model = MODELS[family]()
    names = family_of(model)
    layer = names.geometry(model).layers - 1
    prompt = prompt_of(model, family, case)
    with AblateHeads([Head(layer, 0)]).attach(model):
        expected = generate(model, **prompt.kwargs())
    calls: Counter[int] = Counter()
    handles = [
        block.self_attn.register_forward_hook(lambda *_, number=number: calls.update([number]))
        for number, block in enumerate(names.layers(model))
    ]
    with torch.no_grad():
        below = LayersBelow(model, names, layer, prompt)
        assert calls == Counter(range(layer)), "the layers below, once"
        calls.clear()
        with AblateHeads([Head(layer, 0)]).attach(model), below.reused():
            found = generate(model, **prompt.kwargs())
    for handle in handles:
        handle.remove()
    assert torch.equal(stacked(found), stacked(expected))
    assert torch.equal(found.sequences, expected.sequences)
    assert all(calls[number] == calls[layer] - 1 for number in range(layer)), "not in the prefill"
    assert not any("forward" in block.__dict__ for block in names.layers(model))
    # Negative control: what other pixels left below the layer is told apart.
    other = LayersBelow(model, names, layer, prompt_of(model, family, case, draw=7))
    with AblateHeads([Head(layer, 0)]).attach(model), other.reused():
        wrong = generate(model, **prompt.kwargs())
    assert (wrong.logits[0] - expected.logits[0]).abs().max() > 0.01


def test_the_model_is_as_before_after_an_exception() -> None:
    model = MODELS["qwen2_5_vl"]()
    names = family_of(model)
    below = LayersBelow(model, names, 1, prompt_of(model, "qwen2_5_vl", "one"))
    names.layers(model)[0].forward = kept = names.layers(model)[0].forward  # as accelerate sets one
    with pytest.raises(KeyError), below.reused():
        raise KeyError
    assert names.layers(model)[0].__dict__["forward"] is kept
    assert not names.layers(model)[1]._forward_pre_hooks


@pytest.mark.parametrize("intervention", ["zero", "mean"])
def test_one_process_for_all_heads_writes_the_files_of_one_each(
    tmp_path: Path, small_model: Path, intervention: str
) -> None:
    config = fill(
        {
            "run": "layers",
            "model": {"path": str(small_model), "device": "cpu", "layers": 2, "heads": 2},
            "ablation": {
                "recipes": [{"name": one, "intervention": one, "layers": [0, 1]} for one in ("zero", "mean")]
            },
            "calibration": {"benchmarks": ["digits"], "samples": 7},
            "evaluation": {"benchmarks": ["digits"], "variants": [{"name": "blind", "method": "blind"}]},
            "generation": {"batch_size": 4},
        },
        "config",
    )
    paths = RunPaths(tmp_path)
    prepare_samples(config, paths, "calibration", "digits")
    encode_images(config, paths, "calibration", "digits")
    head_means(Session.open(config, paths, "digits", "calibration"))

    def score(folder: str, names: list[str]) -> dict[str, str]:
        files = {name: str(tmp_path / folder / f"{name}.parquet") for name in names}
        session = Session.open(config, paths, "digits", "calibration")
        score_samples(session, list(files.items()), ablation_named(config, intervention))
        return {name: digest(path) for name, path in files.items()}

    names = ["L1H1", "reference", "L0H0", "L1H0", "L0H1"]
    together = score("together", names)
    alone = {name: score("alone", [name])[name] for name in names}
    assert together == alone
    assert len(set(together.values())) == len(names), "every head must tell"

"""What the intervention ``mean`` puts in: every prompt alone through the model, averaged by hand."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import EMBEDDED
from safetensors.torch import save_file

from hawk.ablation.ablate_heads import read_means
from hawk.benchmarks import benchmark
from hawk.benchmarks.samples import read_samples
from hawk.config.load import fill
from hawk.core.errors import InputError
from hawk.core.heads import Geometry
from hawk.core.paths import RunPaths
from hawk.inference.feature_store import FeatureStore
from hawk.inference.prompts import Prompts
from hawk.steps.encode_images import encode_images
from hawk.steps.head_means import head_means
from hawk.steps.prepare_samples import prepare_samples
from hawk.steps.session import Session, load_for


def test_means_are_over_the_real_positions_of_every_prompt(tmp_path: Path) -> None:
    config = fill(
        {
            "run": "means",
            "model": {"path": str(EMBEDDED), "device": "cpu", "layers": 4, "heads": 8},
            "ablation": {"recipes": [{"name": "mean", "intervention": "mean"}]},
            "calibration": {"benchmarks": ["easy_vqa"], "samples": 10},
            "evaluation": {"benchmarks": ["digits"], "variants": [{"name": "blind", "method": "blind"}]},
            "generation": {"batch_size": 10},
        },
        "config",
    )
    paths = RunPaths(tmp_path)
    drawn, stored = paths.samples("calibration", "easy_vqa"), paths.features("calibration", "easy_vqa")
    prepare_samples(config, paths, "calibration", "easy_vqa")
    encode_images(config, paths, "calibration", "easy_vqa")
    head_means(Session.open(config, paths, "easy_vqa", "calibration"))
    vlm = load_for(config, vision=False)
    means = read_means(paths.head_means("easy_vqa"), "easy_vqa", vlm)
    assert sorted(means) == [0, 1, 2, 3]  # of every layer, whichever are ablated

    samples = read_samples(drawn, "calibration", "easy_vqa")
    prompts = Prompts(vlm, benchmark("easy_vqa"), samples, FeatureStore(stored), "vlmevalkit")
    assert len({len(ids) for ids in prompts.ids}) > 1, "one batch must pad"
    for layer in (0, 3):
        seen: list[torch.Tensor] = []
        projection = vlm.model.model.language_model.layers[layer].self_attn.o_proj
        handle = projection.register_forward_pre_hook(lambda module, args, seen=seen: seen.append(args[0][0]))
        with torch.no_grad():
            for number in range(len(samples)):
                inputs = prompts.inputs([number])
                kinds = (inputs["input_ids"] == vlm.model.config.image_token_id).long()
                vlm.model(**inputs, mm_token_type_ids=kinds)
        handle.remove()
        assert [len(one) for one in seen] == [*map(len, prompts.ids)]
        expected = torch.cat(seen).double().mean(0).float()
        torch.testing.assert_close(means[layer], expected, rtol=0, atol=1e-5)
        # Another head's mean, or one that counts padding, would be told apart.
        assert (means[layer].flip(0) - expected).abs().max() > 1e-2
        padded = torch.cat(seen).double().sum(0) / (len(samples) * max(map(len, prompts.ids)))
        assert (means[layer] - padded.float()).abs().max() > 1e-4


SOURCE = {"id": "someone/model", "revision": None, "dtype": "float32"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tensors": {"layer0": torch.full((8,), float("nan"))}}, "layer0 is not finite"),
        ({"tensors": {"layer1": torch.ones(8)}}, "'layer0' has shape None"),
        ({"tensors": {"layer0": torch.ones(9)}}, r"'layer0' has shape \[9\], not \[8\]"),
        ({"tensors": {"layer0": torch.ones(8), "x": torch.ones(1)}}, "'x' has shape"),
        ({"identity": {"benchmark": "shapes"}}, "does not say that it is of benchmark 'colors'"),
        ({"settings": {"model": {**SOURCE, "id": "another"}}}, "made with model id 'another'"),
        ({"hawk": "{"}, "provenance is damaged"),
        ({"hawk": None}, "does not say"),
    ],
)
def test_means_of_something_else_or_damaged_are_refused(tmp_path: Path, change: dict, said: str) -> None:
    vlm = SimpleNamespace(geometry=Geometry(1, 2, 1, 4), source=SOURCE)
    block = {"identity": {"benchmark": "colors"}, "settings": {"model": SOURCE}}
    path = str(tmp_path / "means.safetensors")

    def write(tensors=None, hawk="", **more):
        own = hawk or json.dumps({**block, **more})
        tensors = tensors or {"layer0": torch.ones(8)}
        save_file(tensors, path, metadata=None if hawk is None else {"hawk": own})

    write()
    assert torch.equal(read_means(path, "colors", vlm)[0], torch.ones(8))
    write(**change)
    with pytest.raises(InputError, match=said):
        read_means(path, "colors", vlm)

"""The exported scorer, used by the numpy reference that its file holds, against the pruner itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracles
import pytest
import torch
from click.testing import CliRunner
from conftest import EMBEDDED
from safetensors import safe_open
from tiny_prompts import Image, build
from tiny_random import MODELS

from hawk.cli.main import cli
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry
from hawk.models import family_of
from hawk.models.base import VisionLanguageModel
from hawk.pruning.methods.hawk import Hawk
from hawk.tools.export_scorer import export_scorer

LINEAR = sorted(set(MODELS) - {"qwen3_vl"})
NORMALIZATIONS = ("l2", "softmax", "minmax", "standardize", "none")


def tiny_vlm(family: str) -> VisionLanguageModel:
    model = MODELS[family]()
    return VisionLanguageModel(model, None, family_of(model), {"id": family})


def weights_of(family: str, normalization: str = "l2") -> HeadWeights:
    geometry = tiny_vlm(family).geometry
    query = np.random.default_rng(3).normal(size=(geometry.heads, geometry.head_dim))
    return HeadWeights(
        weights=tuple(float(head + 1) for head in range(geometry.heads)),
        geometry=geometry,
        token_score={
            "normalization": normalization,
            "reduction": "mean",
            "rope": False,
            "query_span": "instruction",
        },
        mean_query=tuple(map(tuple, query.tolist())),
    )


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with safe_open(path, "numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def by_reference(
    embeddings: np.ndarray, tensors: dict[str, np.ndarray], metadata: dict[str, str]
) -> np.ndarray:
    """As an engine does it: with what the file holds, and nothing else."""
    space: dict = {}
    exec(metadata["reference"], space)
    return space["scores"](
        embeddings, **tensors, eps=float(metadata["eps"]), normalization=metadata["normalization"]
    )


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("family", LINEAR)
def test_the_reference_scores_as_the_pruner_does(family: str, normalization: str, tmp_path: Path) -> None:
    weights, vlm = weights_of(family, normalization), tiny_vlm(family)
    path = tmp_path / "scorer.safetensors"
    export_scorer(weights, vlm, str(path))
    tensors, metadata = read(path)
    given = Hawk(
        weights=weights, query="calibrated", token_score_normalization=normalization, pruning_ratio=0.5
    )
    (context,) = oracles.contexts_of(given, vlm.model, build(family, [[20, Image(2, 3), 21]]))
    expected = given.scores(context).numpy()
    embeddings = context.features.detach().numpy()
    found = by_reference(embeddings, tensors, metadata)
    tolerance = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    # Another order of heads is another score, in each part that has them.
    for name in tensors:
        if not tensors[name].any():
            continue  # no key bias in this family
        wrong = {**tensors, name: np.roll(tensors[name], 1, axis=0)}
        other = by_reference(embeddings, wrong, metadata)
        shifts = name == "constants" and normalization in ("softmax", "minmax", "standardize")
        assert (np.abs(other - expected).max() > 10 * tolerance) != shifts, name


def test_the_reference_is_short_and_a_constant_head_counts_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "scorer.safetensors"
    export_scorer(weights_of("qwen2_5_vl"), tiny_vlm("qwen2_5_vl"), str(path))
    tensors, metadata = read(path)
    assert len(metadata["reference"].splitlines()) <= 20
    flat = {**tensors, "directions": 0 * tensors["directions"], "constants": 0 * tensors["constants"]}
    ones = np.ones((3, tensors["directions"].shape[1]))
    for normalization in ("l2", "minmax", "standardize"):
        assert not by_reference(ones, flat, {**metadata, "normalization": normalization}).any()


def test_what_is_no_matrix_on_the_embeddings_is_refused(tmp_path: Path) -> None:
    weights, output = weights_of("qwen2_5_vl"), str(tmp_path / "s.safetensors")
    rope = {**weights.token_score, "rope": True}
    layered = replace(weights, layer=1)
    for bad, said in (
        (replace(weights, mean_query=None), "needs head weights with a mean query"),
        (replace(weights, token_score=rope), "needs rope false"),
        (layered, "of layer 1; visual embeddings enter layer 0"),
        (replace(weights, geometry=replace(weights.geometry, layers=9)), "specific to one model"),
    ):
        with pytest.raises(InputError, match=said):
            export_scorer(bad, tiny_vlm("qwen2_5_vl"), output)
    with pytest.raises(InputError, match="qwen3_vl models have a norm of their own"):
        export_scorer(weights_of("qwen3_vl"), tiny_vlm("qwen3_vl"), output)
    vlm = tiny_vlm("qwen2_5_vl")
    layer = vlm.family.scoring_layer(vlm.model, 0)
    handle = layer.k_proj.register_forward_hook(lambda module, args, out: out + 1)
    with pytest.raises(InputError, match="adapted or quantized"):
        export_scorer(weights, vlm, output)
    handle.remove()
    block = vlm.family.layers(vlm.model)[0]
    own, block.input_layernorm = block.input_layernorm, torch.nn.LayerNorm(layer.k_proj.in_features)
    with pytest.raises(InputError, match="LayerNorm"):
        export_scorer(weights, vlm, output)
    block.input_layernorm = own
    assert not Path(output).exists()


def test_the_command_writes_the_file_of_a_model_in_a_folder(tmp_path: Path) -> None:
    config = json.loads((EMBEDDED / "config.json").read_text())["text_config"]
    source, output = tmp_path / "w.json", tmp_path / "s.safetensors"
    geometry = Geometry(4, 8, config["num_key_value_heads"], config["hidden_size"] // 8)
    query = ((1.0,) * geometry.head_dim,) * geometry.heads
    weights = HeadWeights.uniform(geometry)
    for chosen, code in ((replace(weights, mean_query=query), 0), (weights, 1)):
        chosen.save(source)
        output.unlink(missing_ok=True)
        arguments = ["export", "scorer", str(source), "--model", str(EMBEDDED), "--output", str(output)]
        result = CliRunner().invoke(cli, arguments)
        assert (result.exit_code == 0, output.is_file()) == (code == 0, code == 0), result.output
    assert "needs head weights with a mean query" in str(result.exception or result.output)
    arguments[4] = str(tmp_path / "no such model")  # told before a model is looked for
    result = CliRunner().invoke(cli, arguments)
    assert "needs head weights with a mean query" in str(result.exception or result.output)

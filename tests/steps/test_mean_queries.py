"""The mean query of calibration questions: every prompt alone through the model, averaged by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import EMBEDDED
from factories import make_config, measure_drops, toy_benchmarks, weights, write_run

from hawk.analysis.score_files import read_scores
from hawk.config.load import fill
from hawk.config.queries import with_weights
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.paths import RunPaths
from hawk.steps.encode_images import encode_images
from hawk.steps.head_weights import head_weights
from hawk.steps.mean_queries import mean_queries
from hawk.steps.prepare_samples import prepare_samples
from hawk.steps.session import Session


@pytest.mark.parametrize("layer", [0, 2])
def test_every_question_counts_once(tmp_path: Path, layer: int) -> None:
    config = fill(
        {
            "run": "queries",
            "model": {"path": str(EMBEDDED), "device": "cpu", "layers": 4, "heads": 8},
            "ablation": {"recipes": [{"name": "alone", "intervention": "keep_only", "layer": layer}]},
            "weights": {"recipes": [{"name": "free", "ablation": "alone", "query": "calibrated"}]},
            "calibration": {"benchmarks": ["easy_vqa"], "samples": 6},
            "evaluation": {"benchmarks": ["digits"], "variants": [{"name": "blind", "method": "blind"}]},
            "generation": {"batch_size": 4},
        },
        "config",
    )
    paths = RunPaths(tmp_path)
    prepare_samples(config, paths, "calibration", "easy_vqa")
    encode_images(config, paths, "calibration", "easy_vqa")
    session = Session.open(with_weights(config, "free"), paths, "easy_vqa", "calibration")
    mean_queries(session, "free")
    written = json.loads(Path(paths.mean_queries("free", "easy_vqa")).read_text())
    assert written["questions"] == 6

    vlm, prompts, caught = session.vlm, session.prompts, []
    projection = vlm.model.model.language_model.layers[layer].self_attn.q_proj
    handle = projection.register_forward_hook(lambda module, args, out: caught.append(out[0]))
    asked, lengths = [], []
    with torch.no_grad():
        for number, ids in enumerate(prompts.ids):
            inputs = prompts.inputs([number])
            kinds = (inputs["input_ids"] == vlm.model.config.image_token_id).long()
            vlm.model(**inputs, mm_token_type_ids=kinds)
            # The question stands behind the image, up to the end of the user's turn.
            text = vlm.processor.tokenizer.convert_ids_to_tokens(ids)
            begin = len(text) - text[::-1].index("<|vision_end|>")
            end = begin + text[begin:].index("<|im_end|>")
            asked.append(caught[-1][begin:end].mean(0).view(8, -1).double())
            lengths.append(end - begin)
    handle.remove()
    assert len(set(lengths)) > 1, "a mean over tokens would be the same"
    found = torch.tensor(written["mean_query"], dtype=torch.float64)
    expected = torch.stack(asked).mean(0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    by_token = sum(one * length for one, length in zip(asked, lengths, strict=True)) / sum(lengths)
    assert (by_token - found).abs().max() > 1e-3
    assert (expected.flip(0) - found).abs().max() > 1e-2


def test_weights_pool_the_questions_of_all_benchmarks(tmp_path: Path) -> None:
    with toy_benchmarks():
        recipes = [weights("zero", query="calibrated")]
        config = write_run(tmp_path, make_config(weights={"recipes": recipes}))
        measure_drops(config, tmp_path)
        paths, names = RunPaths(tmp_path), config["calibration"]["benchmarks"]
        identity = {"benchmark": names[0], "ablation": "zero"}
        _, block = read_scores(paths.scores(names[0], "zero", "reference"), identity, ["sample_id"])
        settings = block["settings"]
        shape = settings["geometry"]["heads"], settings["geometry"]["head_dim"]
        queries = np.random.default_rng(0).normal(size=(len(names), *shape))

        def put(number: int, **changes: Any) -> Path:
            own = {"model": settings["model"], "layer": 0, "query_span": "instruction", **changes}
            content = {
                "mean_query": queries[number].tolist(),
                "questions": number + 1,
                "provenance": {"settings": own},
            }
            target = Path(paths.mean_queries("zero", names[number]))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(content))
            return target

        for number in range(len(names)):
            put(number)
        head_weights(config, paths, "zero")
        found = HeadWeights.load(paths.head_weights("zero"))
        expected = np.average(queries, axis=0, weights=[number + 1 for number in range(len(names))])
        np.testing.assert_allclose(np.array(found.mean_query), expected, rtol=1e-12)
        assert np.abs(queries.mean(0) - expected).max() > 1e-3

        for change, said in (
            ({"layer": 1}, "made with layer 1"),
            ({"query_span": "after_vision"}, "made with query_span 'after_vision'"),
            ({"model": {"id": "another"}}, "made with model"),
        ):
            target = put(0, **change)
            with pytest.raises(InputError, match=said) as caught:
                head_weights(config, paths, "zero")
            assert str(caught.value).startswith(str(target))
        for bad in (
            "[]",
            "{}",
            '{"questions": 1, "mean_query": [["x"]], "provenance": {"settings": {}}}',
            '{"questions": 1, "mean_query": [[1], [1, 2]], "provenance": {"settings": {}}}',
            '{"questions": 0, "mean_query": [[1]], "provenance": {"settings": {}}}',
        ):
            target.write_text(bad)
            with pytest.raises(InputError) as caught:
                head_weights(config, paths, "zero")
            assert str(caught.value).startswith(str(target)), bad

"""Scores of samples: independent of batch and of stored or recomputed features; oracles on real steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import EMBEDDED, ROOT
from runs import linked
from score_rows import same

from hawk import benchmarks
from hawk.ablation.ablate_heads import AblateHeads
from hawk.ablation.selection import selection_pruner
from hawk.benchmarks.samples import read_samples
from hawk.config.load import load_config
from hawk.config.queries import token_score_options
from hawk.config.recipes import ablation_named
from hawk.core.errors import InputError
from hawk.core.files import provenance_of, read_table, sample_provenance
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Head
from hawk.core.images import item_key
from hawk.core.paths import RunPaths
from hawk.core.schemas import DROPS, EVALUATION, SAMPLES, SCORES
from hawk.core.variants import TOKEN_SCORE
from hawk.inference.decoding import _stopped
from hawk.inference.encoding import Recomputed
from hawk.inference.feature_store import FeatureStore
from hawk.inference.prompts import Prompts
from hawk.inference.scoring import batches, prepared, score_samples
from hawk.pruning.methods.fastv import FastV
from hawk.pruning.methods.hawk import Hawk
from hawk.pruning.methods.mmr import Mmr
from hawk.steps import evaluate_pruned as evaluation
from hawk.steps import session as session_module
from hawk.steps.encode_images import encode_images
from hawk.steps.head_drops import head_drops
from hawk.steps.head_weights import head_weights
from hawk.steps.prepare_samples import prepare_samples
from hawk.steps.score_samples import score_samples as score_step
from hawk.steps.session import Session, load_for
from hawk.steps.variants import build

BENCH = "digits"


@pytest.fixture(scope="module")
def config() -> dict:
    import os

    here = os.getcwd()
    os.chdir(ROOT)
    try:
        config = load_config(ROOT / "config" / "config.yaml")
    finally:
        os.chdir(here)
    config["model"] = {**config["model"], "path": str(EMBEDDED), "device": "cpu"}
    config["calibration"]["samples"] = 24
    config["evaluation"]["samples"] = 24
    config["generation"]["batch_size"] = 8
    return config


@pytest.fixture(scope="module")
def root(config: dict, tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    """A run folder with samples and features of one benchmark."""
    paths = RunPaths(tmp_path_factory.mktemp("run"))
    for role in ("calibration", "evaluation"):
        prepare_samples(config, paths, role, BENCH)
        encode_images(config, paths, role, BENCH)
    return paths


@pytest.fixture(scope="module")
def prompts(root: RunPaths, embedded) -> Prompts:
    samples = read_samples(root.samples("calibration", BENCH), "calibration", BENCH)
    store = FeatureStore(root.features("calibration", BENCH))
    return Prompts(embedded, benchmarks.benchmark(BENCH), samples, store, "vlmevalkit")


def evaluate(config: dict, paths: RunPaths, variant: str) -> None:
    evaluation.evaluate_pruned(evaluation.open_session(config, paths, BENCH, variant), variant)


def scored(prompts: Prompts, **settings):
    return score_samples(prompts, **{"batch_size": 8, **settings})


def test_the_trained_model_answers(prompts: Prompts) -> None:
    rows = scored(prompts)
    assert sum(row["score"] for row in rows) / len(rows) > 0.8
    assert all(row["kept_tokens"] == row["visual_tokens"] == 64 for row in rows)


def test_alone_equals_in_a_batch_equals_another_composition(prompts: Prompts) -> None:
    together = scored(prompts)
    assert same(together, scored(prompts, batch_size=1))
    assert same(together, scored(prompts, shuffle=1))
    swapped = [together[1], together[0], *together[2:]]
    assert not same(together, swapped)  # the comparison can fail


def test_stored_features_equal_the_vision_tower(prompts: Prompts, embedded) -> None:
    again = Recomputed(embedded, prompts.samples, {})
    fresh = Prompts(embedded, benchmarks.benchmark(BENCH), prompts.samples, again, "vlmevalkit")
    assert same(scored(prompts), scored(fresh))
    wrong = {**again._files}
    keys = list(wrong)
    wrong[keys[0]], wrong[keys[1]] = wrong[keys[1]], wrong[keys[0]]
    again = Recomputed(embedded, prompts.samples, {})
    again._files = wrong
    fresh = Prompts(embedded, benchmarks.benchmark(BENCH), prompts.samples, again, "vlmevalkit")
    assert not same(scored(prompts), scored(fresh))


def test_an_answer_that_runs_to_the_limit_has_not_stopped(
    prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One answer is a word and the end: two tokens are enough, one is the word alone."""
    for limit, stopped in ((2, True), (1, False)):
        monkeypatch.setattr(type(prompts.bench), "max_new_tokens", lambda self, protocol, n=limit: n)
        rows = scored(prompts)
        assert {row["stopped"] for row in rows} == {stopped}
        assert [row["first_word_score"] for row in rows] == [row["score"] for row in rows]
        assert sum(row["score"] for row in rows) / len(rows) > 0.9


def test_end_tokens_may_be_several_and_stand_anywhere() -> None:
    new = torch.tensor([[4, 7, 0], [4, 5, 4], [5, 0, 0], [4, 4, 4]])
    assert _stopped(new, [7, 5]) == [True, True, True, False]
    assert _stopped(new, 7) == [True, False, False, False]
    assert _stopped(new, None) == [False] * 4


def test_prompts_are_the_processors_and_generation_is_the_models(prompts: Prompts, embedded) -> None:
    """The same ids as the processor makes with the picture; the same answer as plain generate."""
    import io

    from PIL import Image

    sample = prompts.samples[0]
    image = Image.open(io.BytesIO(sample.images[0]["bytes"])).convert("RGB")
    messages = [
        {
            "role": "user",
            "content": [{"type": "image", "image": image}, {"type": "text", "text": sample.question}],
        }
    ]
    inputs = embedded.processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
    )
    assert inputs["input_ids"][0].tolist() == prompts.ids[0]
    out = embedded.model.generate(**inputs, max_new_tokens=16, do_sample=False)
    text = embedded.processor.tokenizer.decode(
        out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    row = scored(prompts)[0]
    assert row["prediction"] == text
    logits = embedded.model(**inputs).logits[0, -1].log_softmax(-1)
    (answer,) = prompts.answers[0]
    assert abs(row["reference_logprob"] - float(logits[answer])) < 1e-4
    ranked = [(float(value), token) for token, value in enumerate(logits) if token != answer]
    assert abs(row["margin"] - (float(logits[answer]) - max(ranked)[0])) < 1e-4
    assert abs(row["margin"] - (float(logits[answer]) - sorted(ranked)[-2][0])) > 1e-2  # control: the next


def test_reference_logprob_of_several_tokens_is_teacher_forced(prompts: Prompts, embedded) -> None:
    """Against one plain forward pass over prompt + answer with the pictures."""
    chosen = [0, 1, 2]
    several = [prompts.answers[i] * 3 for i in chosen]  # three tokens each
    before = prompts.answers
    prompts.answers = [*several, *before[3:]]
    try:
        rows = scored(prompts)
    finally:
        prompts.answers = before
    for i in chosen:
        inputs = prompts.inputs([i])
        answer = torch.tensor([several[i]])
        ids = torch.cat([inputs["input_ids"], answer], dim=1)
        full = {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
        full["mm_token_type_ids"] = (ids == embedded.model.config.image_token_id).long()
        logits = embedded.model(**full).logits[0, -4:-1].log_softmax(-1)
        expected = float(logits.gather(-1, answer.T).sum())
        assert abs(rows[i]["reference_logprob"] - expected) < 1e-4


def test_reference_logprob_with_pruning_inside_the_model_is_that_of_forced_decoding(
    prompts: Prompts, embedded
) -> None:
    """FastV's layers have caches of different lengths, and all are taken back to the prompt's end."""
    from transformers import LogitsProcessorList

    from hawk.pruning.prompt import prune

    pruner, chosen = FastV(pruning_ratio=0.8, layer=2), [0, 1, 2]
    several = [[prompts.answers[i][0], *prompts.answers[j]] for i, j in zip(chosen, [2, 0, 1])]
    before = prompts.answers
    prompts.answers = [*several, *before[3:]]
    try:
        rows, unpruned = scored(prompts, pruner=pruner), scored(prompts)
    finally:
        prompts.answers = before
    for i in chosen:
        found: list[float] = []

        def force(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
            token = several[i][len(found)]  # noqa: B023
            found.append(float(logits[0].log_softmax(-1)[token]))  # noqa: B023
            return torch.full_like(logits, -torch.inf).index_fill(1, torch.tensor([token]), 0.0)

        prompt = prune(pruner, embedded.model, embedded.family, prompts.inputs([i]), [f"x:{i}"])
        with pruner.hooks(embedded.model, embedded.family, prompt):
            embedded.model.generate(
                **prompt.kwargs(), max_new_tokens=2, do_sample=False,
                logits_processor=LogitsProcessorList([force]),
            )  # fmt: skip
        assert abs(rows[i]["reference_logprob"] - sum(found)) < 1e-4
        assert abs(rows[i]["reference_logprob"] - unpruned[i]["reference_logprob"]) > 1e-3


@pytest.mark.parametrize("head", [Head(0, 5), Head(2, 1)])
def test_zero_equals_zeroed_columns_of_the_weight(prompts: Prompts, embedded, head: Head) -> None:
    projection = embedded.model.model.language_model.layers[head.layer].self_attn.o_proj
    width = projection.in_features // 8
    hooked = scored(prompts, ablation=AblateHeads([head]).attach(embedded.model))
    before = projection.weight.data.clone()
    for index, equal in ((head.index, True), (head.index - 1, False)):
        projection.weight.data[:, index * width : (index + 1) * width] = 0
        try:
            assert same(hooked, scored(prompts)) is equal
        finally:
            projection.weight.data.copy_(before)
    assert same(scored(prompts), scored(prompts, ablation=AblateHeads([]).attach(embedded.model)))
    assert not projection._forward_pre_hooks


def test_step_files_hold_what_their_path_says(config: dict, root: RunPaths) -> None:
    """One process for several heads writes the same files as one process each."""
    jobs = [
        (what, root.scores(BENCH, "selection", what)) for what in ("reference", "repeat1", "L0H2", "L0H5")
    ]
    session = Session.open(config, root, BENCH, "calibration")
    score_step(session, jobs, ablation_named(config, "selection"))
    tables = {}
    for what, path in jobs:
        tables[what] = read_table(
            path, SCORES, {"benchmark": BENCH, "intervention": "selection", "name": what}
        )
        alone = path.replace("selection", "alone")
        score_step(session, [(what, alone)], ablation_named(config, "selection"))
        assert read_table(alone, SCORES).equals(tables[what])
    assert tables["L0H2"].column("kept_tokens").to_pylist() == [13] * 24  # ceil(64 · 0.2)
    made = provenance_of(tables["L0H2"], jobs[2][1])["settings"]
    asked = sample_provenance(root.samples("calibration", BENCH), "calibration", BENCH)
    assert {key: made[key] for key in asked} == asked
    assert asked["origin"]["id"] == BENCH
    assert len(asked["samples"]) == len(made["prompts"]) == 64
    assert not tables["L0H2"].equals(tables["L0H5"])
    with pytest.raises(InputError, match="the file says name 'L0H2', its path says 'L0H3'"):
        read_table(jobs[2][1], SCORES, {"name": "L0H3"})


def test_selection_leaves_one_head_out_of_the_score(config: dict, embedded) -> None:
    ratio, options = 0.8, token_score_options(config["scoring"])
    pruner = selection_pruner(embedded.geometry, 0, ratio, options, Head(0, 3))
    assert pruner.weights.weights[3] == 0
    assert len(set(pruner.weights.weights)) == 2
    assert float(pruner.pruning_ratio) == ratio
    with pytest.raises(InputError, match="tokens are scored in layer 0; L1H3 has no part"):
        selection_pruner(embedded.geometry, 0, ratio, options, Head(1, 3))


@dataclass(frozen=True)
class OneHead(Hawk):
    """Tokens by the raw scores of one head: no weights, and no normalization, which keeps their order."""

    head: int = 0

    def scores(self, context):
        return self.head_scores(context)[self.head]


ALONE = {
    "name": "alone", "intervention": "keep_only", "layer": 1, "ratio": 0.9,
    "normalization": "standardize", "reduction": "attention", "rope": True, "query_span": "instruction",
}  # fmt: skip


@pytest.fixture(scope="module")
def alone(config: dict, root: RunPaths) -> dict:
    """A run with the ablation keep_only in layer 1, all of its heads scored."""
    made = {"ablation": "alone", "normalization": "min_shift", "measure": "value", "query": "question"}
    config = {
        **config,
        "ablation": {**config["ablation"], "recipes": [ALONE]},
        "calibration": {**config["calibration"], "benchmarks": [BENCH]},
        "weights": {
            "recipes": [
                {**made, "name": "alone"},
                {**made, "name": "signed", "normalization": "signed"},
                {**made, "name": "logprob", "measure": "logprob", "normalization": "positive_significant"},
                {**made, "name": "margin", "measure": "margin", "normalization": "signed"},
            ]
        },
    }
    names = ["reference", "repeat1", *(f"L1H{head}" for head in range(8))]
    jobs = [(name, root.scores(BENCH, "alone", name)) for name in names]
    score_step(Session.open(config, root, BENCH, "calibration"), jobs, ALONE)
    head_drops(config, root, "alone")
    return config


def test_keep_only_lets_one_head_choose_the_tokens(alone: dict, root: RunPaths, prompts: Prompts) -> None:
    """Against the raw scores of that head alone; the neighbour head, and its ablation, must differ."""

    def rows(name: str) -> list[dict]:
        return read_table(root.scores(BENCH, "alone", name), SCORES, {"ablation": "alone"}).to_pylist()

    def chosen_by(pruner: Hawk) -> list[dict]:
        return [{key: row[key] for key in SCORES.names} for row in scored(prompts, pruner=pruner)]

    options = {"pruning_ratio": "0.9", "layer": 1, "text_reduction": "attention", "rope": True}
    for head in (2, 5):
        assert same(rows(f"L1H{head}"), chosen_by(OneHead(**options, head=head)))
        assert not same(rows(f"L1H{head}"), chosen_by(OneHead(**options, head=head + 1)))
        assert not same(rows(f"L1H{head}"), chosen_by(OneHead(**{**options, "layer": 0}, head=head)))
    uniform = Hawk(**options, token_score_normalization="standardize")
    assert same(rows("reference"), chosen_by(uniform))
    assert {row["kept_tokens"] for row in rows("L1H2")} == {7}


def test_weights_of_keep_only_are_what_each_head_retains(alone: dict, root: RunPaths) -> None:
    frames = [
        read_table(root.scores(BENCH, "alone", name), SCORES).to_pandas()
        for name in ("reference", *(f"L1H{head}" for head in range(8)))
    ]
    value = np.array([100 * frame["score"].mean() for frame in frames])
    logprob = np.array([frame["reference_logprob"].mean() for frame in frames])
    drops = read_table(root.drops("alone"), DROPS, {"ablation": "alone"}).to_pandas()
    np.testing.assert_allclose(drops["drop"], value[1:] - value[0])  # more retained is better
    np.testing.assert_allclose(drops["logprob_drop"], logprob[1:] - logprob[0])
    margin = np.array([frame["margin"].mean() for frame in frames])
    np.testing.assert_allclose(drops["margin_drop"], margin[1:] - margin[0])
    assert (drops["margin_low"] < drops["margin_drop"]).all()
    assert (drops["logprob_low"] < drops["logprob_drop"]).all()
    assert (drops["logprob_drop"] < drops["logprob_high"]).all()

    def made(name: str) -> np.ndarray:
        head_weights(alone, root, name)
        loaded = HeadWeights.load(root.head_weights(name))
        assert (loaded.layer, loaded.intervention) == (1, "keep_only")
        assert loaded.token_score == {key: ALONE[key] for key in TOKEN_SCORE}
        return np.array(loaded.weights)

    # The reference cancels: the weights are those of the retained values themselves.
    shifted = value[1:] - value[1:].min()
    np.testing.assert_allclose(made("alone"), shifted / shifted.sum())
    turned = value[1:].max() - value[1:]
    assert np.abs(made("alone") - turned / turned.sum()).max() > 0.05  # control: the sign of a plain drop
    gain = value[1:] - value[0]
    np.testing.assert_allclose(made("signed"), gain / np.abs(gain).sum())
    assert (made("signed") < 0).any()
    wider = margin[1:] - margin[0]
    np.testing.assert_allclose(made("margin"), wider / np.abs(wider).sum())
    nats = np.where(drops["logprob_low"] > 0, drops["logprob_drop"], 0.0)
    if nats.any():
        np.testing.assert_allclose(made("logprob"), nats / nats.sum())
    else:
        np.testing.assert_allclose(made("logprob"), 1 / 8)


def test_signed_weights_count_against_a_token(embedded, prompts: Prompts) -> None:
    """Against the sum over heads by hand; with their sizes instead of their signs it must differ."""
    given = [0.5, -0.3, 0.1, 0.1, 0.0, 0.0, -0.2, 0.4]
    weights = HeadWeights(tuple(given), embedded.geometry, weight_normalization="signed")

    @dataclass(frozen=True)
    class ByHand(Hawk):
        def scores(self, context):
            raw = self.head_scores(context)
            return sum(w * row / row.norm() for w, row in zip(given, raw, strict=True))

    rows = scored(prompts, pruner=Hawk(pruning_ratio="0.9", weights=weights))
    assert same(rows, scored(prompts, pruner=ByHand(pruning_ratio="0.9")))
    sizes = replace(weights, weights=tuple(map(abs, given)))
    assert not same(rows, scored(prompts, pruner=Hawk(pruning_ratio="0.9", weights=sizes)))
    with pytest.raises(InputError, match=r"head 1 has weight -0.3; it must be 0 or more"):
        HeadWeights(tuple(given), embedded.geometry)


@pytest.mark.parametrize("inside", [False, True])
def test_weights_that_chose_their_layer_choose_tokens_there(
    config: dict, embedded, prompts: Prompts, tmp_path: Path, inside: bool
) -> None:
    """Against hawk told that layer; told the run's own layer it must keep other tokens."""
    named = ["selection", "selection-layer1", "selection-layer2"]
    recipe = {"name": "chosen", "ablation": named, "normalization": "min_shift", "measure": "value"}
    config = {**config, "weights": {"recipes": [recipe]}}
    path = RunPaths(tmp_path).head_weights("chosen")
    identity = {"identity": {"recipe": "chosen", "subset": "pooled"}}
    score = {"normalization": "softmax", "reduction": "mean", "rope": False, "query_span": "after_vision"}
    weights = HeadWeights(
        (0.5, 0.1, 0.1, 0.0, 0.0, 0.1, 0.0, 0.2), embedded.geometry, layer=2, token_score=score,
        provenance=identity,
    )  # fmt: skip
    weights.save(path)
    rows = [*range(6)]

    def kept(pruner: Hawk | Mmr) -> list[list[int]]:
        return [index.tolist() for index in prepared(prompts, pruner, rows).last.kept_index]

    def by_hand(layer: int) -> Hawk | Mmr:
        scorer = Hawk(
            weights=weights, layer=layer, token_score_normalization="softmax", query_span="after_vision",
            pruning_ratio="0.9",
        )  # fmt: skip
        return Mmr(scorer=scorer, pruning_ratio="0.9") if inside else scorer

    own: dict = {"method": "hawk", "weights": "chosen"}
    variant = {"name": "v", **({"method": "mmr", "scorer": own} if inside else own)}
    found = kept(build(config, variant, "0.9", 0, embedded.geometry, path))
    assert found == kept(by_hand(2))
    assert found != kept(by_hand(config["scoring"]["layer"]))
    with pytest.raises(InputError, match="are of heads in layer 2, and tokens are scored in layer 1"):
        entry = variant["scorer"] if inside else variant
        entry["layer"] = 1
        build(config, variant, "0.9", 0, embedded.geometry, path)


def test_evaluation_holds_every_ratio_and_seed(config: dict, root: RunPaths) -> None:
    evaluate(config, root, "random")
    frame = read_table(root.evaluation(BENCH, "random"), EVALUATION, {"variant": "random"}).to_pandas()
    assert frame.groupby(["pruning_ratio", "seed"]).size().to_dict() == {
        (ratio, seed): 24 for ratio in ("0.6", "0.8", "0.9") for seed in range(3)
    }
    assert frame.groupby("pruning_ratio")["kept_tokens"].unique().map(list).to_dict() == {
        "0.6": [26], "0.8": [13], "0.9": [7],
    }  # fmt: skip
    predictions = frame[frame.pruning_ratio == "0.9"].groupby("seed")["prediction"].agg("|".join)
    assert predictions.nunique() > 1  # seeds do differ


def test_batches_hold_every_sample_once_and_refuse_size_zero() -> None:
    lengths = [5, 1, 4, 2, 3]
    assert batches(lengths, 2) == [[1, 3], [4, 2], [0]]
    shuffled = batches(lengths, 2, shuffle=1)
    assert shuffled != batches(lengths, 2)
    assert sorted(i for batch in shuffled for i in batch) == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match="batch_size: 0"):
        batches(lengths, 0)


def test_features_of_another_model_or_image_are_refused(root: RunPaths, embedded, tmp_path: Path) -> None:
    store = FeatureStore(root.features("calibration", BENCH))
    with pytest.raises(InputError, match="no features for image"):
        store[item_key(b"another")]
    with pytest.raises(InputError, match="model id"):
        store.check({**embedded.source, "id": "other"}, store.provenance["settings"]["preprocessing"])
    with pytest.raises(InputError, match="min_pixels.*; this job uses"):
        store.check(embedded.source, {"min_pixels": 1})
    (tmp_path / "half.safetensors").write_bytes(Path(store.path).read_bytes()[:100])
    with pytest.raises(InputError, match="not a readable features file"):
        FeatureStore(tmp_path / "half.safetensors")
    with pytest.raises(InputError, match="no such features file"):
        FeatureStore(tmp_path / "none.safetensors")


@pytest.mark.gpu
def test_a_job_on_stored_features_runs_on_a_gpu(config: dict, root: RunPaths, tmp_path: Path) -> None:
    rows = {}
    for device in ("cpu", "cuda"):
        own = {**config, "model": {**config["model"], "device": device}}
        files = [(what, str(tmp_path / device / f"{what}.parquet")) for what in ("reference", "L0H6", "L1H1")]
        score_step(Session.open(own, root, BENCH, "calibration"), files, ablation_named(config, "zero"))
        rows[device] = {what: read_table(path, SCORES).to_pylist() for what, path in files}
    for what in rows["cpu"]:
        assert same(rows["cpu"][what], rows["cuda"][what], tolerance=1e-2)


def test_lengths_are_read_off_the_header(prompts: Prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = FeatureStore.__getitem__
    monkeypatch.setattr(FeatureStore, "__getitem__", lambda self, key: read.append(key) or whole(self, key))
    again = Prompts(prompts.vlm, benchmarks.benchmark(BENCH), prompts.samples, prompts.features, "vlmevalkit")
    assert not read
    assert again.ids == prompts.ids
    outline, item = prompts.features.outline(prompts.files[0][0].key), prompts.items(0)[0]
    assert (outline.tokens, outline.grid, outline.meta) == (item.tokens, item.grid, item.meta)


def test_a_full_cache_still_answers_and_the_last_image_is_kept(
    prompts: Prompts, embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hawk.inference import encoding

    calls: list[str] = []
    encode = encoding.encode
    monkeypatch.setattr(
        encoding, "encode", lambda vlm, file, *rest: calls.append(file.key) or encode(vlm, file, *rest)
    )
    keys = [files[0].key for files in prompts.files[:4]]
    size = prompts.items(0)[0].features.nbytes
    monkeypatch.setattr(encoding, "KEPT_BYTES", 3 * size)
    features = Recomputed(embedded, prompts.samples, {})
    first = [features[key].features for key in keys]
    second = [features[key].features for key in keys]
    assert calls == keys, "three fit, and the fourth was the last one asked for"
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    features[keys[0]], features[prompts.files[4][0].key], features[keys[3]]
    assert calls[4:] == [prompts.files[4][0].key, keys[3]]


def test_the_checkpoint_has_no_say_in_decoding(prompts: Prompts, embedded) -> None:
    plain = scored(prompts)
    own = embedded.model.generation_config
    answer = embedded.processor.tokenizer(plain[0]["prediction"], add_special_tokens=False)["input_ids"]
    poisoned = {"suppress_tokens": answer, "min_new_tokens": 5, "no_repeat_ngram_size": 1, "num_beams": 3}
    embedded.model.generation_config = type(own)(**{**own.to_dict(), **poisoned})
    try:
        assert same(plain, scored(prompts))
        assert embedded.model.generation_config.min_new_tokens == 5  # and it is left as it was
    finally:
        embedded.model.generation_config = own


def test_sliding_windows_are_refused(config: dict, tmp_path: Path) -> None:
    import json
    import shutil

    shutil.copytree(EMBEDDED, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    settings = json.loads(path.read_text())
    settings["text_config"]["layer_types"] = ["full_attention", *["sliding_attention"] * 3]
    settings["text_config"].update(use_sliding_window=True, sliding_window=16, max_window_layers=1)
    path.write_text(json.dumps(settings))
    with pytest.raises(InputError, match="sliding windows of 16 tokens"):
        load_for({**config, "model": {**config["model"], "path": str(tmp_path / "model")}}, vision=True)


def test_evaluation_on_stored_features_reads_no_image(
    config: dict, root: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    read = session_module.read_samples
    monkeypatch.setattr(
        session_module,
        "read_samples",
        lambda *words, images=True: asked.append(images) or read(*words, images=images),
    )
    own = {**config, "evaluation": {**config["evaluation"], "ratios": [0.8]}}
    evaluate(own, linked(root, tmp_path), "grid")
    assert asked == [False]


def weights_file(path: Path, **changes: object) -> str:
    from hawk.core.head_weights import HeadWeights
    from hawk.core.heads import Geometry

    made = HeadWeights(**{
        "weights": (1 / 8,) * 8, "geometry": Geometry(4, 8, 4, 16), "layer": 0,
        "model": {"id": str(EMBEDDED), "revision": None, "family": "qwen2_5_vl"},
        "samples": {BENCH: 24}, **changes,
    })  # fmt: skip
    made.save(path)
    return str(path)


@pytest.mark.parametrize(
    ("changes", "variant", "said"),
    [
        ({"model": {"id": "x", "family": "qwen2_vl"}}, {}, "measured on a 'qwen2_vl' model"),
        ({"layer": 1}, {}, "heads in layer 1, and tokens are scored in layer 0"),
        ({}, {"layer": 2}, "heads in layer 0, and tokens are scored in layer 2"),
        ({"calibration_groups": "these"}, {}, "24 evaluation images were used to calibrate"),
    ],
    ids=["family", "layer", "variant's layer", "images"],
)
def test_a_weights_file_of_something_else_is_refused(
    config: dict, root: RunPaths, tmp_path: Path, changes: dict, variant: dict, said: str
) -> None:
    from hawk.benchmarks.samples import groups_hash

    run = linked(root, tmp_path / "run")
    role = "evaluation"
    if "calibration_groups" in changes:  # the images that made the weights are evaluated
        groups = (
            read_table(run.samples("calibration", BENCH), SAMPLES, columns=["group_id"])
            .column("group_id")
            .to_pylist()
        )
        changes, role = {"calibration_groups": groups_hash(groups)}, "calibration"
    own = {"name": "file", "method": "hawk", "weights": weights_file(tmp_path / "w.json", **changes)}
    evaluated = {**config["evaluation"], "variants": [{**own, **variant}], "role": role, "ratios": [0.8]}
    with pytest.raises(InputError, match=said):
        evaluate({**config, "evaluation": evaluated}, run, "file")
    assert not Path(run.evaluation(BENCH, "file")).exists()


def test_own_weights_are_refused_on_the_images_that_made_them(
    config: dict, root: RunPaths, tmp_path: Path
) -> None:
    run = linked(root, tmp_path)
    weights_file(Path(run.head_weights("zero")))
    variants = [{"name": "zero", "method": "hawk", "weights": "zero"}]
    own = {**config, "evaluation": {**config["evaluation"], "variants": variants, "role": "calibration"}}
    with pytest.raises(InputError, match=r"pooled.json: 24 evaluation images were used to calibrate"):
        evaluate(own, run, "zero")
    allowed = {**own, "calibration": {**config["calibration"], "holdout": "none"}}
    evaluate(allowed, run, "zero")  # the paper's leak, asked for


def test_a_weights_file_of_unknown_images_is_used_with_a_warning(
    config: dict, root: RunPaths, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = weights_file(tmp_path / "w.json", model={"id": "owner/model", "family": "qwen2_5_vl"})
    variant = {"name": "file", "method": "hawk", "weights": path}
    own = {**config, "evaluation": {**config["evaluation"], "variants": [variant], "ratios": [0.8]}}
    # Without the run's calibration samples nobody knows the images.
    run = linked(root, tmp_path / "run")
    (tmp_path / "run" / "samples").unlink()
    (tmp_path / "run" / "samples").mkdir()
    (tmp_path / "run" / "samples" / "evaluation").symlink_to(Path(root.root, "samples", "evaluation"))
    evaluate(own, run, "file")
    assert "measured on owner/model and are used on" in caplog.text
    assert "images that are not known here" in caplog.text


def test_another_question_is_another_one_or_refused(
    prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    own = [
        prompts.vlm.processor.tokenizer(one.question, add_special_tokens=False)["input_ids"]
        for one in prompts.samples
    ]
    others = [ids.tolist() for ids in evaluation.other_questions(prompts, 0, BENCH)]
    assert all(mine != other for mine, other in zip(own, others, strict=True))
    same = [replace(one, question="Which digit?") for one in prompts.samples]
    monkeypatch.setattr(prompts, "samples", same)
    with pytest.raises(InputError, match=r"'digits' has no other question .* same, 'Which digit\?'"):
        evaluation.other_questions(prompts, 0, BENCH)


def test_the_weights_of_an_evaluation_are_told_by_their_numbers(
    config: dict, root: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a file that is replaced between two ratios is noticed: the rows would be of two methods."""
    import json

    path = weights_file(tmp_path / "w.json")
    own = {"name": "file", "method": "hawk", "weights": path}
    config = {**config, "evaluation": {**config["evaluation"], "variants": [own], "ratios": [0.6, 0.8]}}
    run = linked(root, tmp_path / "run")
    evaluate(config, run, "file")
    table = read_table(run.evaluation(BENCH, "file"), EVALUATION)
    told = json.loads(table.schema.metadata[b"hawk"])["settings"]["weights"]
    assert told == {"source": path, "sha256": HeadWeights.load(path).sha256}
    other = {"weights": (1.0, *(0.0,) * 7)}
    again = weights_file(tmp_path / "other.json", **other)
    assert HeadWeights.load(again).sha256 != told["sha256"]
    score = Session.score

    def replaced(*words, **how):
        weights_file(tmp_path / "w.json", **other)
        return score(*words, **how)

    monkeypatch.setattr(Session, "score", replaced)
    Path(run.evaluation(BENCH, "file")).unlink()
    with pytest.raises(InputError, match="w.json: the weights were changed while 'file' was evaluated"):
        evaluate(config, run, "file")
    assert not Path(run.evaluation(BENCH, "file")).exists()

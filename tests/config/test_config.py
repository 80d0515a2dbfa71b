"""Wrong configs fail at once and say what is wrong; right ones get their defaults."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from hawk.config import load as hawk_config
from hawk.config.load import load_config
from hawk.config.queries import config_subset, weights_subset
from hawk.config.recipes import ablated_heads
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry

RAW = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


# The embedded models' configs; a model is embedded when its folder is here.
EMBEDDED = {
    name: yaml.safe_load((ROOT / "config" / name).read_text())
    for name in ("config.yaml", "tiny_internvl.yaml")
}


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def changed(path: str, value: object) -> dict:
    raw = deepcopy(RAW)
    node = raw
    *parents, last = path.split(".")
    for name in parents:
        node = node.setdefault(name, {})
    node[last] = value
    return raw


def load(raw: dict, tmp_path: Path) -> dict:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(raw))
    return load_config(path)


ZERO = {"name": "zero", "intervention": "zero"}
ALONE = {"name": "a", "intervention": "keep_only"}
WRONG = [
    ("seeed", 1, r"unknown key 'seeed'.*Did you mean 'seed'"),
    ("evaluation.ratio", [0.5], r"unknown key 'evaluation.ratio'.*Did you mean 'ratios'"),
    ("evaluation.ratios", [1], r"evaluation.ratios.0: 1 is .*maximum of 1"),
    ("evaluation.ratios", [-0.1], r"evaluation.ratios.0: -0.1 is less than"),
    ("evaluation.ratios", [0.33333], r"0.33333 has more than four decimals"),
    ("evaluation.benchmarks", ["mne"], r"unknown benchmark .*'mne'.*Did you mean 'mme'"),
    ("evaluation.reference", "hawk", r"unknown evaluation.reference .*'hawk'.*Allowed: .*hawk-uniform"),
    ("evaluation.variants", [{"name": "a", "method": "hwk"}], r"unknown method .*Did you mean 'hawk'"),
    *[
        ("evaluation.hypotheses", [{"variant": "random", "against": "divprune", **wrong}], said)
        for wrong, said in (
            ({"variant": "rnd"}, r"hypotheses, number 1: variant \(a variant's name\).*'rnd'"),
            ({"against": "baseline"}, r"number 1: against \(a variant's name\).*'baseline'.*Allowed: "),
            ({"against": "random"}, r"number 1: 'random' is compared with itself"),
            ({"ratios": [0.7]}, r"number 1: ratio \(one of evaluation.ratios\).*0.7.*Allowed: "),
            ({"ratios": []}, r"hypotheses.0.ratios: \[\] should be non-empty"),
            ({"benchmarks": ["pope"]}, r"number 1: benchmark \(one of evaluation.benchmarks\).*'pope'"),
            ({"ratio": [0.8]}, r"unknown key 'evaluation.hypotheses.0.ratio'.*Did you mean 'ratios'"),
        )
    ],
    ("evaluation.rounding", "up", r"evaluation.rounding: 'up' is not one of \['ceil', 'floor', 'round'\]"),
    (
        "evaluation.variants",
        [{"name": "a", "method": "grid", "rounding": "floor"}],
        r"'a': rounding is the same for all variants of a comparison; set evaluation.rounding",
    ),
    ("evaluation.variants", [{"name": "a", "method": "grid", "rop": True}], r"unknown key in .*'a': 'rop'"),
    ("evaluation.variants", [{"name": "a", "method": "grid", "weights": "zero"}], "belong to method hawk"),
    (
        "evaluation.variants",
        [{"name": "a", "method": "hawk", "weights": "mean"}],
        r"unknown weights in .*'a' \(no name in weights.recipes.*'mean'",
    ),
    ("evaluation.variants", [{"name": "a", "method": "grid"}] * 2, "'a' is used more than once"),
    (
        "evaluation.variants",
        [{"name": "a", "method": "mmr", "scorer": {"method": "hawk", "weights": "zero"}, "permute": True}],
        r"'a': permute shuffles the weights of method hawk, not of 'mmr'; .*write it into the scorer",
    ),
    ("evaluation.variants", [{"name": "a", "method": "random", "permute": True}], r"permute .*'random'"),
    *(
        (
            "evaluation.variants",
            [{"name": "a", "method": "mmr", "scorer": {"method": "hawk", key: value}}],
            f"'a': {key} belongs to the variant",
        )
        for key, value in (("seeds", 5), ("shuffle_query", True))
    ),
    *(
        ("evaluation.variants", [{"name": name, "method": "grid"}], f"the name '{name}' is taken")
        for name in ("baseline", "majority", "overall", "unpruned")
    ),
    ("evaluation.variants", [{"name": "../a", "method": "grid"}], r"variants.0.name: '../a' does not match"),
    (
        "evaluation.variants",
        [{"name": "a", "method": "hawk", "weights": "selecton"}],
        r"unknown weights in .*'a' .*'selecton'. Did you mean 'selection'\? Allowed: .*uniform, zero",
    ),
    (
        "evaluation.variants",
        [{"name": "a", "method": "mmr", "scorer": {"method": "hawk", "weights": "old/zero.json"}}],
        r"unknown weights in .*'a: scorer' \(no name in weights.recipes, no file.*'old/zero.json'",
    ),
    (
        "evaluation.published",
        {"baseline": {"0.8": {"mne": 1}}},
        r"evaluation.published, 'baseline', '0.8': 'mne'.*mean 'mme'",
    ),
    (
        "evaluation.published",
        {"0.8": {"mme": 1}},
        r"evaluation.published names the variant first; write \{hawk-zero: ",
    ),
    ("generation.batch_size", 0, r"generation.batch_size: 0 is less than the minimum of 1"),
    ("model.heads", 9, r"model.heads is 9, but .*config.json says num_attention_heads 8"),
    ("model.layers", 5, r"model.layers is 5, but .*num_hidden_layers 4"),
    ("model.path", "data/models/none", r"there is no folder 'data/models/none'"),
    ("ablation.recipes", [{**ZERO, "layers": [4]}], r"recipes, 'zero': layer 4 is outside model.layers, 0-3"),
    ("ablation.recipes", [{**ZERO, "layer": 4}], r"recipes, 'zero': layer 4 is outside model.layers, 0-3"),
    ("ablation.recipes", [ZERO, ZERO], r"ablation.recipes: the name 'zero' is used more than once"),
    ("ablation.recipes", [{**ZERO, "name": "baseline"}], r"the name 'baseline' is taken by the scores of"),
    ("ablation.recipes", [{**ZERO, "ratio": 0.5}], r"'zero': ratio belongs to selection and keep_only, not"),
    (
        "ablation.recipes",
        [{**ALONE, "layers": [0]}],
        r"'a': layers belongs to zero, mean and gradient, not to 'keep_only'",
    ),
    ("ablation.recipes", [{**ALONE, "ratio": 0.33333}], r"'a': ratio 0.33333 has more than four decimals"),
    ("ablation.recipes", [{**ALONE, "ratio": float("nan")}], r"recipes.0.ratio: nan is not of type 'number'"),
    (
        "ablation.recipes",
        [{**ALONE, "intervention": "keep"}],
        r"recipes.0.intervention: 'keep' is not one of",
    ),
    (
        "ablation.recipes",
        [{**ALONE, "reductoin": "max"}],
        r"unknown key .*reductoin'. Did you mean 'reduction'",
    ),
    ("weights.recipes", [{"name": "a", "ablation": "zreo"}], r"'a': ablation .*'zreo'. Did you mean 'zero'"),
    (
        "weights.recipes",
        [{"name": "uniform", "ablation": "zero"}],
        r"'uniform': the name is taken by weights",
    ),
    ("weights.recipes", [{"name": "a", "ablation": "zero", "measure": "nats"}], r"'nats' is not one of"),
    ("ablation.interventions", ["zero"], r"ablation.interventions is now .*recipes: \[{name: zero, interven"),
    ("ablation.selection_ratio", 0.8, r"ablation.selection_ratio is now part of recipes; .*ratio: 0.8}"),
    ("ablation.layers", [0], r"ablation.layers is now part of recipes; .*layers: \[0, 1\]}"),
    (
        "weights.normalization",
        "min_shift",
        r"weights.normalization is now part of recipes; write in section w",
    ),
    ("ablation.heads", [8], r"ablation.heads: 8 is outside model.heads, 0-7"),
    ("scoring.layer", 7, r"scoring.layer: 7 is outside"),
    ("run", "a/b", r"run: 'a/b' does not match"),
    ("seed", 2.0, r"seed: 2.0 is not of type 'integer'"),
    ("seed", True, r"seed: True is not of type 'integer'"),
    ("ablation.recipes", [{**ZERO, "layers": [0.0]}], r"recipes.0.layers.0: 0.0 is not of type 'integer'"),
    ("generation.batch_size", 4.0, r"generation.batch_size: 4.0 is not of type 'integer'"),
    ("model.threads", 2.0, r"model.threads: 2.0 is not of type 'integer'"),
    ("cost.repeats", 10**6, r"cost.repeats: 1000000 is greater than the maximum of 10000"),
    ("evaluation.samples", 10**30, r"evaluation.samples: 10+ is greater than the maximum of 1000000000"),
    ("preprocessing", {"max_pixels": 10**30}, r"preprocessing.max_pixels: 10+ is greater than the maximum"),
    ("preprocessing", {"frames": 10**9}, r"preprocessing.frames: 10+ is greater than the maximum of 100000"),
    ("evaluation.variants", [{"name": "a", "method": "hawk", "seed": 1}], r"weights\.$"),
    ("statistics.resamples", 10**12, r"statistics.resamples: 1000000000000 is greater than the maximum"),
    ("statistics.confidence", float("nan"), r"statistics.confidence: nan is not of type 'number'"),
    ("cost.ratios", [0.12345], r"cost.ratios: 0.12345 has more than four decimals"),
    (
        "evaluation.published",
        {"hawk": {"0.8": {}}},
        r"evaluation.published, as \{variant: .*: 'hawk'. Did you mean .* Allowed: baseline, .*hawk-zero",
    ),
    (
        "evaluation.published",
        {"baseline": {"0.8": {"mme": float("nan")}}},
        r"evaluation.published.baseline.0.8.mme: nan is not of",
    ),
    ("preprocessing", {"min_pixels": 9, "max_pixels": 4}, r"min_pixels 9 is larger than max_pixels 4"),
    (
        "evaluation.variants",
        [{"name": "a", "method": "random", "seeds": 10**9}],
        r"evaluation.variants.0.seeds: 1000000000 is greater than the maximum of 1000",
    ),
]

# Names become parts of paths and of commands: only what neither reads in another way (a name such
# as $(id>PWNED) was run by a shell).
BAD_NAMES = [
    "a`touch PWNED`", "$(id>PWNED)", "../../x", "/x", "a b", "a\n", "a\nb", "{a}", "a{head}", ".", "..", "",
    "-a", ".a", "x" * 65, "a;b", "a|b", "a&b", "a'b", 'a"b', "a*", "a?", "\u0430", "a\x00",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
@pytest.mark.parametrize(
    "where", ["run", "calibration.benchmarks", "evaluation.benchmarks", "data", "variant"]
)
def test_names_that_a_shell_or_a_path_reads_otherwise_are_refused(where: str, name: str) -> None:
    raw = deepcopy(RAW)
    if where == "run":
        raw["run"] = name
    elif where == "data":
        raw["data"] = {name: {"definition": "a.yaml"}}
    elif where == "variant":
        raw["evaluation"]["variants"][0]["name"] = name
    else:
        raw[where.partition(".")[0]]["benchmarks"] = [name]
        raw["data"] = {"fine": {}}
    with pytest.raises(InputError, match="does not match|is too"):
        hawk_config.fill(raw, "config.yaml")


@pytest.mark.parametrize("name", ["a", "A1", "_a", "a.b-c_d", "x" * 64])
def test_names_that_are_fine(name: str) -> None:
    assert hawk_config.fill({**deepcopy(RAW), "run": name}, "config.yaml")["run"] == name


@pytest.mark.parametrize(("path", "value", "message"), WRONG, ids=[f"{p}={v}"[:50] for p, v, _ in WRONG])
def test_wrong_values_are_named(path: str, value: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load(changed(path, value), tmp_path)
    text = str(error.value)
    assert "config.yaml" in text
    assert re.search(message, text, re.DOTALL), text


def test_a_method_that_does_not_work_on_the_model_is_refused_before_any_job(tmp_path: Path) -> None:
    """It was told by the last jobs of a run."""
    raw = changed("evaluation.variants", [{"name": "small", "method": "downscale"}])
    del raw["evaluation"]["reference"], raw["cost"]
    load(raw, tmp_path)
    raw["model"]["path"] = "data/models/tiny-internvl3"
    with pytest.raises(InputError, match="'small': downscale works on qwen2_vl, .*json says 'internvl'"):
        load(raw, tmp_path)


def test_missing_section_missing_file_broken_yaml(tmp_path: Path) -> None:
    raw = deepcopy(RAW)
    del raw["calibration"]["benchmarks"]
    with pytest.raises(InputError, match=r"'calibration.benchmarks' is missing"):
        load(raw, tmp_path)
    with pytest.raises(InputError, match="no such file"):
        load_config(tmp_path / "nothing.yaml")
    (tmp_path / "bad.yaml").write_text("run: [")
    with pytest.raises(InputError, match="not valid YAML"):
        load_config(tmp_path / "bad.yaml")


def test_defaults_are_filled_and_described(tmp_path: Path) -> None:
    raw = deepcopy(RAW)
    for key in ("scoring", "ablation", "weights", "generation", "statistics", "seed"):
        del raw[key]
    config = load(raw, tmp_path)
    assert config["scoring"] == {
        "layer": 0,
        "normalization": "l2",
        "reduction": "mean",
        "rope": False,
        "query_span": "instruction",
    }
    assert config["statistics"]["resamples"] == 2000


def test_recipes_are_completed_from_the_scoring_section(tmp_path: Path) -> None:
    raw = changed("ablation.recipes", [ZERO, {**ALONE, "layer": 1, "reduction": "attention"}])
    raw["scoring"] = {"layer": 2, "rope": True}
    del raw["weights"], raw["evaluation"]["reference"], raw["cost"]
    raw["evaluation"]["variants"] = [{"name": "h", "method": "hawk", "weights": "a", "layer": 1}]
    config = load(raw, tmp_path)
    zero, alone = config["ablation"]["recipes"]
    assert zero == {**ZERO, "layer": 2, "layers": [2]}
    assert alone == {
        **ALONE, "layer": 1, "ratio": 0.8, "normalization": "l2", "reduction": "attention", "rope": True,
        "query_span": "instruction",
    }  # fmt: skip
    made = {"normalization": "min_shift", "measure": "value", "query": "question"}
    assert config["weights"]["recipes"] == [{"name": n, "ablation": n, **made} for n in ("zero", "a")]
    assert [str(head) for head in ablated_heads(config, alone)] == [f"L1H{i}" for i in range(8)]
    raw["evaluation"]["variants"][0]["layer"] = 0
    with pytest.raises(InputError, match=r"'h': weights 'a' are of layer 1 .*scores tokens in layer 0"):
        load(raw, tmp_path)
    raw["ablation"]["heads"] = [0]  # then there are no weights, and a variant cannot ask for them
    with pytest.raises(InputError, match=r"unknown weights in .*'h'.*Allowed: qwen2.5-vl-7b, uniform"):
        load(raw, tmp_path)
    raw["weights"] = {"recipes": [{"name": "a", "ablation": "a"}]}
    with pytest.raises(InputError, match=r"weights.recipes, 'a': head weights need every head"):
        load(raw, tmp_path)


def test_weights_of_a_layer_that_is_not_measured_are_refused(tmp_path: Path) -> None:
    raw = changed("ablation.recipes", [{**ZERO, "layers": [1, 2]}])
    raw["weights"] = {"recipes": [{"name": "w", "ablation": "zero"}]}
    with pytest.raises(InputError, match=r"'w': weights are of layer 0, which the layers \[1, 2\] of abl"):
        load(raw, tmp_path)


def test_a_part_of_a_config_is_a_config_of_a_job(tmp_path: Path) -> None:
    config = load(RAW, tmp_path)
    text = config_subset(config, "seed", "model", "ablation.heads", "data.digits")
    assert json.loads(text) == {
        "seed": 0,
        "model": config["model"],
        "ablation": {"heads": "all"},
    }
    assert load_config(text)["model"]["heads"] == 8


def test_heads_and_weight_files(tmp_path: Path) -> None:
    config = load(RAW, tmp_path)
    assert [str(head) for head in ablated_heads(config, config["ablation"]["recipes"][0])] == [
        f"L0H{i}" for i in range(8)
    ]
    hawk_zero, uniform = config["evaluation"]["variants"][0], config["evaluation"]["variants"][2]
    assert weights_subset(config, hawk_zero, "digits") == ("zero", "pooled")
    assert weights_subset(config, uniform, "digits") is None
    config["calibration"]["holdout"] = "leave_one_benchmark_out"
    assert weights_subset(config, hawk_zero, "digits") == ("zero", "without-scenes")


def test_every_key_of_the_schema_says_what_it_is() -> None:
    def walk(node: dict, path: str) -> None:
        for name, child in node.get("properties", {}).items():
            assert "description" in child or "$ref" in child, f"{path}.{name} has no description"
            walk(child, f"{path}.{name}")

    walk(hawk_config._schema(), "")


def test_the_rules_of_a_comparison_hold_for_every_variant() -> None:
    from hawk.core.heads import Geometry
    from hawk.steps.variants import build

    geometry = Geometry(layers=4, heads=8, kv_heads=4, head_dim=16)
    rules = {"rounding": "floor", "budget": "per_image", "position_policy": "rebase"}
    config = {
        "scoring": {
            "layer": 0,
            "normalization": "l2",
            "reduction": "mean",
            "rope": False,
            "query_span": "instruction",
        }
    }
    variants = [
        {"name": "a", "method": "hawk", "weights": "uniform"},
        {"name": "b", "method": "divprune"},
        {"name": "c", "method": "mmr", "scorer": {"method": "hawk", "weights": "uniform"}},
        {"name": "d", "method": "random", "seeds": 5},
    ]
    for variant in variants:
        plain = build(config, variant, "0.8", 0, geometry)
        ruled = build({**config, "evaluation": rules}, variant, "0.8", 0, geometry)
        assert (plain.count(64), ruled.count(64)) == (13, 12)
        assert {key: getattr(ruled, key) for key in rules} == rules
    with pytest.raises(InputError, match="position_policy 'rebase' is not possible"):
        build({**config, "evaluation": rules}, {"name": "e", "method": "fastv"}, "0.8", 0, geometry)


@pytest.mark.parametrize("holdout", ["none", "leave_one_benchmark_out"])
def test_development_needs_images_of_its_own(holdout: str, tmp_path: Path) -> None:
    raw = changed("evaluation.role", "development")
    assert load(raw, tmp_path)["evaluation"]["role"] == "development"
    raw["calibration"]["holdout"] = holdout
    with pytest.raises(InputError, match=f"evaluation.role: 'development' needs .*not '{holdout}'"):
        load(raw, tmp_path)


def test_nothing_left_to_calibrate_on_is_said_at_once(tmp_path: Path) -> None:
    raw = changed("calibration.holdout", "leave_one_benchmark_out")
    load(raw, tmp_path)
    raw["calibration"]["benchmarks"] = ["digits", "shapes"]
    with pytest.raises(InputError, match=r"'hawk-zero', on benchmark 'digits': .*are of that family"):
        load(raw, tmp_path)
    raw["evaluation"]["benchmarks"] = ["easy_vqa"]
    raw["cost"]["benchmark"] = None
    load(raw, tmp_path)


def test_weights_of_every_kind_are_accepted(tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    HeadWeights.uniform(Geometry(4, 8, 4, 16)).save(file)
    for source in ("zero", "uniform", str(file), "user/repo"):
        raw = changed("evaluation.variants", [{"name": "a", "method": "hawk", "weights": source}])
        del raw["evaluation"]["reference"], raw["cost"]["variants"]
        load(raw, tmp_path)


SCORING = {"layer": 0, "normalization": "l2", "reduction": "mean", "rope": False, "query_span": "instruction"}
HAWK = {"method": "hawk", "weights": "uniform"}


@pytest.mark.parametrize(
    ("variant", "allowed"),
    [
        (HAWK, True),
        ({"method": "mmr", "scorer": HAWK}, True),
        ({"method": "mmr", "scorer": {"method": "grid"}}, False),
        ({"method": "facility_location"}, False),
        ({"method": "cdpruner"}, True),
        ({"method": "divprune"}, False),
        ({"method": "fastv"}, False),  # its own prompt is all it reads
    ],
)
def test_another_question_is_refused_where_none_is_read(variant: dict, allowed: bool) -> None:
    from hawk.core.heads import Geometry
    from hawk.steps.variants import build

    arguments = ("0.8", 0, Geometry(layers=4, heads=8, kv_heads=4, head_dim=16))
    shuffled = {"name": "other", **variant, "shuffle_query": True}
    build({"scoring": SCORING}, {"name": "own", **variant}, *arguments)
    if allowed:
        build({"scoring": SCORING}, shuffled, *arguments)
        return
    with pytest.raises(InputError, match=f"'other': shuffle_query changes .*'{variant['method']}'"):
        build({"scoring": SCORING}, shuffled, *arguments)


def test_permuted_weights_of_a_scorer_are_permuted(tmp_path: Path) -> None:
    scorer = {"method": "hawk", "weights": "zero", "permute": True}
    variant = {"name": "a", "method": "mmr", "scorer": scorer, "seeds": 5}
    raw = changed("evaluation.variants", [variant])
    del raw["evaluation"]["reference"], raw["cost"]["variants"]
    assert load(raw, tmp_path)["evaluation"]["variants"] == [variant]


def test_the_second_family_runs_what_the_first_does() -> None:
    one, two = (deepcopy(raw) for raw in EMBEDDED.values())
    assert (one.pop("run"), two.pop("run")) == ("tiny", "tiny-internvl")
    assert (one["model"].pop("path"), two["model"].pop("path")) == (
        "data/models/tiny-qwen2.5-vl", "data/models/tiny-internvl3",
    )  # fmt: skip
    assert one == two


@pytest.mark.parametrize("attention", ["flash_attention_2", "varlen"])
def test_an_attention_of_half_precision_alone(attention: str, tmp_path: Path) -> None:
    raw = changed("model.attention", attention)
    with pytest.raises(InputError, match=f"'{attention}' computes in bfloat16 or float16.*'float32'"):
        load(raw, tmp_path)
    raw["model"]["dtype"] = "bfloat16"
    assert load(raw, tmp_path)["model"]["attention"] == attention


@pytest.mark.parametrize(
    "name",
    [name for name, raw in EMBEDDED.items() if (ROOT / raw["model"]["path"] / "config.json").is_file()],
)
def test_configs_of_embedded_models_are_valid(name: str) -> None:
    assert load_config(ROOT / "config" / name)["model"]["layers"] == 4


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"method": "divprune", "seeds": 3}, "seeds 3 would measure the same thing.*Seeds are for random"),
        ({"method": "hawk", "weights": "zero", "seeds": 3}, "seeds 3 would measure the same thing"),
        ({"method": "mmr", "scorer": {"method": "grid"}, "seeds": 2}, "seeds 2 would measure the same thing"),
        ({"method": "random", "seed": 7}, "give seeds, how many there are"),
        (
            {"method": "hawk", "query_span": "last_token", "shuffle_query": True},
            "shuffle_query changes nothing with query_span 'last_token'",
        ),
        ({"method": "fastv", "shuffle_query": True}, "shuffle_query changes nothing for method 'fastv'"),
        ({"method": "divprune", "seeds": 1}, None),
        ({"method": "random", "seeds": 3}, None),
        ({"method": "hawk", "weights": "zero", "permute": True, "seeds": 3}, None),
        ({"method": "cdpruner", "shuffle_query": True, "seeds": 3}, None),
    ],
    ids=str,
)
def test_seeds_only_where_something_is_drawn(variant: dict, message: str | None, tmp_path: Path) -> None:
    raw = changed("evaluation.variants", [{"name": "a", **variant}])
    del raw["evaluation"]["reference"], raw["cost"]["variants"]
    if message is None:
        load(raw, tmp_path)
        return
    with pytest.raises(InputError, match=message):
        load(raw, tmp_path)


def test_the_study_evaluates_what_development_tried_on_the_same_calibration() -> None:
    """Else the second config of a run would measure heads again, or evaluate what nobody chose."""
    developed, final = (
        load_config(ROOT / "config/study" / f"{name}.yaml") for name in ("development", "evaluation")
    )
    assert (developed["evaluation"]["role"], final["evaluation"]["role"]) == ("development", "evaluation")
    assert developed["evaluation"]["development"] is final["evaluation"]["development"] is True
    for key in ("run", "seed", "model", "preprocessing", "features", "generation", "calibration", "scoring"):
        assert final[key] == developed[key], key
    for section in ("ablation", "weights"):
        known = developed[section]["recipes"]
        assert all(one in known for one in final[section]["recipes"]), section
    assert all(one in developed["evaluation"]["variants"] for one in final["evaluation"]["variants"])

"""What the package knows of a method it reads from the method: never by its name, never by torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from conftest import ROOT
from oracles import CASES
from tiny_prompts import build as build_inputs
from tiny_random import HEADS, KV_HEADS, MODELS

from hawk import pruning
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry
from hawk.core.paths import RunPaths
from hawk.models import family_of
from hawk.pruning import REGISTRY, pruner_class
from hawk.pruning.base import Pruner
from hawk.pruning.options import MethodFacts, facts, scorer_methods, varies_by_seed
from hawk.pruning.prompt import prune
from hawk.steps.variants import build, token_score_of

DERIVED = ("method", "summary", "options", "seeded", "has_scores")
GEOMETRY = Geometry(layers=3, heads=HEADS, kv_heads=KV_HEADS, head_dim=16)
SCORING = {"layer": 0, "normalization": "l2", "reduction": "mean", "rope": False, "query_span": "instruction"}


@pytest.mark.parametrize("method", REGISTRY)
def test_facts_read_from_the_source_are_those_of_the_class(method):
    cls, found = pruner_class(method), facts(method)
    for field in fields(MethodFacts):
        if field.name not in DERIVED:
            assert getattr(found, field.name) == getattr(cls, field.name), field.name
    own = [f.name for f in fields(cls) if f.init and f.name != "pruning_ratio"]
    assert list(found.options) == own
    assert found.seeded == ("seed" in own)
    assert found.has_scores == (cls.scores is not Pruner.scores) == (method in scorer_methods())
    assert found.summary == cls.__doc__.split("\n")[0]


@pytest.mark.parametrize("method", REGISTRY)
def test_facts_are_complete_and_agree(method):
    found = facts(method)
    assert found.summary.endswith(".")
    assert found.paper == "control" if found.is_control else found.paper not in ("", "control")
    assert set(found.takes_scoring) <= set(found.options)
    assert not found.takes_weights or "weights" in found.options
    assert found.uses_query or not found.reads_other_question
    hints = get_type_hints(MethodFacts)
    assert found.keeps_budget in get_args(hints["keeps_budget"])


def test_the_facts_that_tables_rest_on():
    """Written out by hand: what each was called by name for."""

    def having(fact, value=True):
        return {method for method in REGISTRY if getattr(facts(method), fact) == value}

    assert having("is_control") == {"random", "keep_first", "grid", "downscale", "blind"}
    assert having("is_floor") == having("ratio_free") == having("keeps_budget", False) == {"blind"}
    assert having("keeps_budget", "at most") == having("other_images") == {"downscale"}
    assert having("takes_weights") == {"hawk"}
    assert having("seeded") == {"random", "keep_first", "oracle"}
    assert having("is_ceiling") == having("uses_relevant") == {"oracle"}
    assert having("takes_scoring", ()) == {*REGISTRY} - {"hawk"}
    assert having("uses_tower") == {"visionzip", "downscale"}
    assert having("uses_tower_with", ("vision_features", "tower")) == {"mmtok"}
    assert having("reads_other_question") == {"hawk", "cdpruner", "mmtok"}
    assert having("inside_model") == {"fastv"}
    assert having("families", ()) == {*REGISTRY} - {"downscale"}


def test_no_torch_is_imported_for_them():
    code = (
        "import sys; from hawk.pruning import REGISTRY; from hawk.pruning.options import facts;"
        "[facts(m) for m in REGISTRY]; import hawk.config.checks, hawk.analysis.controls;"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def names_compared(path: Path) -> list[str]:
    """Names of methods that a file compares something with."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Compare):
            constants = [one for part in node.comparators for one in ast.walk(part)]
            found += [
                f"{path.relative_to(ROOT)}:{node.lineno} {one.value}"
                for one in constants
                if isinstance(one, ast.Constant) and one.value in REGISTRY
            ]
    return found


def test_no_method_is_known_by_its_name(tmp_path):
    files = [
        path
        for path in (ROOT / "hawk").rglob("*.py")
        if ROOT / "hawk" / "pruning" / "methods" not in path.parents and not {"training"} & {*path.parts}
    ]
    assert len(files) > 100
    assert [one for path in files for one in names_compared(path)] == []
    wrong = ROOT / "hawk" / "pruning" / "scorers.py"  # negative control, on a copy
    copy = tmp_path / "hawk.py"
    copy.write_text(wrong.read_text() + '\nif method in ("blind", "x") or method == "hawk":\n    pass\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "ROOT", tmp_path)
        assert [one.split()[1] for one in names_compared(copy)] == ["blind", "hawk"]


def test_methods_do_not_import_each_other():
    found = set()
    for path in (ROOT / "hawk" / "pruning" / "methods").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hawk.pruning.methods"):
                found.add((path.stem, node.module.rsplit(".", 1)[1]))
    assert not found


# --- a newcomer's pruner --------------------------------------------------------------------------

SHAKY = '''
"""Scores that are drawn."""
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext


@dataclass(frozen=True)
class Shaky(Pruner):
    """Whatever a die says."""

    seed: int = 0

    paper = "none"
    is_control: ClassVar[bool] = True

    def scores(self, context: PruningContext) -> Tensor:
        return torch.rand(context.tokens, generator=context.generator(self.seed))
'''


@pytest.fixture
def shaky(tmp_path, monkeypatch):
    """A pruner in one file, and one line in the registry."""
    (tmp_path / "shaky_pruner.py").write_text(SHAKY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(pruning.REGISTRY, "shaky", "shaky_pruner:Shaky")
    yield "shaky"
    sys.modules.pop("shaky_pruner", None)


def kept(given):
    model = MODELS["qwen2_5_vl"]()
    prompt = prune(given, model, family_of(model), build_inputs("qwen2_5_vl", CASES["several"]))
    return [index.tolist() for index in prompt.last.kept_index]


@pytest.mark.parametrize("inside", [False, True], ids=["method", "scorer"])
def test_seeds_reach_a_new_pruner(shaky, inside):
    """Told by its field; also where another method takes it as scorer."""
    assert (facts(shaky).seeded, facts(shaky).is_control) == (True, True)
    variant = {"name": "mine", "method": shaky, "seeds": 3}
    if inside:
        variant = {"name": "mine", "method": "mmr", "scorer": {"method": shaky}, "seeds": 3}
    assert varies_by_seed(variant)
    built = [build({"scoring": SCORING}, variant, "0.6", seed, GEOMETRY) for seed in range(3)]
    assert [(one.scorer if inside else one).seed for one in built] == [0, 1, 2]
    results = [kept(one) for one in built]
    assert len({str(one) for one in results}) == 3


def test_a_class_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    (tmp_path / "unread.py").write_text(
        "import hawk\nfrom hawk import Pruner\nx = 1\n"
        "class A(Pruner):\n    pass\nclass B(hawk.Pruner):\n    pass\n"
        "class C:\n    is_control = not x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name, message in (
        ("A", "import it from its own module"),
        ("B", "import it from its own module"),
        ("C", "is_control of C must be a literal"),
        ("D", "no class 'D'"),
    ):
        monkeypatch.setitem(pruning.REGISTRY, "unread", f"unread:{name}")
        with pytest.raises(InputError, match=message):
            facts("unread")
    with pytest.raises(InputError, match="unknown method 'hwak'.*Did you mean 'hawk'"):
        facts("hwak")


# --- the run's token score ------------------------------------------------------------------------

OTHER = {
    "layer": 1, "normalization": "softmax", "reduction": "max", "rope": True, "query_span": "after_vision",
}  # fmt: skip
HAWK = {"name": "h", "method": "hawk"}


@pytest.mark.parametrize("inside", [False, True], ids=["method", "scorer"])
def test_a_method_with_heads_takes_the_runs_token_score(inside):
    def built(scoring, **own):
        given = {**HAWK, **own}
        if inside:
            given = {"name": "m", "method": "mmr", "scorer": given}
            del given["scorer"]["name"]
        return build({"scoring": scoring}, given, "0.6", 0, GEOMETRY)

    def hawk_of(one):
        return one.scorer if inside else one

    one = hawk_of(built(OTHER))
    assert (one.token_score_normalization, one.rope, one.query_span) == ("softmax", True, "after_vision")
    assert (one.scoring_layer_index, one.text_reduction) == (1, "max")
    own = hawk_of(built(OTHER, layer=2, rope=False))  # a variant's own options go before the run's
    assert (own.scoring_layer_index, own.rope, own.query_span) == (2, False, "after_vision")
    assert kept(built(OTHER)) != kept(built(SCORING))


def test_weights_from_elsewhere_bring_their_token_score(caplog):
    """The authors' weights are scored as their file says in every run; a variant's own option goes first."""
    geometry = HeadWeights.load("qwen2.5-vl-7b").geometry
    authors = {"name": "hawk-authors", "method": "hawk", "weights": "qwen2.5-vl-7b"}
    scoring = {**SCORING, "normalization": "softmax", "reduction": "max", "rope": True}
    config = {"scoring": scoring, "weights": {"recipes": []}}
    one = build(config, authors, "0.6", 0, geometry)
    assert (one.token_score_normalization, one.rope, one.query_span) == ("l2", False, "authors")
    assert one.text_reduction == "mean"
    assert not caplog.records
    own = build(config, {**authors, "query_span": "instruction"}, "0.6", 0, geometry)
    assert (own.rope, own.query_span) == (False, "instruction")
    assert "calibrated with query_span='authors'" in caplog.text
    uniform = build(config, {"name": "u", "method": "hawk"}, "0.6", 0, geometry)
    assert (uniform.rope, uniform.query_span) == (True, "instruction")
    # Results say what was used, not what the run's own weights are scored with.
    assert token_score_of(one) == {
        "normalization": "l2", "reduction": "mean", "rope": False, "query_span": "authors",
    }  # fmt: skip
    assert token_score_of(uniform) == scoring_of(scoring)
    inside = {"name": "m", "method": "mmr", "scorer": authors}
    assert token_score_of(build(config, inside, "0.6", 0, geometry)) == token_score_of(one)
    divprune = build(config, {"name": "d", "method": "divprune"}, "0.6", 0, geometry)
    assert token_score_of(divprune) == {}


def test_weights_of_the_run_bring_the_token_score_of_their_ablation(tmp_path: Path, caplog):
    own = {"normalization": "softmax", "reduction": "max", "rope": True, "query_span": "after_vision"}
    path = RunPaths(tmp_path).head_weights("alone")
    replace(HeadWeights.uniform(GEOMETRY), token_score=own).save(path)
    config = {"scoring": SCORING, "weights": {"recipes": [{"name": "alone", "ablation": "zero"}]}}
    variant = {"name": "x", "method": "hawk", "weights": "alone"}
    assert token_score_of(build(config, variant, "0.6", 0, GEOMETRY, path)) == own
    assert not caplog.records
    changed = build(config, {**variant, "rope": False}, "0.6", 0, GEOMETRY, path)
    assert token_score_of(changed) == {**own, "rope": False}
    assert "calibrated with rope=True" in caplog.text


def scoring_of(scoring):
    return {key: value for key, value in scoring.items() if key != "layer"}


def test_methods_without_heads_do_not():
    for method in ("dart", "cdpruner", "fastv", "visionzip"):
        assert build({"scoring": OTHER}, {"name": "x", "method": method}, "0.6", 0, GEOMETRY) == build(
            {"scoring": SCORING}, {"name": "x", "method": method}, "0.6", 0, GEOMETRY
        )

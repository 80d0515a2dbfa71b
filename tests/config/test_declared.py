"""A step reads the config keys that it declares, and no other one in silence."""

from __future__ import annotations

import json

import pytest
from conftest import ROOT

from hawk.config.declared import UndeclaredRead, declared, step_reads
from hawk.config.load import load_config
from hawk.config.queries import config_subset, score_more
from hawk.config.recipes import with_ablation
from hawk.core.errors import InputError


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.chdir(ROOT)
    return load_config("config/config.yaml")


def test_an_undeclared_read_raises_whatever_way_it_is_read(config: dict) -> None:
    part = declared(config, "evaluate_pruned", benchmark="digits")
    assert part["evaluation"]["ratios"] == config["evaluation"]["ratios"]
    assert part["evaluation"].get("rounding") == "ceil"
    for read in (
        lambda: part["statistics"],
        lambda: part.get("statistics", {}),
        lambda: "statistics" in part,
        lambda: part["evaluation"]["samples"],
        lambda: part["evaluation"].get("samples", 1),
        lambda: part["data"].get("shapes"),
    ):
        with pytest.raises(UndeclaredRead, match=r"step 'evaluate_pruned' reads the config key '[a-z.]+'"):
            read()
    assert part["data"].get("digits") is None  # declared, and not in the config


def test_a_rule_hands_out_what_the_step_may_read(config: dict) -> None:
    """The subset in a job's params, read again, is the step's part of the whole config."""
    for step, names in (
        ("evaluate_pruned", {"benchmark": "digits"}),
        ("measure_cost", {"benchmark": "digits"}),
        ("prepare_samples", {"benchmark": "digits", "section": "calibration"}),
        ("head_drops", {}),
    ):
        subset = load_config(config_subset(config, *step_reads(step, **names)))
        whole = declared(config, step, **names)
        whole.get("ablation", {}).pop("heads_per_job", None) if "ablation" in whole.declared else None
        assert json.loads(json.dumps(declared(subset, step, **names))) == json.loads(json.dumps(whole))


def test_measured_cost_is_of_the_method_that_is_compared(config: dict) -> None:
    """Rounding, budget and positions reach the cost job; it used to fall to defaults in silence."""
    changed = {"rounding": "floor", "budget": "per_image", "position_policy": "rebase"}
    config["evaluation"].update(changed)
    subset = load_config(config_subset(config, *step_reads("measure_cost", benchmark="digits")))
    from hawk.steps.variants import comparison_rules

    assert comparison_rules(declared(subset, "measure_cost", benchmark="digits")) == changed


def test_scoring_jobs_depend_on_no_more_than_they_read(config: dict) -> None:
    assert score_more(config, None) is None
    assert score_more(config, "zero") == score_more(config, "selection") == "one"
    config["ablation"]["rows_per_batch"] = 4
    assert (score_more(config, "zero"), score_more(config, "selection")) == ("rows", "one")
    assert score_more(config, None) is None
    one = with_ablation(config, "zero")["ablation"]["recipes"]
    assert one == [{"name": "zero", "intervention": "zero"}]  # on no other, and on no list of layers
    plain = step_reads("score_samples", benchmark="digits")
    assert not [key for key in plain if key.startswith(("evaluation", "ablation", "scoring"))]
    assert "ablation.rows_per_batch" not in step_reads("score_samples", "one", benchmark="digits")


def test_an_unknown_step_is_named() -> None:
    with pytest.raises(InputError, match=r"unknown step 'evaluate'.*Did you mean"):
        step_reads("evaluate")


def test_a_key_that_an_inline_config_lacks_is_told_in_words() -> None:
    found = declared({"seed": 0, "calibration": {"samples": 4}}, "prepare_samples", section="calibration",
                     benchmark="digits")  # fmt: skip
    assert found["calibration"]["samples"] == 4
    with pytest.raises(InputError, match=r"no key 'calibration.holdout', which this step needs"):
        found["calibration"]["holdout"]

"""How many images a role gets, which never meet, and what is said where there are too few."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator

import pytest
import yaml
from conftest import ROOT
from test_samples import Toy, sample

from hawk.benchmarks import Sample
from hawk.benchmarks import samples as sampling
from hawk.config.checks import check
from hawk.config.load import fill, load_config
from hawk.core.errors import InputError
from hawk.core.files import provenance_of, read_table
from hawk.core.paths import RunPaths
from hawk.core.schemas import SAMPLES
from hawk.steps import prepare_samples as step

IMAGES = 60


class Sixty(Toy):
    """60 questions about 60 images, under any name."""

    def load(self) -> Iterator[Sample]:
        for number in range(IMAGES):
            yield sample(number, group_id=f"image {number}")


@pytest.fixture(autouse=True)
def sixty(monkeypatch):
    monkeypatch.setattr(step, "benchmark_named", lambda config, name: Sixty())


def config_of(calibration=24, evaluation=30, seed=0, holdout="disjoint", **changes):
    """As the config's check leaves it: role development keeps development's images."""
    strict = changes.pop("strict", False)
    changes["development"] = changes.get("development", False) or changes.get("role") == "development"
    return {
        "seed": seed,
        "calibration": {"samples": calibration, "holdout": holdout, "strict": strict},
        "evaluation": {"samples": evaluation, "strict": strict, **changes},
    }


def drawn(tmp_path, role, config):
    """Image ids of a role, and what the file says about them."""
    paths = RunPaths(tmp_path / "run")
    path = paths.samples(role, "toy")
    step.prepare_samples(config, paths, role, "toy")
    table = read_table(path, SAMPLES)
    return set(table.column("group_id").to_pylist()), provenance_of(table, path)["settings"]


def in_share(role, seed=0):
    return {f"image {n}" for n in range(IMAGES) if sampling.role_of(f"image {n}", seed) == role}


def test_the_case_is_the_one_that_is_meant():
    assert len(in_share("calibration")) < 24 <= IMAGES - len(in_share("evaluation"))


def test_calibration_is_filled_from_images_that_the_run_does_not_use(tmp_path):
    found, settings = drawn(tmp_path, "calibration", config_of(role="evaluation"))
    assert len(found) == 24
    spare = found & in_share("development")
    assert spare
    assert len(spare) == settings["from_development"]
    assert not found & in_share("evaluation")
    assert settings["requested"] == 24
    assert settings["available"] == len(in_share("calibration") | in_share("development"))


@pytest.mark.parametrize("seed", range(12))
def test_every_image_of_a_run_without_development_is_of_use(seed, tmp_path):
    config = config_of(calibration=IMAGES, evaluation=IMAGES, seed=seed)
    calibration, _ = drawn(tmp_path, "calibration", config)
    evaluation, _ = drawn(tmp_path, "evaluation", config)
    assert len(calibration | evaluation) == IMAGES
    assert not calibration & evaluation


WAYS = [{"role": "evaluation"}, {"role": "development"}, {"role": "evaluation", "development": True}, {}]


@pytest.mark.parametrize("seed", range(6))
def test_no_config_of_a_study_evaluates_on_what_another_used(seed, tmp_path):
    """Whatever is asked for, in whatever configs: evaluation meets neither of the others."""
    numbers = (1, 10, 24, IMAGES, None)
    evaluated, used, developed = set(), set(), set()
    for way, calibration, evaluation in itertools.product(WAYS, numbers, numbers):
        config = config_of(calibration, evaluation, seed, **way)
        used |= drawn(tmp_path, "calibration", config)[0]
        role = way.get("role", "evaluation")
        found, _ = drawn(tmp_path, role, config)
        if role == "development":
            developed |= found
            assert not found & drawn(tmp_path, "calibration", config)[0]
        else:
            evaluated |= found
    assert evaluated
    assert developed
    assert not evaluated & (used | developed)


@pytest.mark.parametrize("calibration", [5, 12, 24, IMAGES, None])
def test_a_study_calibrates_on_the_same_images_under_both_roles(calibration, tmp_path):
    chosen = drawn(tmp_path, "calibration", config_of(calibration, role="development"))
    final = drawn(tmp_path, "calibration", config_of(calibration, role="evaluation", development=True))
    assert final[0] == chosen[0]
    undeclared, _ = drawn(tmp_path, "calibration", config_of(calibration, role="evaluation"))
    enough = calibration is None or calibration <= len(in_share("calibration"))
    assert (undeclared == chosen[0]) == enough


def test_fewer_than_asked_for_is_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        found, settings = drawn(tmp_path, "evaluation", config_of(evaluation=500))
    there = len(in_share("evaluation"))
    assert (len(found), settings["requested"], settings["available"]) == (there, 500, there)
    assert f"'toy': {there} of the 500 samples asked for in role 'evaluation'" in caplog.text
    assert f"have {there} of all {IMAGES}" in caplog.text
    caplog.clear()
    drawn(tmp_path, "evaluation", config_of(evaluation=there))
    drawn(tmp_path, "evaluation", config_of(evaluation=None))
    assert not caplog.text


@pytest.mark.parametrize("holdout", ["disjoint", "none"])
@pytest.mark.parametrize(("role", "section"), [("calibration", "calibration"), ("evaluation", "evaluation")])
def test_fewer_than_asked_for_is_refused_if_that_is_asked(role, section, holdout, tmp_path):
    config = config_of(500, 500, holdout=holdout, strict=True)
    with pytest.raises(InputError, match=rf"of the 500 samples .* and {section}.strict is set"):
        drawn(tmp_path, role, config)
    assert not list(tmp_path.iterdir())
    drawn(tmp_path, role, config_of(10, 10, holdout=holdout, strict=True))


def test_whole_metric_groups_are_the_reason_where_they_are(tmp_path, caplog, monkeypatch):
    class Pairs(Toy):
        def load(self):
            for number in range(20):
                yield sample(number, group_id=f"image {number // 2}", metric_group=f"pair {number // 2}")

    monkeypatch.setattr(step, "benchmark_named", lambda config, name: Pairs())
    with caplog.at_level(logging.WARNING):
        found, settings = drawn(tmp_path, "calibration", config_of(7, holdout="none"))
    assert (len(found), settings["requested"]) == (3, 7)
    assert "6 of the 7 samples asked for in role 'calibration'; rows that the metric needs" in caplog.text


def test_the_config_says_that_development_is_kept():
    raw = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    assert load_config(ROOT / "config" / "config.yaml")["evaluation"]["development"] is False
    raw["evaluation"]["role"] = "development"
    assert check(fill(raw, "config"))["evaluation"]["development"] is True

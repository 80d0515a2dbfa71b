"""The workflow in other people's hands: as a module of another workflow, and as snakedeploy sets it up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

# As `snakedeploy deploy-workflow` 0.17 writes workflow/Snakefile, with a local path for the repository.
DEPLOYED = """
from snakemake.utils import min_version

min_version("6.10.0")


configfile: "config/config.yaml"


# declare https://example.org/hawk as a module
module hawk:
    snakefile:
        "{snakefile}"
    config:
        config


# use all rules from https://example.org/hawk
use rule * from hawk
"""
MODULE = """
import yaml

with open("{root}/config/config.yaml") as file:
    settings = {{"hawk": yaml.safe_load(file), "own": 1}}


module hawk:
    snakefile:
        "{root}/Snakefile"
    config:
        settings["hawk"]


use rule * from hawk as hawk_*


rule mine:
    default_target: True
    input:
        "outputs/tiny/tables/retention.csv",
"""


def dry_run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-3000:]
    return text


def test_as_a_module_of_another_workflow(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(MODULE.format(root=ROOT))
    text = dry_run(tmp_path)
    assert "hawk_ablate_head            80" in text
    assert "hawk_make_report" not in text, "only what the target needs"


@pytest.fixture
def deployed(tmp_path: Path) -> Path:
    """The working directory that snakedeploy makes: a Snakefile and a copy of config/, and no data."""
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow/Snakefile").write_text(DEPLOYED.format(snakefile=ROOT / "Snakefile"))
    shutil.copytree(ROOT / "config", tmp_path / "config")
    return tmp_path


def test_deployed_by_snakedeploy_it_plans_the_demo(deployed: Path) -> None:
    """The model of config.yaml is a relative path: it is found in the workflow, not where Snakemake runs."""
    text = dry_run(deployed)
    assert "ablate_head            80" in text
    assert "total                 186" in text


def test_deployed_with_a_config_that_names_no_model_it_is_refused(deployed: Path) -> None:
    """The control: a path that neither the folder nor the workflow has."""
    config = deployed / "config/config.yaml"
    config.write_text(config.read_text().replace("tiny-qwen2.5-vl", "not-there"))
    with pytest.raises(AssertionError, match="not-there"):
        dry_run(deployed)

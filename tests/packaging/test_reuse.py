"""The workflow in other people's hands: as a module of another workflow, and as snakedeploy sets it up."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from building import tracked
from conftest import ROOT
from small_run import SMALL
from warming import warmed

SNAKEDEPLOY = "snakedeploy==0.17.1"
ADDRESS = "https://github.com/someone/hawk"
# What `snakedeploy deploy-workflow ADDRESS . --branch main` writes to workflow/Snakefile.
DEPLOYED = f"""from snakemake.utils import min_version


min_version("6.10.0")


configfile: "config/config.yaml"


# declare {ADDRESS} as a module
module hawk:
    snakefile: 
        github("someone/hawk", path="Snakefile", branch="main")
    config:
        config


# use all rules from {ADDRESS}
use rule * from hawk
"""  # noqa: W291
MODULE = """
import yaml

with open("{config}") as file:
    settings = {{"hawk": yaml.safe_load(file), "mine": 1}}


module hawk:
    snakefile:
        "{root}/Snakefile"
    config:
        settings["hawk"]


use rule * from hawk as hawk_*


rule mine:
    default_target: True
    input:
        "{target}",
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where git finds this tree, uncommitted changes included, under ADDRESS: no network is asked."""
    home = tmp_path_factory.mktemp("github")
    clone = home / "someone/hawk"
    for name in tracked():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, clone / name)
    (home / "gitconfig").write_text(
        f'[url "{home}/"]\n\tinsteadOf = https://github.com/\n[user]\n\tname = a\n\temail = a@b.org\n'
    )
    with warmed() as variables:
        variables |= {"GIT_CONFIG_GLOBAL": str(home / "gitconfig"), "XDG_CACHE_HOME": str(home / "cache")}
        for words in (["init", "--initial-branch=main"], ["add", "--all"], ["commit", "--message=All"]):
            subprocess.run(["git", *words], cwd=clone, env=variables, check=True, capture_output=True)
        yield variables


def snakemake(folder: Path, environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-3000:]
    return text


def write_module(folder: Path, config: Path, target: str) -> None:
    (folder / "Snakefile").write_text(MODULE.format(root=ROOT, config=config, target=target))


@pytest.fixture
def deployed(tmp_path: Path) -> Path:
    """The working directory that snakedeploy makes: a Snakefile and a copy of config/, and no data."""
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow/Snakefile").write_text(DEPLOYED)
    shutil.copytree(ROOT / "config", tmp_path / "config")
    return tmp_path


def check_small_run(folder: Path) -> None:
    assert (folder / "outputs/small/report.html").stat().st_size > 100_000
    assert (folder / "outputs/small/tables/retention.csv").is_file()


def check_demo(folder: Path, environment: dict[str, str]) -> None:
    check = [sys.executable, str(ROOT / "tests/check_demo.py"), "outputs/tiny"]
    subprocess.run(check, cwd=folder, env=environment, check=True)


def test_a_module_of_another_workflow_makes_only_what_that_one_asks_for(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    write_module(tmp_path, ROOT / "config/config.yaml", "outputs/tiny/tables/retention.csv")
    text = snakemake(tmp_path, environment, "--dry-run")
    assert "hawk_ablate_head            80" in text
    assert "hawk_make_report" not in text


def test_a_module_of_another_workflow_runs_to_its_report(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    write_module(tmp_path, tmp_path / "small.yaml", "outputs/small/report.html")
    setting = ["--set-resources", "hawk_ablate_head:mem_mb=77"]  # holds for hawk_ablate_heads_0 as well
    assert "mem_mb=77," in snakemake(tmp_path, environment, "--dry-run", *setting)
    snakemake(tmp_path, environment)
    check_small_run(tmp_path)


def test_deployed_it_plans_the_demo(deployed: Path, environment: dict[str, str]) -> None:
    """The model of config.yaml is a relative path: it is found in the workflow, not where Snakemake runs."""
    text = snakemake(deployed, environment, "--dry-run")
    assert "ablate_head            80" in text
    assert "total                 186" in text


def test_deployed_it_runs_to_its_report(deployed: Path, environment: dict[str, str]) -> None:
    (deployed / "config/config.yaml").write_text(yaml.safe_dump(SMALL))
    snakemake(deployed, environment)
    check_small_run(deployed)


def test_deployed_with_a_config_that_names_no_model_it_is_refused(
    deployed: Path, environment: dict[str, str]
) -> None:
    """The control: a path that neither the folder nor the workflow has."""
    config = deployed / "config/config.yaml"
    config.write_text(config.read_text().replace("tiny-qwen2.5-vl", "not-there"))
    with pytest.raises(AssertionError, match="not-there"):
        snakemake(deployed, environment, "--dry-run")


@pytest.mark.long
def test_a_module_of_another_workflow_runs_the_demo(tmp_path: Path, environment: dict[str, str]) -> None:
    write_module(tmp_path, ROOT / "config/config.yaml", "outputs/tiny/report.html")
    with (tmp_path / "Snakefile").open("a") as file:  # what the demo makes beside what its report needs
        file.write("        rules.hawk_all.input,\n")
    snakemake(tmp_path, environment)
    check_demo(tmp_path, environment)


@pytest.mark.long
def test_snakedeploy_deploys_a_clone_that_runs_the_demo(
    tmp_path: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Installs the real snakedeploy from a package index into an environment of its own, lets it deploy a
    local clone (git is told to take it for ADDRESS) into an empty folder, and runs there what it wrote."""
    tools = tmp_path_factory.mktemp("snakedeploy")
    venv.create(tools, with_pip=True)
    alone = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    pip = [tools / "bin/pip", "install", "--quiet", "--disable-pip-version-check", SNAKEDEPLOY]
    subprocess.run(pip, env=alone, check=True)
    deploy = [tools / "bin/snakedeploy", "deploy-workflow", ADDRESS, "deployed", "--branch", "main"]
    subprocess.run(deploy, cwd=tmp_path, env=alone, check=True)
    folder = tmp_path / "deployed"
    assert (folder / "workflow/Snakefile").read_text() == DEPLOYED, "the short tests follow it"
    snakemake(folder, environment)
    check_demo(folder, environment)

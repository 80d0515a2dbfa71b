"""The wheel is the whole product: package, workflow, configs, profiles, models, data and head weights."""

from __future__ import annotations

import email
import os
import re
import runpy
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from building import build, tracked
from conftest import ROOT
from small_run import SMALL

SHIPPED = ("Snakefile", "rules", "config", "profiles", "data", "environment.yml")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("dist"), "wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has the wheel installed, and not this tree."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(folder), str(wheel)], check=True)
    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_it_holds_the_package_and_the_workflow_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = tracked("hawk") | {f"hawk/workflow/{name}" for name in tracked(*SHIPPED)}
    assert names == expected
    assert "hawk/workflow/config/schemas/config.schema.yaml" in names
    assert wheel.stat().st_size < 20e6


def test_the_slurm_stand_ins_can_be_executed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        programs = [info for info in archive.infolist() if "profiles/slurm/bin/" in info.filename]
    assert {Path(info.filename).name for info in programs} == {"sacct", "sbatch", "sinfo", "sshare"}
    for info in programs:
        assert (info.external_attr >> 16) & 0o111 == 0o111, info.filename


def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build(ROOT, tmp_path, "sdist")) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    other = build(source, tmp_path / "dist", "wheel")

    def content(path: Path) -> dict[str, tuple[int, int]]:
        with zipfile.ZipFile(path) as archive:
            return {info.filename: (info.CRC, info.external_attr) for info in archive.infolist()}

    assert content(other) == content(wheel)


def test_the_metadata_say_who_what_and_under_which_licence(wheel: Path) -> None:
    found = metadata(wheel)
    assert found["Name"] == "hawk-vlm"
    assert found["License-Expression"] == "Apache-2.0"
    assert found.get_all("License-File") == ["LICENSE", "data/easy_vqa/LICENSE"]
    assert found["Author"]
    assert "arxiv.org/abs/2604.07812" in str(found.get_all("Project-URL"))
    assert set(found.get_all("Provides-Extra")) == {"workflow", "dev", "docs", "lmms-eval"}
    assert "Programming Language :: Python :: 3.11" in found.get_all("Classifier")


LINK = re.compile(r"\]\((?!https?:)([^)#]+)")  # to a file beside the README


def test_the_page_on_the_package_index_has_no_link_that_leads_nowhere(wheel: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    page = str(metadata(wheel).get_payload())
    assert LINK.search(readme), "there is something to mend"
    assert not LINK.search(page)
    assert "https://arxiv.org/abs/2604.07812" in page
    assert len(page) > 0.8 * len(readme)


def test_with_a_repository_the_page_shows_its_pictures() -> None:
    place = runpy.run_path(str(ROOT / "hatch_build.py"))["absolute"]
    text = "![a dot plot](docs/images/retention.png), [Try it](docs/try.md), [paper](https://a.org/b)"
    home = "https://github.com/someone/hawk"
    assert place(text, home) == (
        f"![a dot plot]({home}/raw/main/docs/images/retention.png), [Try it]({home}/blob/main/docs/try.md), "
        "[paper](https://a.org/b)"
    )
    assert place(text, None) == "a dot plot, Try it, [paper](https://a.org/b)"


def test_shipped_files_are_found(installed: dict[str, str], tmp_path: Path) -> None:
    code = (
        "import hawk; from hawk.core.head_weights import shipped; from hawk.config.load import load_config;"
        "print(hawk.__file__);"
        "print(sorted(shipped()), hawk.HeadWeights.load('qwen2.5-vl-7b').geometry.heads, "
        "load_config('tiny_internvl')['run'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=installed, capture_output=True, text=True, check=True
    )
    place, said = done.stdout.splitlines()
    assert place.startswith(installed["PYTHONPATH"]), "the wheel is tested, not this tree"
    assert said == "['qwen2.5-vl-7b'] 28 tiny-internvl"


def hawk(
    environment: dict[str, str], folder: Path, *words: str, code: int = 0
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "hawk", *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == code, (done.stdout + done.stderr)[-3000:]
    return done


def test_hawk_run_plans_the_demo_in_an_empty_folder(installed: dict[str, str], tmp_path: Path) -> None:
    done = hawk(installed, tmp_path, "run", "--dry-run")
    text = done.stdout + done.stderr
    assert f"{installed['PYTHONPATH']}/hawk/workflow/profiles/default" in text
    assert "ablate_head            80" in text
    assert not (tmp_path / "outputs").exists()


def test_hawk_run_takes_a_shipped_config_and_profile_by_name(
    installed: dict[str, str], tmp_path: Path
) -> None:
    done = hawk(
        installed, tmp_path, "run", "--configfile", "tiny_internvl", "--profile", "slurm", "-n", "features"
    )
    text = done.stdout + done.stderr
    assert f"{installed['PYTHONPATH']}/hawk/workflow/profiles/slurm" in text
    assert "encode_images" in text
    assert "ablate_head" not in text


def test_an_unknown_config_is_one_line(installed: dict[str, str], tmp_path: Path) -> None:
    done = hawk(installed, tmp_path, "run", "--configfile", "nope", code=2)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: config file 'nope'")


@pytest.mark.long
def test_a_run_of_the_installed_workflow_makes_a_report(installed: dict[str, str], tmp_path: Path) -> None:
    """The config's model is a relative path that only the package has."""
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    hawk(installed, tmp_path, "run", "--configfile", "small.yaml", "--cores", "2")
    assert (tmp_path / "outputs/small/report.html").stat().st_size > 100_000
    assert {path.name for path in tmp_path.iterdir()} == {"small.yaml", "outputs", ".snakemake"}


@pytest.mark.long
def test_the_demo_needs_no_clone(installed: dict[str, str], tmp_path: Path) -> None:
    done = hawk(installed, tmp_path, "demo", "--cores", "2")
    assert re.search(r"\b186 jobs in", done.stdout)
    again = hawk(installed, tmp_path, "demo", "--cores", "2")
    assert "Nothing was left to do." in again.stdout
    check = [sys.executable, str(ROOT / "tests/check_demo.py"), "outputs/tiny"]
    subprocess.run(check, cwd=tmp_path, env=installed, check=True)

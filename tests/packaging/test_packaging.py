"""What is pinned in one place is pinned alike in the others; imports stay light."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import tomllib

import yaml
from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def name_of(requirement: str) -> str:
    return re.split(r"[<>=\[; ]", requirement)[0].lower()


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {name.lower().replace("_", "-"): version for name, version in pairs}


def test_environment_and_constraints_agree_on_every_dependency() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (listed,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    from_environment = dict(line.split("==") for line in listed)
    wanted = [name_of(text) for text in [*PROJECT["dependencies"], *EXTRAS["workflow"]]]
    assert sorted(from_environment) == sorted(wanted)
    for name, version in from_environment.items():
        assert pins()[name] == version, name


def test_constraints_satisfy_the_ranges() -> None:
    from packaging.requirements import Requirement

    # The extra lmms-eval is for an environment of its own.
    extras = {"workflow", "docs", "dev"}
    assert {"hawk-vlm[workflow]", "hawk-vlm[docs]"} <= set(EXTRAS["dev"])
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in EXTRAS[extra])]
    for text in set(texts) - {f"hawk-vlm[{extra}]" for extra in extras}:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins()[requirement.name.lower()]), text


def test_the_message_about_the_extra_knows_its_modules() -> None:
    """hawk/core/extras.py repeats the extra, for it must name modules without reading pyproject.toml."""
    from hawk.core.extras import WORKFLOW

    assert sorted(WORKFLOW) == sorted(name_of(text).replace("-", "_") for text in EXTRAS["workflow"])


def test_import_and_help_load_nothing_heavy() -> None:
    code = (
        "import sys, hawk, hawk.cli; heavy = {'torch', 'transformers', 'pandas', 'pyarrow', 'matplotlib'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_public_names_exist() -> None:
    import hawk

    for name in hawk.__all__:
        assert getattr(hawk, name) is not None


def test_nothing_depends_on_what_a_clone_has_not() -> None:
    """No tracked file speaks of folders beside the repository."""
    files = subprocess.run(
        ["git", "ls-files", "*.py", "*.smk", "*.md", "*.yaml", "*.yml"],
        capture_output=True, text=True, cwd=ROOT, check=True,
    ).stdout.split()  # fmt: skip
    for file in files:
        if file == "tests/packaging/test_packaging.py":
            continue
        assert "../shared" not in (ROOT / file).read_text(encoding="utf-8"), file


def test_help_is_quick() -> None:
    """No assertion on time: it is printed, and the imports above are what makes it quick."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "hawk", "--help"], capture_output=True, check=True, cwd=ROOT)
    print(f"hawk --help: {time.perf_counter() - begin:.2f} s")

"""An editable install works from every folder, also from the one above a clone that is called hawk.

There Python finds the folder ``hawk`` first. It has no ``__init__.py`` and would be taken for a namespace
package, were not a regular package of that name on the path, which wins wherever it stands.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from building import tracked
from conftest import ROOT

CODE = "import hawk; print(hawk.HeadWeights.load('qwen2.5-vl-7b').geometry.heads); print(hawk.__file__)"


def printed(python: Path | str, folder: Path, code: str = CODE, flags: tuple[str, ...] = ()) -> list[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), *flags, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    return (done.stdout or done.stderr).splitlines()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose folder is called hawk."""
    folder = tmp_path / "hawk"
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


def test_import_above_the_clone_with_the_path_file_that_the_build_writes(clone: Path) -> None:
    settings = tomllib.loads((clone / "pyproject.toml").read_text())
    (entry,) = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["dev-mode-dirs"]
    site = clone.parent / "site"
    site.mkdir()
    (site / "_hawk_vlm.pth").write_text(str((clone / entry).resolve()))
    code = f"import site; site.addsitedir({str(site)!r}); {CODE}"
    # -S: without this process's own site-packages, where hawk may be installed.
    assert printed(sys.executable, clone.parent, code, ("-S",)) == ["28", str(clone / "hawk/__init__.py")]
    # The control: without the path file it is a namespace package.
    assert "AttributeError" in printed(sys.executable, clone.parent, flags=("-S",))[-1]


@pytest.mark.long
def test_import_above_the_clone_after_a_real_editable_install(clone: Path) -> None:
    """Without its dependencies, and with the build backend of these tests: needs no network."""
    folder = clone.parent / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "backend.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([str(python), *install, "--editable", str(clone)], check=True)
    assert printed(python, clone.parent) == ["28", str(clone / "hawk/__init__.py")]
    assert not (site / "hawk").exists(), "no second copy of the workflow"
    assert printed(python, clone.parent, "from hawk.core.shipped import ROOT; print(ROOT)") == [str(clone)]

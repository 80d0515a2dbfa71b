"""Head weights to and from the Hub: its own client, in a process of its own, against a stand-in server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from conftest import EMBEDDED, ROOT
from hub_server import TOKEN, Hub, serve

from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry
from hawk.core.hub_card import DONE_TO_A_HEAD, card

REPO = "someone/weights"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve() as one:
        yield one


@pytest.fixture
def file(tmp_path: Path) -> Path:
    weights((0.1, 0.2, 0.3, 0.4)).save(tmp_path / "w.json")
    return tmp_path / "w.json"


def weights(values: tuple[float, ...]) -> HeadWeights:
    return HeadWeights(
        weights=values, geometry=Geometry(3, 4, 2, 16), intervention="zero", weight_normalization="min_shift",
        model={"id": "maker/model", "revision": "abc", "family": "qwen2_5_vl"}, samples={"digits": 128},
        per_benchmark={"digits": values}, calibration_groups="0f",
        token_score={"normalization": "l2", "reduction": "mean", "rope": False, "query_span": "instruction"},
    )  # fmt: skip


def hawk(
    hub: Hub, folder: Path, *words: object, token: str | None = TOKEN
) -> subprocess.CompletedProcess[str]:
    """The command line as on a machine of its own, whose Hub is the stand-in."""
    return python(hub, folder, "-m", "hawk", *words, token=token)


def python(
    hub: Hub, folder: Path, *words: object, token: str | None = TOKEN
) -> subprocess.CompletedProcess[str]:
    own = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(folder / "cache")}
    own |= {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}
    if token is not None:
        own["HF_TOKEN"] = token
    known = {key: value for key, value in os.environ.items() if key != "HF_TOKEN"}
    return subprocess.run(
        [sys.executable, *map(str, words)], env={**known, **own}, cwd=folder, capture_output=True, text=True
    )


def load(
    hub: Hub, folder: Path, revision: str | None = None, repo: str = REPO
) -> subprocess.CompletedProcess[str]:
    code = (
        "from hawk.core.head_weights import HeadWeights; from hawk.core.errors import InputError\n"
        f"try: print(list(HeadWeights.load({repo!r}, revision={revision!r}).weights))\n"
        "except InputError as error: raise SystemExit(f'error: {error}')"
    )
    return python(hub, folder, "-c", code)


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode in (1, 2), done.stdout  # of an uncaught error, and of the command line
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    return line


def test_pushed_weights_come_back_at_their_commit(hub: Hub, tmp_path: Path, file: Path) -> None:
    done = hawk(hub, tmp_path, "push", file, REPO)
    assert done.returncode == 0, done.stderr
    first = hub.heads[REPO]
    assert done.stdout.strip() == f"https://huggingface.co/{REPO}/tree/{first}"
    assert sorted(hub.commits[REPO][first]) == ["README.md", "head_weights.json", "heads.png"]
    weights((0.4, 0.3, 0.2, 0.1)).save(file)
    assert hawk(hub, tmp_path, "push", file, REPO).returncode == 0
    second = hub.heads[REPO]
    assert second != first
    assert load(hub, tmp_path, first).stdout.strip() == "[0.1, 0.2, 0.3, 0.4]"
    assert load(hub, tmp_path).stdout.strip() == "[0.4, 0.3, 0.2, 0.1]"
    # A pinned commit that is on the machine needs the Hub no more.
    hub.asked.clear()
    assert load(hub, tmp_path, first).stdout.strip() == "[0.1, 0.2, 0.3, 0.4]"
    assert not [path for path in hub.asked if "/resolve/" in path]


def test_the_card_says_what_the_file_says(hub: Hub, tmp_path: Path, file: Path) -> None:
    assert hawk(hub, tmp_path, "push", file, REPO).returncode == 0
    files = hub.commits[REPO][hub.heads[REPO]]
    card = files["README.md"].decode()
    for text in (
        "license: apache-2.0", 'base_model: "maker/model"', f"HeadWeights.load('{REPO}')", "- revision: abc",
        "3 layers x 4 heads", "- what was done to a head: zero", "min_shift", "| digits | 128 |", "`0f`",
        "## Null", "| L0H3 | 0.4000 | 0.4000 |", "(heads.png)",
    ):  # fmt: skip
        assert text in card, text
    assert card.index("| L0H3 |") < card.index("| L0H0 |")  # heads by weight
    assert json.loads(files["head_weights.json"]) == weights((0.1, 0.2, 0.3, 0.4)).to_json()


def test_the_card_says_of_a_small_weight_only_that_noise_does_not_give_it() -> None:
    """Weights may lie below what noise gives: they are not more than noise."""
    text = card(weights((0.1, 0.2, 0.3, 0.4)), REPO, [False, True, True, True])
    assert "| as noise gives |" in text
    assert "| L0H0 | 0.1000 | 0.1000 | no |" in text
    assert "| L0H3 | 0.4000 | 0.4000 | yes |" in text
    assert "1 of 4 weights lie outside" in text


def test_the_card_says_in_words_what_was_done_to_a_head() -> None:
    known = yaml.safe_load((ROOT / "config/schemas/config.schema.yaml").read_text())
    words = known["$defs"]["ablation"]["properties"]["intervention"]["enum"]
    assert set(DONE_TO_A_HEAD) == set(words)
    text = card(replace(weights((0.1, 0.2, 0.3, 0.4)), intervention="selection"), REPO)
    assert "tokens are chosen without the head" in text
    assert "switching heads off" not in text  # which a selection does not do


def test_the_program_on_the_card_runs_as_it_stands(hub: Hub, tmp_path: Path) -> None:
    measured = HeadWeights(
        weights=(1 / 8,) * 8,
        geometry=Geometry(4, 8, 4, 16),
        model={"id": "data/models/tiny-qwen2.5-vl", "family": "qwen2_5_vl"},
        token_score={"normalization": "softmax", "reduction": "mean", "rope": True, "query_span": "authors"},
    )
    measured.save(tmp_path / "w.json")
    assert hawk(hub, tmp_path, "push", "w.json", REPO).returncode == 0
    card = hub.commits[REPO][hub.heads[REPO]]["README.md"].decode()
    (program,) = re.findall("```python\n(.*?)```", card, re.DOTALL)
    assert "token_score_normalization='softmax', rope=True, query_span='authors')" in program
    shutil.copy(ROOT / "docs/images/scene.png", tmp_path / "picture.jpg")
    done = python(hub, tmp_path, "-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()  # an answer
    assert "calibrated with" not in done.stderr  # no other token score than that of the weights


def test_the_picture_is_darker_where_a_head_weighs_more(hub: Hub, tmp_path: Path, file: Path) -> None:
    import io

    from PIL import Image

    from hawk.core.hub_card import CELL, MARGIN, picture

    image = Image.open(io.BytesIO(picture(weights((0.1, 0.2, 0.3, 0.4))))).convert("L")
    cells = [image.getpixel((image.width - MARGIN - (4 - i) * CELL + CELL // 2, CELL // 2)) for i in range(4)]
    assert cells == sorted(cells, reverse=True)
    assert cells[0] - cells[3] > 60


def test_a_wrong_token_is_one_line(hub: Hub, tmp_path: Path, file: Path) -> None:
    line = only_line(hawk(hub, tmp_path, "push", file, REPO, token="hf_wrong"))
    assert line.startswith(f"error: head weights were not uploaded to '{REPO}': 401, the token is")
    line = only_line(hawk(hub, tmp_path, "push", file, REPO, token=None))
    assert "token" in line
    assert hub.commits == {}


def test_a_place_of_others_is_one_line(hub: Hub, tmp_path: Path, file: Path) -> None:
    assert "403, the token may not do that" in only_line(hawk(hub, tmp_path, "push", file, "others/weights"))


def test_an_interrupted_upload_leaves_nothing(hub: Hub, tmp_path: Path, file: Path) -> None:
    hub.drop = True
    line = only_line(hawk(hub, tmp_path, "push", file, REPO))
    assert line.startswith(f"error: head weights were not uploaded to '{REPO}': the connection was lost")
    assert set(hub.commits[REPO][hub.heads[REPO]]) == set()
    hub.drop = False  # and the same command again does it
    assert hawk(hub, tmp_path, "push", file, REPO).returncode == 0
    assert load(hub, tmp_path).stdout.strip() == "[0.1, 0.2, 0.3, 0.4]"


def test_a_picture_that_is_not_taken_is_one_line_and_no_commit(hub: Hub, tmp_path: Path, file: Path) -> None:
    hub.full = True
    line = only_line(hawk(hub, tmp_path, "push", file, REPO))
    assert line.startswith(f"error: head weights were not uploaded to '{REPO}': 403")
    assert set(hub.commits[REPO][hub.heads[REPO]]) == set()


def test_what_cannot_be_pushed(hub: Hub, tmp_path: Path) -> None:
    assert "there is no such file" in only_line(hawk(hub, tmp_path, "push", "none.json", REPO))
    (tmp_path / "other.json").write_text('{"format": 7}')
    assert "format 7; this version reads formats 1 and 2" in only_line(
        hawk(hub, tmp_path, "push", "other.json", REPO)
    )
    shutil.copy(ROOT / "LICENSE", tmp_path / "text.json")
    assert "not a head-weights file" in only_line(hawk(hub, tmp_path, "push", "text.json", REPO))
    weights((0.1, 0.2, 0.3, 0.4)).save(tmp_path / "w.json")
    assert "not uploaded to 'a name'" in only_line(hawk(hub, tmp_path, "push", "w.json", "a name"))
    assert hub.commits == {}


def test_what_cannot_be_loaded(hub: Hub, tmp_path: Path) -> None:
    hub.add("someone/empty", {"README.md": b"nothing"})
    hub.add("someone/older", {"head_weights.json": b'{"format": 0}'})
    line = only_line(load(hub, tmp_path, repo="someone/empty"))
    assert "head_weights.json cannot be had from the Hub: 404, the repository has no such file" in line
    assert "format 0" in only_line(load(hub, tmp_path, repo="someone/older"))
    line = only_line(load(hub, tmp_path, "0" * 40, repo="someone/older"))
    assert f"at revision '{'0' * 40}'" in line
    assert "404, the repository has no such revision" in line
    assert "401, the token is missing or wrong" in only_line(load(hub, tmp_path, repo="someone/none"))


def test_init_reads_a_config_from_the_hub_and_fails_at_once_without_it(hub: Hub, tmp_path: Path) -> None:
    hub.add("maker/model", {"config.json": (EMBEDDED / "config.json").read_bytes()})
    done = hawk(hub, tmp_path, "init", "maker/model", token=None)
    assert done.returncode == 0, done.stderr
    assert "layers: 4" in (tmp_path / "config/model.yaml").read_text()

    hub.endpoint = "http://127.0.0.1:9"  # nobody listens
    done = hawk(hub, tmp_path, "init", "maker/other", token=None)
    assert done.returncode == 2
    assert "Retrying" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: model 'maker/other': the Hub cannot be reached: ")

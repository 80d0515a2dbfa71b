"""Captions of Snakemake's own report name only keys that a filled config has."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest
from conftest import ROOT

from hawk.config.load import load_config

CAPTIONS = sorted((ROOT / "rules/report").glob("*.rst"))


def rendered(text: str) -> str:
    template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(text)
    return template.render(snakemake=SimpleNamespace(config=load_config("config/config.yaml")))


@pytest.mark.parametrize("path", CAPTIONS, ids=lambda path: path.stem)
def test_a_caption_names_keys_that_exist(path: Path) -> None:
    text = rendered(path.read_text(encoding="utf-8"))
    assert "()" not in text
    assert "None" not in text


def test_the_weights_are_named_with_their_ablations() -> None:
    text = " ".join(rendered((ROOT / "rules/report/weights.rst").read_text(encoding="utf-8")).split())
    assert "zero: from ablation zero by min_shift; selection: from ablation selection by min_shift" in text


def test_a_key_that_does_not_exist_is_found() -> None:
    with pytest.raises(jinja2.UndefinedError):
        rendered('{{ snakemake.config["weights"]["normalization"] }}')

"""What becomes of a variant in a config: weights bring the token score that their file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from hawk.config.load import load_config
from hawk.core.head_weights import HeadWeights
from hawk.steps.variants import build

ROOT = Path(__file__).parent.parent.parent
SHIPPED = [path for path in sorted((ROOT / "config").glob("*.yaml")) if "qwen2.5-vl-7b}" in path.read_text()]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_authors_weights_run_with_the_span_of_their_file(path: Path) -> None:
    """Under the run's own span, other tokens would be called theirs: 7 of 20 prompts keep the same."""
    config = load_config(str(path))
    weights = HeadWeights.load("qwen2.5-vl-7b")
    variants = {variant["name"]: variant for variant in config["evaluation"]["variants"]}
    authors = build(config, variants["hawk-authors"], 0.8, 0, weights.geometry)
    uniform = build(config, {"name": "u", "method": "hawk", "weights": "uniform"}, 0.8, 0, weights.geometry)
    assert authors.query_span == weights.token_score["query_span"] == "authors"
    assert uniform.query_span == config["scoring"]["query_span"] != "authors"


def test_there_are_such_configs() -> None:
    assert len(SHIPPED) >= 4

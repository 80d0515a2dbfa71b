"""config/rivals.yaml through Snakemake, with few questions: every method and control reaches the table."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from conftest import EMBEDDED, ROOT
from running import Workflow

BENCHMARKS = ["easy_vqa", "digits"]


def small_rivals() -> dict:
    """The shipped config with all its variants, on two benchmarks and few questions."""
    config = yaml.safe_load((ROOT / "config" / "rivals.yaml").read_text(encoding="utf-8"))
    config["model"].update(path="model", device="cpu")
    config["ablation"]["heads_per_job"] = "all"
    config["calibration"].update(benchmarks=BENCHMARKS, samples=64)
    config["evaluation"].update(benchmarks=BENCHMARKS, samples=8, ratios=[0.8])
    config["statistics"] = {"resamples": 200}
    return config


@pytest.mark.long
def test_every_rival_and_control_reaches_the_table(tmp_path: Path) -> None:
    from hawk.report.tables import read_controls, read_retention

    config = small_rivals()
    workflow = Workflow(tmp_path / "rivals", EMBEDDED, config)
    workflow.run()
    root = str(workflow.folder / "outputs" / "rivals")
    frame, settings = read_retention(root)
    names = {one["name"] for one in config["evaluation"]["variants"]}
    assert set(frame["variant"]) == names | {"baseline", "majority"}
    overall = frame[frame["benchmark"] == "overall"].set_index("variant")
    budget = set(overall.loc[sorted(names - {"blind", "downscale"}), "kept_tokens"])
    assert budget == {13}  # of 64, at 0.8, rounded up
    assert overall.loc["downscale", "kept_tokens"] == 12  # 3 x 4: the largest grid within 13
    assert overall.loc["blind", "kept_tokens"] == 0
    tested = overall["p_adjusted"].notna()
    assert set(overall.index[~tested]) == {"baseline", "majority", "hawk-uniform"}
    assert ((overall["verdict"][tested] == "—") == (overall["p_adjusted"][tested] >= 0.05)).all()
    seeded = ["random", "hawk-permuted", "hawk-selection-permuted", "hawk-other-question"]
    assert set(overall.loc[seeded, "seeds"]) == {5}
    assert set(read_controls(root)["control"]) >= {"hawk-uniform", "random", "grid", "downscale", "blind"}
    assert settings["reference"] == "hawk-uniform"
    for path in ("report.html", "figures/retention.png", "tables/retention.md"):
        assert Path(root, path).stat().st_size > 0

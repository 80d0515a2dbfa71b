"""What ``make demo`` must have made; run by .ci/run with the run's folder as argument."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hawk.core.files import read_table
from hawk.core.head_weights import HeadWeights
from hawk.core.schemas import COST, DROPS, EVALUATION
from hawk.report.tables import read_retention


def main(root: Path) -> None:
    for name in ("zero", "selection"):
        drops = read_table(root / f"drops/{name}.parquet", DROPS)
        assert len(drops) == 8 * 5, f"{name}: {len(drops)} drops; 8 heads x 5 benchmarks are 40"
        weights = HeadWeights.load(root / f"head_weights/{name}/pooled.json")
        assert math.isclose(sum(weights.weights), 1.0)
    evaluated = sorted((root / "evaluation").glob("*/*.parquet"))
    assert len(evaluated) == 50, f"{len(evaluated)} evaluation files; 5 benchmarks x 10 variants are 50"
    kept = read_table(root / "evaluation/digits/hawk-zero.parquet", EVALUATION).to_pandas()
    assert kept.groupby("pruning_ratio")["kept_tokens"].unique().map(list).to_dict() == {
        "0.6": [26], "0.8": [13], "0.9": [7],
    }  # fmt: skip
    first = read_table(root / "evaluation/digits_busy/keep_first.parquet", EVALUATION).to_pandas()
    assert first["keeps_token_0"].all()
    check_bounds(*read_retention(str(root)))
    cost = read_table(root / "cost.parquet", COST).to_pandas()
    assert len(cost) == 3 * (1 + 4 * 3), f"{len(cost)} cost rows; 3 x (unpruned + 4 variants x 3) are 39"
    assert (root / "figures/speedup.svg").is_file()
    report = (root / "report.html").read_text(encoding="utf-8")
    external = re.findall(r"""(?:src|href)=["']?(?!#|data:)[^"'> ]+""", report)
    assert not external, f"report.html asks for {external[:3]}"
    stability = json.loads((root / "stability/zero.json").read_text())
    assert stability["stability"]
    size = len(report) // 1024
    heads = f"{len(drops)} drops of each ablation"
    print(f"demo checked: {heads}, {len(evaluated)} evaluation files, report {size} kB")


def check_bounds(frame: pd.DataFrame, settings: Mapping[str, Any]) -> None:
    """Answers stop, and every variant lies between the floor and the ceiling, but for noise."""
    pruned = frame[(frame["benchmark"] == "overall") & ~frame["variant"].isin(["baseline", "majority"])]
    assert (pruned["not_stopped"] < 1.0).all(), pruned[["variant", "pruning_ratio", "not_stopped"]]
    for ratio in set(settings["ratios"]) - {"0"}:
        part = pruned[pruned["pruning_ratio"] == ratio].set_index("variant")["retention"]
        assert part["oracle"] > 95.0, f"{ratio}: the oracle retains {part['oracle']:.1f} %"
        assert part["blind"] == part.min(), f"{ratio}: {part.idxmin()} is below blind"
    own = frame[frame["benchmark"] != "overall"]
    assert (own["samples"] == own["requested"]).all()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

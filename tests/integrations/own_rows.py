"""hawk's own rows of the task's 64 samples, for comparison with another harness."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

from conftest import ROOT

TASK = Path(__file__).parent / "task"


def docs() -> list[dict[str, Any]]:
    """The task's samples, each image as PNG bytes in the size in which the harness gets it."""
    import pyarrow.parquet as pq
    from task.scenes import doc_to_visual

    rows = []
    for row in pq.read_table(TASK / "scenes.parquet").to_pylist():
        file = io.BytesIO()
        doc_to_visual(row)[0].save(file, format="PNG")
        rows.append({**row, "image": file.getvalue()})
    return rows


@cache
def own_rows(
    model: str, ratio: str, dtype: str, method: str = "hawk", **options: Any
) -> list[dict[str, Any]]:
    """Scored one by one; as in ``schemas.SCORES``."""
    import hawk
    from hawk.benchmarks import Sample, benchmark
    from hawk.core.images import pixel_hash
    from hawk.inference.encoding import Recomputed
    from hawk.inference.prompts import Prompts
    from hawk.inference.scoring import score_samples
    from hawk.pruning import pruner

    vlm = hawk.load(str(ROOT / "data" / "models" / model), dtype=dtype, device="cpu")
    samples = [
        Sample(
            sample_id=doc["sample_id"],
            group_id=pixel_hash(doc["image"]),
            split="test",
            question=doc["question"],
            references=(doc["answer"],),
            images=({"bytes": doc["image"], "path": "x.png"},),
        )
        for doc in docs()
    ]
    prompts = Prompts(vlm, benchmark("digits"), samples, Recomputed(vlm, samples, {}), "vlmevalkit")
    return score_samples(prompts, 1, pruner=pruner(method, pruning_ratio=ratio, **options))

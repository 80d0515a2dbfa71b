"""Writes ``scenes.parquet``: 64 questions on drawn scenes, 16 of each kind, for tests of other harnesses.

python tests/integrations/task/make.py
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hawk.benchmarks import benchmark

HERE = Path(__file__).parent
KINDS = ("digits", "shapes", "colors", "presence")
SCENES = 99  # scenes of no run


def rows() -> list[dict]:
    found = []
    for kind in KINDS:
        for sample in islice(benchmark(kind, {"scene_seed": SCENES}).load(), 16):
            found.append(
                {
                    "sample_id": f"{kind}-{sample.sample_id}",
                    "question": sample.question,
                    "answer": sample.references[0],
                    "image": {"bytes": sample.images[0]["bytes"], "path": None},
                }
            )
    return found


if __name__ == "__main__":
    pq.write_table(pa.Table.from_pylist(rows()), HERE / "scenes.parquet", compression="zstd")

"""How `data/digits` and `data/easy_vqa` were made from the published packages.

Run as `python -m hawk.training.import_data` where `scikit-learn` and `easy-vqa` are installed. Nothing
else needs them: the rows are shipped, because the wheel of easy-vqa also installs a top-level
package called `test`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from hawk.benchmarks.toy.digits import TRAINING_SCANS
from hawk.core.shipped import shipped


def _write(table: pa.Table, path: Path) -> None:
    """One row group and a large dictionary: each distinct image is stored once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(
        table, path, compression="zstd", compression_level=19, row_group_size=len(table),
        dictionary_pagesize_limit=1 << 24, data_page_size=1 << 24,
    )  # fmt: skip


def import_digits() -> None:
    """The first 1,400 scans are for training, the rest for testing."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = bunch.images.astype("uint8")
    _write(
        pa.table({
            "scan_id": pa.array(range(len(pixels)), pa.int32()),
            "pixels": [scan.tobytes() for scan in pixels],
            "label": pa.array(bunch.target, pa.int8()),
            "split": ["train" if i < TRAINING_SCANS else "test" for i in range(len(pixels))],
        }),
        shipped("data") / "digits" / "digits.parquet",
    )  # fmt: skip


def import_easy_vqa() -> None:
    """One row per question, in the published order, with the published image files as they are."""
    import easy_vqa

    def rows(questions: Callable[[], tuple], paths: Callable[[], dict]) -> pa.Table:
        texts, answers, image_ids = questions()
        images = {image_id: Path(path).read_bytes() for image_id, path in paths().items()}
        return pa.table({
            "image_id": pa.array(image_ids, pa.int32()),
            "image": pa.array([images[i] for i in image_ids], pa.binary()),
            "question": texts,
            "answer": answers,
        })  # fmt: skip

    train = rows(easy_vqa.get_train_questions, easy_vqa.get_train_image_paths)
    test = rows(easy_vqa.get_test_questions, easy_vqa.get_test_image_paths)
    _write(train, shipped("data") / "easy_vqa" / "train.parquet")
    _write(test, shipped("data") / "easy_vqa" / "test.parquet")


if __name__ == "__main__":
    import_digits()
    import_easy_vqa()
    for file in sorted(
        [*shipped("data").glob("digits/*.parquet"), *shipped("data").glob("easy_vqa/*.parquet")]
    ):
        print(
            json.dumps(
                {
                    "file": file.relative_to(shipped("data")).as_posix(),
                    "bytes": file.stat().st_size,
                }
            )
        )

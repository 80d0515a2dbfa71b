"""Which questions a run uses, and for what.

Images, not questions, are assigned to roles: every ``group_id`` falls into one role by its hash and
the seed alone. So no image is ever used for calibration in one benchmark and for evaluation in another,
nor for development in one run and for evaluation in the next, without any step having to know of others.

The border between evaluation and the rest never moves. Development's share lies on calibration's side of
it: in a run that has no use for it, calibration draws from both where its own is too small. Hence what a
study looked at while it chose is never what it evaluates on, whatever either config says; and where
calibration's own share suffices, or ``evaluation.development`` is set, both runs calibrate on the same.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import pyarrow.parquet as pq

from hawk.benchmarks import Benchmark, Sample
from hawk.benchmarks.base import Box
from hawk.core.errors import InputError
from hawk.core.files import read_table
from hawk.core.images import item_key, open_image, refuse_long_side
from hawk.core.schemas import SAMPLES
from hawk.core.table_checks import problem
from hawk.core.video import decode_video

log = logging.getLogger(__name__)


def groups_hash(group_ids: Iterable[str]) -> str:
    """SHA-256 of the sorted set of image groups, one per line."""
    return hashlib.sha256("\n".join(sorted(set(group_ids))).encode()).hexdigest()


# Share of all images per role under holdout "disjoint".
SHARES = {"calibration": 0.3, "development": 0.2, "evaluation": 0.5}


def pool(
    samples: Sequence[Sample], role: str, seed: int, wanted: int | None, keep_development: bool
) -> list[Sample]:
    """What a role may draw from under holdout "disjoint": its own share of the images.

    Where that gives fewer than ``wanted`` samples, calibration has development's share as well, unless
    ``keep_development``: the run evaluates on it, or another run of the study does.
    """
    share = [sample for sample in samples if role_of(sample.group_id, seed) == role]
    if role != "calibration" or keep_development or wanted is None or len(share) >= wanted:
        return share
    return [s for s in samples if role_of(s.group_id, seed) in ("calibration", "development")]


def _uniform(*words: object) -> float:
    """A number in [0, 1) that depends on nothing but the words."""
    state = hashlib.sha256(":".join(map(str, words)).encode()).digest()
    return int.from_bytes(state[:8], "big") / 2**64


def role_of(group_id: str, seed: int) -> str:
    """The one role of an image."""
    place = _uniform("role", seed, group_id)
    for role, share in SHARES.items():
        if place < share:
            return role
        place -= share
    return "evaluation"


def checked(bench: Benchmark, samples: Iterable[Sample]) -> list[Sample]:
    """All samples, or an error: none at all, an id twice, no image, an answer that nobody can give."""
    out: list[Sample] = []
    seen: set[str] = set()
    for sample in samples:
        what = f"benchmark {bench.name!r}: sample"
        identity = bench.identity(sample.sample_id)
        if identity in seen:
            raise InputError(f"{what} id {sample.sample_id!r} occurs twice.")
        seen.add(identity)
        if not sample.images and sample.video is None:
            raise InputError(f"{what} {sample.sample_id!r} has no image or video.")
        if not sample.references:
            raise InputError(f"{what} {sample.sample_id!r} has no reference answer.")
        if bench.knows_relevant and sample.relevant is None:
            raise InputError(f"{what} {sample.sample_id!r} does not say where its object is (relevant).")
        if sample.relevant is not None and (len(sample.images) != 1 or sample.video is not None):
            raise InputError(f"{what} {sample.sample_id!r}: relevant boxes are for samples of one image.")
        bench.check_reachable(sample)
        out.append(sample)
    if not out:
        raise InputError(f"benchmark {bench.name!r} is empty: its source gave no sample.")
    _refuse_equal(bench, out)
    return out


def _refuse_equal(bench: Benchmark, samples: Sequence[Sample]) -> None:
    """Refuse one question about one image under two ids, where there are more rows than were published.

    Tables without ids count their rows, so rows that stand in a file twice have other ids. A published table
    may hold equal rows, which everyone who reports it counts; in a part of it they are reported.
    """
    published = getattr(bench, "published_rows", None)
    if published is None or len(samples) == published:
        return
    first: dict[tuple[object, ...], str] = {}
    equal = []
    for row in samples:
        content = (row.group_id, row.question, row.options, row.references, row.category, row.metric_group)
        if first.setdefault(content, row.sample_id) != row.sample_id:
            equal.append(f"{row.sample_id!r} is {first[content]!r} again")
    if not equal:
        return
    more = f" and {len(equal) - 8} more" if len(equal) > 8 else ""
    text = f"benchmark {bench.name!r}: sample {', '.join(equal[:8])}{more}"
    if len(samples) > published:
        raise InputError(f"{text}; every question counts once. Remove the doubled rows.")
    log.warning("%s; each counts as another question.", text)


def check_files(samples: Sequence[Sample], name: str = "") -> None:
    """Decode every image, and a frame of every video, so that a broken file is not found in a GPU job.

    name: the benchmark's, for the message.
    """
    good = set()
    for sample in samples:
        try:
            for number, image in enumerate(sample.images):
                what = f"image {number}"
                size = open_image(image["bytes"]).size
                refuse_long_side(*size)
                _check_boxes(sample.relevant or (), size)
            if sample.video is not None:
                what = "video"
                source = sample.video["bytes"] or str(sample.video["path"])
                if source not in good:  # several questions are asked about a video
                    height, width = decode_video(source, frames=1).frames.shape[1:3]
                    refuse_long_side(width, height)
                    good.add(source)
        except InputError as error:
            where = f"benchmark {name!r}, " if name else ""
            raise InputError(f"{where}sample {sample.sample_id!r}, {what}: {error}") from None


def _check_boxes(boxes: Iterable[Box], size: tuple[int, int]) -> None:
    for left, top, right, bottom in boxes:
        if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
            raise InputError(
                f"box {[left, top, right, bottom]} is no part of an image of {size[0]}x{size[1]} pixels; "
                "boxes are left, top, right, bottom."
            )


def draw(bench: Benchmark, samples: Sequence[Sample], wanted: int | None, seed: int) -> list[Sample]:
    """At most ``wanted`` samples: metric groups whole, as many images as possible, loading order.

    Units (a metric group, or a single question) are taken round by round: every image gives one
    before any gives a second. With ``needs_every_category`` the categories take turns as well.
    """
    units: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        units[sample.metric_group or f"\0{sample.sample_id}"].append(sample)
    if wanted is None or wanted >= len(samples):
        return list(samples)
    by_image: dict[str, list[str]] = defaultdict(list)
    for unit in sorted(units, key=lambda unit: _uniform("draw", seed, bench.name, unit)):
        by_image[units[unit][0].group_id].append(unit)
    ranked = [unit for turn in zip_longest(*by_image.values()) for unit in turn if unit is not None]
    if bench.needs_every_category:
        ranked = _categories_in_turn(bench, ranked, units, wanted)
    taken: set[str] = set()
    for unit in ranked:
        if len(taken) + len(units[unit]) <= wanted:
            taken.update(sample.sample_id for sample in units[unit])
    if not taken:
        smallest = min(len(unit) for unit in units.values())
        raise InputError(
            f"benchmark {bench.name!r}: {wanted} samples hold no complete metric group; "
            f"the smallest has {smallest} questions."
        )
    return [sample for sample in samples if sample.sample_id in taken]


def _categories_in_turn(
    bench: Benchmark, ranked: list[str], units: Mapping[str, list[Sample]], wanted: int
) -> list[str]:
    queues: dict[str | None, list[str]] = defaultdict(list)
    for unit in ranked:
        queues[units[unit][0].category].append(unit)
    needed = sum(len(units[queue[0]]) for queue in queues.values())
    if needed > wanted:
        raise InputError(
            f"benchmark {bench.name!r} needs every category: at least {needed} samples, not {wanted}."
        )
    return [unit for turn in zip_longest(*queues.values()) for unit in turn if unit is not None]


def sample_list_hash(samples: Sequence[Sample]) -> str:
    text = "\n".join(f"{sample.sample_id}\t{sample.group_id}" for sample in samples)
    return hashlib.sha256(text.encode()).hexdigest()


def to_row(sample: Sample) -> dict[str, Any]:
    return {
        "sample_id": sample.sample_id,
        "group_id": sample.group_id,
        "metric_group": sample.metric_group,
        "split": sample.split,
        "images": [dict(image) for image in sample.images],
        "video": None if sample.video is None else dict(sample.video),
        "question": sample.question,
        "options": list(sample.options),
        "references": list(sample.references),
        "category": sample.category,
        "relevant": None if sample.relevant is None else [list(box) for box in sample.relevant],
    }


def read_samples(path: str, role: str, name: str, images: bool = True) -> list[Sample]:
    """The samples of a samples parquet, in order.

    images: False puts the key of its stored features in place of each image's or video's bytes,
        so that memory does not grow with them.
    """
    columns = [field for field in SAMPLES.names if images or field not in ("images", "video")]
    table = read_table(path, SAMPLES, identity={"role": role, "benchmark": name}, columns=columns)
    rows = table.to_pylist()
    if not images:
        for row, found in zip(rows, _file_keys(path), strict=True):
            row.update(found)
    return [
        Sample(
            sample_id=row["sample_id"],
            group_id=row["group_id"],
            question=row["question"],
            references=tuple(row["references"]),
            images=tuple(row["images"]),
            video=row["video"],
            options=tuple(row["options"]),
            category=row["category"],
            metric_group=row["metric_group"],
            split=row["split"],
            relevant=None if row["relevant"] is None else tuple(map(tuple, row["relevant"])),
        )
        for row in rows
    ]


def _file_keys(path: str) -> Iterator[dict[str, Any]]:
    """Per sample its images and video as {"key", "path"}; bytes are read one row group at a time."""

    def named(file: dict[str, Any] | None) -> dict[str, Any] | None:
        if file is None or file["bytes"] is None:  # a video in a file of its own goes by its path
            return file
        return {"key": item_key(file["bytes"]), "path": file["path"]}

    with pq.ParquetFile(path, pre_buffer=False) as file:
        first_row = 0
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, columns=["images", "video"])
            bad = problem(table, SAMPLES, first_row)
            if bad is not None:
                raise InputError(f"{path}, {bad}")
            first_row += table.num_rows
            for row in table.to_pylist():
                yield {"images": [named(image) for image in row["images"]], "video": named(row["video"])}

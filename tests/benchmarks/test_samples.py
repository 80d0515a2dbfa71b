"""Roles are disjoint by image, draws keep what belongs together, broken samples are named."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from hawk.benchmarks import Benchmark, Sample, benchmark
from hawk.benchmarks import samples as steps
from hawk.core.errors import InputError
from hawk.core.paths import RunPaths
from hawk.steps.prepare_samples import prepare_samples

CONFIG = {"seed": 0, "calibration": {"samples": 40, "holdout": "disjoint"}, "evaluation": {"samples": 60}}


def png(shade: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(file, format="PNG")
    return file.getvalue()


def sample(number: int, **changes: object) -> Sample:
    plain = Sample(
        sample_id=str(number),
        group_id=f"g{number}",
        question="?",
        references=("yes",),
        images=({"bytes": png(number % 256), "path": None},),
    )
    return replace(plain, **changes)


class Toy(Benchmark):
    name, family = "toy", "toy"
    rows: tuple[Sample, ...] = ()

    def load(self) -> Iterator[Sample]:
        yield from self.rows


def test_roles_share_no_image_over_all_benchmarks(tmp_path: Path) -> None:
    """The scene tasks ask about the same images; none may be in two roles, in whatever benchmark."""
    groups: dict[str, set[str]] = {}
    for name in ("digits", "shapes"):
        for role in ("calibration", "development", "evaluation"):
            prepare_samples(CONFIG, RunPaths(tmp_path), role, name)
            path = RunPaths(tmp_path).samples(role, name)
            found = {s.group_id for s in steps.read_samples(path, role, name)}
            groups.setdefault(role, set()).update(found)
    assert groups["calibration"]
    assert groups["evaluation"]
    assert not groups["calibration"] & groups["evaluation"]
    assert not groups["calibration"] & groups["development"]
    assert not groups["development"] & groups["evaluation"]


def test_without_holdout_roles_do_share_images(tmp_path: Path) -> None:
    """The negative control of the test above, and what the paper did."""
    config = {**CONFIG, "calibration": {"samples": None, "holdout": "none"}, "evaluation": {"samples": None}}
    groups = []
    for role in ("calibration", "evaluation"):
        path = RunPaths(tmp_path).samples(role, "digits")
        prepare_samples(config, RunPaths(tmp_path), role, "digits")
        groups.append({s.group_id for s in steps.read_samples(path, role, "digits")})
    assert groups[0] == groups[1]


def test_shares_of_roles_are_about_right() -> None:
    roles = [steps.role_of(f"image{i}", seed=3) for i in range(4000)]
    for role, share in steps.SHARES.items():
        assert abs(roles.count(role) / 4000 - share) < 0.03, role


def test_a_draw_takes_every_image_once_before_any_twice() -> None:
    rows = [sample(i, sample_id=f"{i}-{k}", group_id=f"g{i}") for i in range(10) for k in range(5)]
    chosen = steps.draw(Toy(), rows, 10, seed=0)
    assert len({s.group_id for s in chosen}) == 10
    chosen = steps.draw(Toy(), rows, 20, seed=0)
    assert [len([s for s in chosen if s.group_id == f"g{i}"]) for i in range(10)] == [2] * 10
    assert chosen == [row for row in rows if row in chosen]  # loading order
    assert chosen != steps.draw(Toy(), rows, 20, seed=1)


def test_metric_groups_stay_whole() -> None:
    rows = [sample(i, group_id=f"g{i // 2}", metric_group=f"pair{i // 2}") for i in range(20)]
    chosen = steps.draw(Toy(), rows, 7, seed=0)
    assert len(chosen) == 6
    for pair in {s.metric_group for s in chosen}:
        assert sum(s.metric_group == pair for s in chosen) == 2
    with pytest.raises(InputError, match="1 samples hold no complete metric group"):
        steps.draw(Toy(), rows, 1, seed=0)


def test_every_category_is_drawn_where_the_metric_needs_it() -> None:
    class Needy(Toy):
        needs_every_category = True

    rows = [sample(i, category="rare" if i == 0 else "common") for i in range(50)]
    for seed in range(5):
        chosen = steps.draw(Needy(), rows, 4, seed=seed)
        assert {s.category for s in chosen} == {"rare", "common"}
    with pytest.raises(InputError, match="at least 2 samples, not 1"):
        steps.draw(Needy(), rows, 1, seed=0)
    plain = [{s.category for s in steps.draw(Toy(), rows, 4, seed=seed)} for seed in range(5)]
    assert {"common"} in plain  # without the need, the rare one is missed


def test_broken_samples_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="'toy' is empty"):
        steps.checked(Toy(), [])
    with pytest.raises(InputError, match="sample id '1' occurs twice"):
        steps.checked(Toy(), [sample(1), sample(1)])
    with pytest.raises(InputError, match="sample '2' has no image or video"):
        steps.checked(Toy(), [sample(1), sample(2, images=())])
    with pytest.raises(InputError, match="sample '3' has no reference"):
        steps.checked(Toy(), [sample(3, references=())])
    with pytest.raises(InputError, match="sample '4', image 0: not a readable image"):
        steps.check_files([sample(4, images=({"bytes": b"no image", "path": None},))])


def test_unknown_benchmark_names_the_near_one() -> None:
    with pytest.raises(InputError, match="unknown benchmark 'digit'. Did you mean 'digits'"):
        benchmark("digit")


def test_provenance_says_where_the_rows_come_from(tmp_path: Path) -> None:
    """A changed table, also one under the old name, is another origin; which samples, another hash."""
    import hub_rows

    from hawk.core.files import sample_provenance

    config = {"seed": 0, "calibration": {"samples": None, "holdout": "none"}, "evaluation": {"samples": 2}}
    folder, paths = hub_rows.write("chartqa", tmp_path / "rows"), RunPaths(tmp_path / "run")
    output = paths.samples("evaluation", "chartqa")

    def made(settings: dict) -> dict:
        whole = {**settings, "data": {"chartqa": {"path": str(folder)}}}
        prepare_samples(whole, paths, "evaluation", "chartqa")
        return sample_provenance(output, "evaluation", "chartqa")

    first = made(config)
    origin = first["origin"]
    assert {key: origin[key] for key in ("source", "id", "split")} == {
        "source": "parquet",
        "id": str(folder),
        "split": "test",
    }
    assert len(origin["sha256"]) == 64
    assert first["holdout"] == "none"
    assert made(config) == first
    fewer = made({**config, "evaluation": {"samples": 1}})
    assert fewer["origin"] == origin
    assert fewer["samples"] != first["samples"]
    table = pq.read_table(next(folder.rglob("*.parquet")))
    pq.write_table(table.slice(0, 3), next(folder.rglob("*.parquet")))
    assert made(config)["origin"]["sha256"] != origin["sha256"]

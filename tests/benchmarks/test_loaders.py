"""Loaders on rows in the schema of the Hub's datasets: what a sample is, and what is refused."""

from __future__ import annotations

import base64
import collections
import io

import hub_rows
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_rows import COMMIT, IMAGES, TABLES, VIDEOS
from PIL import Image

from hawk.benchmarks import benchmark
from hawk.benchmarks.bases.multiple_choice import split_options
from hawk.benchmarks.samples import checked, read_samples, to_row
from hawk.core.errors import InputError
from hawk.core.files import write_table
from hawk.core.images import open_image, pixel_hash, rgb
from hawk.core.schemas import SAMPLES


@pytest.fixture
def load(tmp_path):
    """name → the benchmark on its fixture table, and its samples."""

    def loaded(name, **options):
        folder = hub_rows.write(name, tmp_path / name)
        if name in VIDEOS:
            for number in range(2):
                hub_rows.clip(tmp_path / "videos" / f"clip{number}.mp4", number)
            options["videos"] = str(tmp_path / "videos")
        bench = benchmark(name, {"source": "parquet", "path": str(folder), **options})
        return bench, checked(bench, bench.load())

    return loaded


@pytest.mark.parametrize("name", TABLES)
def test_every_row_becomes_a_sample_and_survives_parquet(name, load, tmp_path):
    bench, samples = load(name)
    assert len(samples) == len(TABLES[name][0][1]())
    path = tmp_path / "samples.parquet"
    identity = {"identity": {"role": "evaluation", "benchmark": name}}
    write_table(path, [to_row(sample) for sample in samples], SAMPLES, identity)
    back = read_samples(str(path), "evaluation", name)
    assert back == samples
    for protocol in bench.protocols:
        assert [bench.prompt(one, protocol) for one in back] == [
            bench.prompt(one, protocol) for one in samples
        ]


@pytest.mark.parametrize("name", IMAGES)
def test_images_keep_their_bytes(name, load):
    _, samples = load(name)
    rows = TABLES[name][-1][1]()
    stored = collections.Counter(row["image"]["bytes"] for row in rows)
    found = collections.Counter(image["bytes"] for sample in samples for image in sample.images)
    assert set(found) == set(stored)
    if name != "gqa":  # whose images are a table of their own, used twice each
        assert found == stored


@pytest.mark.parametrize("name", TABLES)
def test_samples_with_one_image_share_a_group(name, load):
    _, samples = load(name)
    groups = collections.defaultdict(set)
    for sample in samples:
        key = sample.video["path"] if sample.video else pixel_hash(sample.images[0]["bytes"])
        groups[key].add(sample.group_id)
    assert all(len(ids) == 1 for ids in groups.values())
    if name != "hallusionbench":  # whose question groups tie several figures
        assert len(set.union(*groups.values())) == len(groups)


def test_mme_pairs_are_whole_groups(load):
    _, samples = load("mme")
    assert {sample.metric_group for sample in samples if sample.category == "color"} == {
        "color/color/0003.png#2"
    }
    sizes = collections.Counter(sample.metric_group for sample in samples)
    assert set(sizes.values()) == {2}
    assert len({sample.category for sample in samples}) == 14


def test_hallusionbench_set_is_one_group_over_its_figures(load):
    _, samples = load("hallusionbench")
    by_set = {sample.metric_group: sample.group_id for sample in samples}
    assert set(by_set) == {"VD_chart_0#4", "VS_map_1#2"}
    assert all(sample.group_id == by_set[sample.metric_group] for sample in samples)
    hashes = {pixel_hash(sample.images[0]["bytes"]) for sample in samples}
    assert len(hashes) == 4
    assert not hashes & set(by_set.values())  # a hash of the tied set, not of one figure
    assert [sample.references for sample in samples[:2]] == [("No",), ("Yes",)]
    assert samples[0].sample_id == "0_VD_chart_0_0_0"


def test_mmbench_copies_are_whole_groups(load):
    _, samples = load("mmbench")
    assert collections.Counter(sample.metric_group for sample in samples) == {"241#3": 3, "252#4": 4}
    assert [len(sample.options) for sample in samples] == [3, 3, 3, 4, 4, 4, 4]
    assert "None" in samples[-1].options  # an option that says "None" is one
    assert "Hint" not in benchmark("mmbench").prompt(samples[0])  # stored as the text "nan"
    assert benchmark("mmbench").prompt(samples[-1]).startswith("Hint: The passage says so.\nQuestion: ")


def test_pope_category_says_the_truth(load):
    _, samples = load("pope")
    assert collections.Counter(sample.category for sample in samples) == {
        f"{category} > {answer}": 1
        for category in ("adversarial", "popular", "random")
        for answer in ("Yes", "No")
    }


def test_options_inside_the_question(load):
    bench, samples = load("realworldqa")
    assert samples[0].options == ("Left", "Straight", "Right")
    assert bench.prompt(samples[0]) == (
        "Question: In which direction is the front wheel facing?\nOptions:\nA. Left\nB. Straight\n"
        "C. Right\nPlease select the correct answer from the options above. \n"
    )
    assert samples[1].options == ()
    assert bench.prompt(samples[1]).endswith("Please answer directly with a single word or number.")
    assert samples[2].options == ("None of them", "Yes, all")
    assert samples[3].references == ("Downhill",)
    _, samples = load("mmstar")
    assert [sample.options for sample in samples] == [
        ("Extra-moist", "X-large", "A roll", "Cap"),
        ("30", "45", "60", "90"),
        ("yes", "no"),
        ("one", "two", "three", "four"),
    ]
    prompt = benchmark("mmstar").prompt(samples[1])
    assert prompt.startswith("Question: Find the angle.\nOptions:\nA. 30\n")


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("no options here", ("no options here", ())),
        ("A. lone", ("A. lone", ())),
        ("Is it A or B?\nA. x\nB. y", ("Is it A or B?", ("x", "y"))),
        ("Q\n(A) x (1)\n(B) y", ("Q", ("x (1)", "y"))),
        ("Q Options: A: a, b, B: c", ("Q", ("a, b", "c"))),
        ("", ("", ())),
    ],
)
def test_split_options(question, expected):
    assert split_options(question) == expected


def test_missing_hint_leaves_no_line(load):
    bench, samples = load("scienceqa")
    assert bench.prompt(samples[0]).startswith("Hint: Use the map.\nQuestion: ")
    assert bench.prompt(samples[1]).startswith("Question: ")
    assert bench.prompt(samples[1], "lmms-eval").startswith("Which of these")
    assert [len(sample.options) for sample in samples] == [4, 3, 2]


def test_list_literals_and_lists(load):
    bench, samples = load("chartqa")
    assert samples[1].references == ("[2013, 2014]",)
    assert bench.score("2013", samples[1]) == 1.0
    assert bench.score("2013", samples[1], "lmms-eval") == 0.0
    _, samples = load("textvqa")
    assert len(samples[0].references) == 10
    assert "" in samples[0].references


# --- pictures ------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", hub_rows.KINDS)
def test_every_kind_of_picture_is_read(kind):
    encoded = hub_rows.picture(7, kind)
    image = rgb(open_image(encoded))
    assert image.mode == "RGB"
    assert image.size == ((64, 96) if kind == "rotated" else (96, 64))
    assert pixel_hash(encoded) == pixel_hash(encoded)
    assert pixel_hash(encoded) != pixel_hash(hub_rows.picture(8, kind))


def test_sixteen_bit_grey_keeps_its_levels():
    levels = {pixel[0] for pixel in rgb(open_image(hub_rows.picture(7, "sixteen"))).getdata()}
    assert len(levels) > 10
    assert max(levels) <= 255


def test_pixels_not_files_name_an_image():
    plain = Image.open(io.BytesIO(hub_rows.picture(3, "png")))
    file = io.BytesIO()
    plain.save(file, format="png", compress_level=0)
    assert file.getvalue() != hub_rows.picture(3, "png")
    assert pixel_hash(file.getvalue()) == pixel_hash(hub_rows.picture(3, "png"))


def test_a_broken_image_is_named(tmp_path):
    rows = hub_rows.chartqa()
    rows[2]["image"] = {"bytes": rows[2]["image"]["bytes"][:40], "path": None}
    path = tmp_path / "broken.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=hub_rows.schema("chartqa", rows)), path)
    with pytest.raises(InputError, match=r"sample '2': not a readable image \(40 bytes\)"):
        list(benchmark("chartqa", {"path": str(path)}).load())


# --- sources -------------------------------------------------------------------------------------
@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """A Hub cache that knows nothing yet, with the network off."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.mark.parametrize("name", IMAGES)
def test_offline_the_hub_cache_gives_the_same_samples(name, load, hub_cache):
    _, local = load(name)
    bench = benchmark(name)
    hub_rows.as_cache(name, bench.hub_id, hub_cache)
    assert list(bench.load()) == local
    origin = bench.origin()
    assert origin["revision"] == COMMIT
    assert origin["id"] == bench.hub_id


def test_offline_without_a_cache_says_what_to_run(hub_cache):
    with pytest.raises(InputError, match="hawk fetch"):
        list(benchmark("pope").load())


def test_another_revision_is_not_silently_taken(hub_cache):
    hub_rows.as_cache("pope", "lmms-lab-encoder/POPE", hub_cache)
    with pytest.raises(InputError, match="not in the Hub cache"):
        list(benchmark("pope", {"revision": "f" * 40}).load())


def test_a_missing_split_lists_the_files(hub_cache):
    hub_rows.as_cache("pope", "lmms-lab-encoder/POPE", hub_cache)
    with pytest.raises(InputError, match=r"split 'val'.*data/test-00000-of-00001\.parquet"):
        list(benchmark("pope", {"split": "val"}).load())


def test_a_missing_column_lists_what_is_there(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"question": ["q"], "type": ["human_test"]}), path)
    with pytest.raises(InputError, match=r"no column 'answer', 'image'. It has: question, type"):
        list(benchmark("chartqa", {"path": str(path)}).load())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sauce": "hub"}, "Did you mean 'source'"),
        ({"source": "disk"}, "Allowed: hub, parquet, tsv"),
        ({"source": "parquet"}, "path is missing"),
        ({"path": "/nowhere/at/all"}, "neither a parquet file nor a folder"),
        ({"path": "/nowhere/x.tsv"}, "no file /nowhere/x.tsv"),
        ({"prompt": "gpt"}, "Allowed: default, internvl, qwen"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        list(benchmark("pope", options).load())


def _tsv(path, rows):
    import csv

    columns = list(dict.fromkeys(key for row in rows for key in row))
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)


def test_vlmevalkit_tsv_with_base64_references_and_paths(tmp_path):
    encoded = [hub_rows.picture(number, "jpeg") for number in range(2)]
    (tmp_path / "one.jpg").write_bytes(encoded[1])
    base = {"question": "Which?", "A": "x", "B": "None", "C": "z", "answer": "B", "category": "c"}
    rows = [
        {"index": 0, "image": base64.b64encode(encoded[0]).decode(), **base},
        {"index": 1, "image": "0", **base},
        {"index": 2, "image": "", "image_path": str(tmp_path / "one.jpg"), **base},
        {"index": 3, "image": "", "image_path": "one.jpg", "hint": "Look.", **base},
    ]
    _tsv(tmp_path / "AI2D_TEST.tsv", rows)
    samples = list(benchmark("ai2d", {"path": str(tmp_path / "AI2D_TEST.tsv")}).load())
    assert [sample.images[0]["bytes"] for sample in samples] == [encoded[0]] * 2 + [encoded[1]] * 2
    assert samples[0].options == ("x", "None", "z")
    assert samples[0].references == ("B",)
    assert benchmark("ai2d").prompt(samples[3]).startswith("Hint: Look.\n")
    assert samples[0].group_id == samples[1].group_id != samples[2].group_id


def test_lmudata_names_the_folder_of_tsvs(tmp_path, monkeypatch):
    row = {"index": 7, "image": base64.b64encode(hub_rows.picture(1)).decode(), "answer": "Yes"}
    row |= {"question": "Is it? Please answer yes or no.", "category": "adversarial,popular"}
    _tsv(tmp_path / "POPE.tsv", [row])
    monkeypatch.setenv("LMUData", str(tmp_path))
    (sample,) = benchmark("pope", {"source": "tsv"}).load()
    assert sample.category == "adversarial,popular > Yes"
    assert benchmark("pope").prompt(sample) == "Is it? Please answer yes or no."


def test_a_lone_mme_row_is_noticed_when_scored(load):
    bench, samples = load("mme")
    import pandas as pd

    rows = pd.DataFrame([to_row(sample) for sample in samples]).assign(score=1.0)
    assert bench.aggregate(rows) == 2800.0
    with pytest.raises(InputError, match=r"'color/color/0003.png#2' has 1 of its 2 rows"):
        bench.aggregate(rows.drop(rows.index[rows["category"] == "color"][0]))


def test_an_absent_video_is_named(tmp_path):
    hub_rows.write("videomme", tmp_path / "rows")
    bench = benchmark("videomme", {"path": str(tmp_path / "rows"), "videos": str(tmp_path)})
    with pytest.raises(InputError, match=r"no file clip0.mp4 or clip0.mkv or clip0.webm"):
        list(bench.load())

"""The report: self-contained, escaped, honest; and its script in a real browser where there is one."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from chromium import Chromium
from click.testing import CliRunner
from factories import drops_of, make_config, measure_drops, stability_of, toy_benchmarks, write_run
from PIL import Image

from hawk.cli import analysis, tools
from hawk.config.declared import declared
from hawk.core import atomic, files, schemas
from hawk.core.errors import InputError
from hawk.core.paths import RunPaths
from hawk.core.provenance import provenance
from hawk.report import page as report
from hawk.report import verdicts
from hawk.report.answers import answers_of
from hawk.report.explorer import explorer_data
from hawk.report.headline import Comparison, headline, sentences
from hawk.report.run import Run
from hawk.report.sections.comparison import _retention_table
from hawk.report.sections.overview import what_was_run
from hawk.report.sections.verdict import verdict
from hawk.report.tables import read_controls, read_retention
from hawk.steps.head_weights import head_weights
from hawk.steps.make_figures import make_figures
from hawk.steps.make_report import make_report
from hawk.steps.make_tables import make_tables

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
EVIL = "</script><img src=x onerror=\"document.title='owned'\">&"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    root = str(tmp_path_factory.mktemp("run"))
    with toy_benchmarks():
        config = write_run(root, make_config())
        measure_drops(config, root)
        for intervention in ("zero", "selection"):
            head_weights(config, RunPaths(root), intervention)
        make_tables(declared(config, "make_tables"), root)
    cost: dict[str, Any] = {field.name: 1 for field in schemas.COST}
    rows = [
        {**cost, "variant": variant, "pruning_ratio": ratio, "repeat": repeat, "total_ms": factor * one}
        for repeat, one in enumerate((10.0, 30.0, 12.0))
        for variant, ratio, factor in (("unpruned", "0", 4), ("hawk", "0.8", 1))
    ]
    measured = {
        "model": {"id": config["model"]["path"], "dtype": "float32"}, "device": "abacus",
        "threads": 1, "samples": 2,
        "cost": {"max_new_tokens": 4, "repeats": 3, "warmup": 1},
    }  # fmt: skip
    made = provenance({"table": "cost", "benchmark": "toy"}, **measured)
    files.write_table(RunPaths(root).cost(), rows, schemas.COST, made)
    make_figures(declared(config, "make_figures"), root)
    Image.new("RGB", (4, 4)).save(RunPaths(root).figure("kept_tokens", "png"))
    atomic.write_json(RunPaths(root).head_scores(), {"examples": [EXAMPLE]})
    make_report(declared(config, "make_report"), root)
    return root, config


# A white image of 2 x 2 tokens, 4 heads.
_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR4nGP8"
    "//8/AwMDEwMDAwMDAwAkBgMB/DXemwAAAABJRU5ErkJggg=="
)
EXAMPLE = {
    "benchmark": "toy", "question": "what?", "layer": 0, "ratio": "50 %", "rows": 2, "columns": 2,
    "scores": [base64.b64encode(bytes([0, 85, 170, 255])).decode()] * 4,
    "kept": {"divprune": [0, 3]}, "answers": {"divprune": {"text": "a", "right": True}},
    "image": f"data:image/png;base64,{_PNG}", "width": 2, "height": 2,
}  # fmt: skip


@pytest.fixture
def text(made) -> str:
    return Path(RunPaths(made[0]).report()).read_text(encoding="utf-8")


class Page(HTMLParser):
    """Elements with their attributes, and whether they nest."""

    VOID = frozenset({"meta", "img", "br", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data.replace("\N{NO-BREAK SPACE}", " ")


def test_nothing_outside_the_file_is_asked_for(text: str) -> None:
    page = Page(text)
    assert page.open == []
    tags = {tag for tag, _ in page.found}
    assert not tags & {"link", "iframe", "object", "embed", "form", "base", "audio", "video"}
    for tag, attributes in page.found:
        for key in ("src", "href", "action", "data", "srcset", "poster"):
            value = attributes.get(key)
            if value is not None:
                assert value.startswith(("data:image/", "#")), (tag, key, value[:60])
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", text)
    policy = next(a["content"] for t, a in page.found if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_every_section_and_link_is_there(text: str) -> None:
    page = Page(text)
    sections = [a["id"] for t, a in page.found if t == "section"]
    assert sections == ["verdict", "run", "heads", "weights", "retention", "tokens", "cost", "reading"]
    assert [a["href"] for t, a in page.found if t == "a"] == [f"#{one}" for one in sections]
    assert sum(t == "img" for t, _ in page.found) == 7  # 4 figures, 2 without script, kept tokens


def test_the_numbers_are_those_of_the_tables(made, text: str) -> None:
    root, _ = made
    data = json.loads(re.search(r'id="head-data">(.*?)</script>', text, re.DOTALL)[1])
    drops = drops_of(root)
    assert [panel["title"] for panel in data["panels"]] == ["zero", "selection"]
    for panel in data["panels"]:
        part = drops[drops["ablation"] == panel["title"]].set_index(["benchmark", "layer", "head"])
        for key in ("drop", "ci_low", "ci_high", "logprob_drop", "unparsed", "is_noise"):
            for benchmark, line in zip(panel["benchmarks"], panel[key], strict=True):
                spots = [(benchmark, layer, head) for layer, head in panel["heads"]]
                expected = part.loc[spots, key].to_numpy(dtype=float)
                assert line == pytest.approx(expected, abs=0.0051 if key != "logprob_drop" else 6e-5)
        weights = json.loads(Path(RunPaths(root).head_weights(panel["title"])).read_text())["weights"]
        assert panel["weight"] == pytest.approx(weights, abs=6e-5)
        null = stability_of(root, panel["title"])["head_null"]["min_shift"]
        bounds = zip(weights, null["q025"], null["q975"], strict=True)
        assert panel["weight_noise"] == [low <= weight <= high for weight, low, high in bounds]
        assert panel["weight_low"] == pytest.approx(null["q025"], abs=6e-5)
        assert panel["confidence"] == 95
    frame, _ = read_retention(root)
    words = Page(text).words
    for value in frame["retention"]:
        assert f"{value:.1f}" in words
    assert "64 samples" not in words  # 64 stands in a table cell
    assert "12.0" in words  # the median cost
    assert "4.00" in words  # the median of ratios to the unpruned model
    assert "on abacus, 1 thread," in words


def test_strings_from_files_are_escaped(made, tmp_path: Path) -> None:
    root, config = made
    shutil.copytree(root, tmp_path / "run")
    paths = RunPaths(tmp_path / "run")
    tables = [(paths.drops(name), schemas.DROPS) for name in ("zero", "selection")]
    for path, schema in (*tables, (paths.table("retention", "parquet"), None)):
        table = pq.read_table(path)
        made_by = files.provenance_of(table, path)
        frame = table.to_pandas()
        if schema is None:
            schema = table.schema
            frame["variant"] = frame["variant"].replace("divprune", EVIL)
        frame["benchmark"] = frame["benchmark"].replace("toy", EVIL)
        files.write_table(path, frame, schema, made_by)
    path = make_report({**config, "run": EVIL}, str(tmp_path / "run"))
    page = Page(Path(path).read_text(encoding="utf-8"))
    assert page.open == []
    assert all("onerror" not in attributes for _, attributes in page.found)
    assert EVIL in page.words
    if BROWSER:
        assert "<title>owned" not in in_browser(path, "", tmp_path)


def test_a_part_of_a_run_makes_a_part_of_a_report(made, tmp_path: Path) -> None:
    root, config = made
    shutil.copytree(root, tmp_path / "run")
    paths = RunPaths(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "tables")
    Path(paths.cost()).unlink()
    page = Page(Path(make_report(config, paths.root)).read_text(encoding="utf-8"))
    ids = [a["id"] for t, a in page.found if t == "section"]
    assert "heads" in ids
    assert not {"retention", "cost"} & set(ids)
    shutil.rmtree(Path(paths.root) / "drops")
    with pytest.raises(InputError, match="nothing to report"):
        make_report(config, paths.root)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"model": {"id": "another"}}, "with model id another; the retention of this run is of"),
        (
            {"rules": {"rounding": "floor", "budget": "pooled", "position_policy": "keep"}},
            "with rules ",
        ),
        ({"variants": {"divprune": {"method": "random"}}}, "with variant divprune "),
    ],
)
def test_the_cost_of_another_run_is_not_shown_beside_this_ones_retention(
    made, tmp_path: Path, setting: dict[str, Any], said: str
) -> None:
    root, config = made
    shutil.copytree(root, tmp_path / "run")
    path = RunPaths(tmp_path / "run").cost()
    table = files.read_table(path, schemas.COST)
    block = files.provenance_of(table, path)
    files.write_table(path, table, schemas.COST, {**block, "settings": {**block["settings"], **setting}})
    for step in (make_report, make_figures):
        with pytest.raises(InputError, match=f"cost.parquet: measured {said}"):
            step(config, str(tmp_path / "run"))


# --- what it says -----------------------------------------------------------------------------------


def test_the_page_opens_with_the_verdict_and_its_plot(made, text: str) -> None:
    root, _ = made
    frame, settings = read_retention(root)
    compared = Comparison.of(frame, read_controls(root), settings)
    words = Page(text).words
    for statement in (headline(compared), *sentences(compared, ["hawk-zero"])):
        assert statement.text in words
    row = frame[(frame["variant"] == "hawk-zero") & (frame["benchmark"] == "overall")]
    row = row[row["pruning_ratio"] == "0.8"].iloc[0]
    assert row["verdict"] == "worse"
    low, high = row["difference_low"], row["difference_high"]
    tips = [a["data-tip"] for tag, a in Page(text).found if "data-tip" in a]
    rows = frame[(frame["benchmark"] == "overall") & frame["method"].isin(["hawk", "random", "divprune"])]
    assert len(tips) == len(rows)
    expected = (
        f"hawk-zero, 80 % removed: retention {row['retention']:.1f} %\n"
        f"95 % interval [{row['ci_low']:.1f}, {row['ci_high']:.1f}]\nagainst hawk-uniform: "
        f"{row['difference']:+.1f} [{low:+.1f}, {high:+.1f}], p {row['p_adjusted']:.3f} (Holm), worse"
    ).replace("p 0.", "p .")
    assert any(tip.startswith(expected) for tip in tips if tip)
    assert text.index(headline(compared).text.split(".")[0]) < text.index('<div class="dots"')
    for statement in sentences(compared):
        assert not re.search(r"\d\.\d", statement.text)  # numbers stand in the plot


def test_the_ceiling_is_no_row_of_the_table_like_others(made) -> None:
    frame, _ = read_retention(made[0])
    frame = frame.replace({"variant": {"divprune": "told"}, "method": {"divprune": "oracle"}})
    page = _retention_table(frame, "overall", "hawk-uniform")
    assert page.count('<tr class="floor"><td class="left" data-v="told">') == 3


def test_fewer_samples_than_asked_for_are_said(made) -> None:
    root, config = made
    run = Run.read(config, root)
    assert verdicts.fewer_samples(config, run.drops, run.retention) == []
    frame = run.retention.assign(requested=64.0)  # toy and pairs have 64
    frame.loc[frame["benchmark"] == "pairs", "requested"] = 70.0
    more = {**config, "calibration": {**config["calibration"], "samples": 65}}
    (said,) = verdicts.fewer_samples(more, run.drops, frame)
    assert said.text == (
        "Fewer samples than asked for: toy 64 of 65 for calibration; pairs 64 of 65 for calibration; "
        "pairs 64 of 70 for evaluation."
    )
    page = what_was_run(Run(config, run.paths, retention=frame, settings=run.settings))
    assert "asked for" in page
    assert ">70<" in page
    assert ">70<" not in what_was_run(Run(config, run.paths, retention=run.retention, settings=run.settings))


def test_warnings_name_what_the_null_explains(made) -> None:
    root, config = made
    found = {name: stability_of(root, name) for name in ("zero", "selection")}
    for one in found.values():
        for key in one["null"]["benchmarks"]:
            one["null"]["benchmarks"][key]["explained_by_null"] = key == "pairs"
        one["null"]["pooled"]["explained_by_null"] = False
    said = [one.text for one in verdicts.of_the_weights(config, found)]
    assert len(said) == 2
    assert all("on pairs the drops of the heads differ no more than noise" in one for one in said)
    found["zero"]["null"]["pooled"]["explained_by_null"] = True  # the smaller warning is part of the larger
    said = [one.text for one in verdicts.of_the_weights(config, found)]
    assert ["over all benchmarks" in one for one in said] == [True, False]
    del found["zero"]
    assert verdicts.of_the_weights(config, found)[-1].text == (
        "hawk-zero: no null was computed for these weights, so they may be noise alone."
    )


def test_what_leaks_and_whose_model_it_is_stand_beside_the_headline(made) -> None:
    _, config = made
    leaky = {**config, "calibration": {**config["calibration"], "holdout": "none"}}
    assert any("makes retention too high" in one.text for one in verdicts.of_the_run(leaky, "model"))
    (tiny,) = verdicts.of_the_run(config, "data/models/tiny-qwen2.5-vl")
    assert "small and was trained by this project" in tiny.text
    assert verdicts.of_the_run(config, "model") == []
    page = verdict(Run(leaky, RunPaths(made[0]), retention=read_retention(made[0])[0],
                       settings=read_retention(made[0])[1]))  # fmt: skip
    assert page.index("makes retention too high") < page.index('<div class="dots"')


def test_benchmarks_that_cannot_show_anything_stand_below_the_plot(made) -> None:
    root, config = made
    frame, _ = read_retention(root)
    assert verdicts.of_the_comparison(config, None, frame) == []
    seeing = frame.assign(retention=frame["retention"].where(frame["method"] != "blind", 95.0))
    (said,) = verdicts.of_the_comparison(config, None, seeing)
    assert "cannot show a difference between pruning methods" in said.text
    dead = frame.assign(native_value=frame["native_value"].where(frame["benchmark"] != "toy", 0.0))
    assert any("scores 0 on toy:" in one.text for one in verdicts.of_the_comparison(config, None, dead))
    (said,) = verdicts.of_the_comparison(config, None, frame[frame["method"] != "blind"])
    assert said.text == "No floor: the model without any visual token (blind) was not evaluated."


# --- in a browser -----------------------------------------------------------------------------------


def in_browser(path: str, script: str, folder: Path) -> str:
    """The page's DOM after running ``script`` in it; what it returns stands in ``<title>``."""
    text = Path(path).read_text(encoding="utf-8")
    run = f"<script>try {{ document.title = JSON.stringify((() => {{ {script} }})() ?? null) }}"
    run += " catch (error) { document.title = String(error) }</script>"
    probe = folder / "probe.html"
    probe.write_text(
        text.replace("</body></html>", (run if script else "") + "</body></html>"), encoding="utf-8"
    )
    with Chromium() as browser:
        dom: str = browser.open(probe).run("document.documentElement.outerHTML")
    return dom


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_the_explorer_works_in_a_browser(made, tmp_path: Path) -> None:
    root, _ = made
    script = """
      const all = (query, from = document) => [...from.querySelectorAll(query)];
      const one = (query) => document.querySelector(query);
      const part = (name) => one(`[data-part="${name}"]`);
      const set = (name, value) => { const node = part(name); node[node.type === "checkbox" ? "checked" : "value"] = value; node.dispatchEvent(new Event("change")); };
      const view = (name) => one(`[data-view="${name}"]`).click();
      const rows = () => all(".view tbody tr").map((row) => all("button.head", row).map((b) => b.textContent));
      const named = () => all(".view tbody th").map((th) => th.textContent);
      const out = { start: one('[data-view="layer"]').getAttribute("aria-pressed"), layer: rows(), layerNames: named() };
      view("grid"); out.grid = rows(); out.gridNames = named();
      set("benchmark-select", "1"); out.gridSecond = rows(); set("benchmark-select", "-1");
      view("list"); out.listNames = named();
      one('[data-key="weight"]').click(); out.byWeight = all("td.weight span").map((s) => parseFloat(s.textContent));
      one('[data-key="weight"]').click(); out.byWeightUp = all("td.weight span").map((s) => parseFloat(s.textContent));
      set("top", "2"); out.top = named(); set("top", "0");
      set("hide-noise", true); out.real = named(); set("hide-noise", false);
      set("least", "1e9"); out.none = named(); set("least", "0");
      view("layer");
      const cell = all("button.head")[0];
      cell.dispatchEvent(new MouseEvent("mousemove", { bubbles: true, clientX: 9, clientY: 9 }));
      const second = all(".view tbody tr")[1].querySelector("button.head");
      second.dispatchEvent(new MouseEvent("mousemove", { bubbles: true, clientX: 9, clientY: 9 }));
      out.tip = one("#tip").textContent; out.shown = one("#tip").style.display; out.label = second.getAttribute("aria-label");
      document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" })); out.hidden = one("#tip").style.display;
      second.focus(); second.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
      out.moved = document.activeElement.dataset.head;
      out.noisy = all("button.head.noise").length;
      one('button.head[data-head="1"]').click(); out.detail = part("detail").textContent; out.open = !part("detail").hidden;
      out.looks = all(".examples img").length; out.frames = all(".examples .frame").length;
      out.summaries = all(".questions summary").map((one) => one.textContent);
      out.questions = all(".questions tbody tr").map((row) => [...row.cells].map((c) => c.textContent));
      part("close").click(); out.closed = part("detail").hidden;
      set("panel-select", "1"); out.selection = rows();
      set("measure-select", "logprob_drop"); out.logprob = rows(); set("measure-select", "drop");
      view("compare"); out.dots = all("circle.dot").length; out.compare = one(".compare p").textContent;
      const table = one("table.sortable");
      const head = all("th", table).find((h) => h.textContent === "retention");
      const values = () => [...table.tBodies[0].rows].map((r) => Number(r.cells[head.cellIndex].dataset.v));
      head.click(); out.down = values();
      head.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" })); out.up = values();
      out.images = [...document.images].every((image) => image.complete && image.naturalWidth > 0);
      return out;
    """  # noqa: E501
    dom = in_browser(RunPaths(root).report(), script, tmp_path)
    found = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom, re.DOTALL)[1]))
    drops = drops_of(root)
    zero = drops[drops["intervention"] == "zero"].set_index(["benchmark", "head"])
    benchmarks = list(dict.fromkeys(zero.index.get_level_values(0)))
    heads = ["L0H0", "L0H1", "L0H2", "L0H3"]

    def numbers(lines: list[list[str]]) -> list[list[float]]:
        return [[float(text) for text in line] for line in lines]

    def expected(part: pd.DataFrame, column: str = "drop") -> list[list[float]]:
        table = part[column].unstack().loc[benchmarks]
        return [table.mean().tolist(), *table.to_numpy().tolist()]

    assert found["start"] == "true"  # one layer: benchmarks and heads first
    assert found["layerNames"] == [f"mean of {len(benchmarks)} benchmarks", *benchmarks]
    for shown, real in zip(numbers(found["layer"]), expected(zero), strict=True):
        assert shown == pytest.approx(real, abs=0.056)
    assert found["gridNames"] == ["L0"]
    assert numbers(found["grid"])[0] == pytest.approx(expected(zero)[0], abs=0.056)
    assert numbers(found["gridSecond"])[0] == pytest.approx(expected(zero)[2], abs=0.056)
    assert sorted(found["listNames"]) == heads
    assert found["byWeight"] == sorted(found["byWeight"], reverse=True)
    assert found["byWeightUp"] == sorted(found["byWeight"])
    means = zero["drop"].unstack().mean()
    assert sorted(found["top"]) == sorted(f"L0H{head}" for head in means.nlargest(2).index)
    noise = zero["is_noise"].unstack().all()
    assert sorted(found["real"]) == [f"L0H{head}" for head in noise.index if not noise[head]]
    assert found["none"] == []
    row = zero.loc[(benchmarks[0], 0)]
    assert found["shown"] == "block"
    assert found["hidden"] == "none"
    assert f"L0H0, {benchmarks[0]}" in found["tip"]
    assert f"{row['ci_low']:+.1f} to {row['ci_high']:+.1f}" in found["tip"]
    assert found["label"].startswith(f"L0H0 on {benchmarks[0]}: ")
    assert found["moved"] == "1"
    assert found["noisy"] == zero["is_noise"].sum() + noise.sum()
    assert found["open"]
    assert "L0H1 under zero" in found["detail"]
    assert "Where it looks" in found["detail"]
    assert (found["looks"], found["frames"]) == (1, 2)
    counts = won_and_lost(root, "zero", "L0H1")
    assert found["summaries"] == [
        f"{name}: {len(won)} won, {len(lost)} lost of 64" for name, won, lost in counts
    ]
    shown = [
        [kind, *one]
        for _, won, lost in counts
        for kind, rows in (("won", won), ("lost", lost))
        for one in rows[:3]
    ]
    assert found["questions"] == shown
    assert {row[0] for row in shown} == {"won", "lost"}  # the chosen head has both
    assert found["closed"]
    other = drops[drops["intervention"] == "selection"].set_index(["benchmark", "head"])
    for shown, real in zip(numbers(found["selection"]), expected(other), strict=True):
        assert shown == pytest.approx(real, abs=0.056)
    for shown, real in zip(numbers(found["logprob"]), expected(other, "logprob_drop"), strict=True):
        assert shown == pytest.approx(real, abs=0.00056)
    assert found["dots"] == len(heads)
    rho = other["drop"].unstack().mean().corr(means, method="spearman")
    assert f"(Spearman): {rho:+.2f}" in found["compare"]
    assert found["down"] == sorted(found["down"], reverse=True)
    assert found["up"] == found["down"][::-1] or found["up"] == sorted(found["down"])
    assert found["images"]


def won_and_lost(root: str, name: str, head: str) -> list[tuple[str, list[Any], list[Any]]]:
    """Per benchmark the questions that a head wins and loses: question, right answer, with and without it."""
    paths, found = RunPaths(root), []
    for benchmark in ("toy", "pairs"):
        samples = pd.read_parquet(paths.samples("calibration", benchmark)).set_index("sample_id")
        with_it = pd.read_parquet(paths.scores(benchmark, name, "reference")).set_index("sample_id")
        without = pd.read_parquet(paths.scores(benchmark, name, head)).set_index("sample_id")
        won, lost = (
            [
                [
                    samples.question[key],
                    samples.references[key][0],
                    with_it.prediction[key],
                    without.prediction[key],
                ]
                for key in samples.index
                if with_it.score[key] == right and without.score[key] == 1 - right
            ]
            for right in (1, 0)
        )
        found.append((benchmark, won, lost))
    return found


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_head_without_score_files_says_so(made, tmp_path: Path) -> None:
    root, config = made
    shutil.copytree(root, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "scores" / "pairs")
    Path(RunPaths(tmp_path / "run").scores("toy", "zero", "L0H1")).unlink()
    path = make_report(config, str(tmp_path / "run"))
    script = """
      return [0, 1].map((h) => {
        document.querySelector(`button.head[data-head="${h}"]`).click();
        return document.querySelector(".questions").textContent;
      });
    """
    dom = in_browser(path, script, tmp_path)
    first, second = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom, re.DOTALL)[1]))
    assert "Not known for pairs: the score files are no longer in the run's folder." in first
    assert "toy: " in first
    assert "Not known for toy, pairs:" in second
    assert "toy: " not in second


def test_questions_shown_are_few_where_the_page_would_grow(made, monkeypatch: pytest.MonkeyPatch) -> None:
    root, config = made
    run = Run.read(config, root)
    run.answers = answers_of(run)
    full = explorer_data(run)["panels"][0]
    assert (full["most"], full["of_all"]) == (3, True)
    taken = {}
    for size in (3000, 2000, 1000, 100):
        monkeypatch.setattr("hawk.report.answers.BYTES", size)
        panel = explorer_data(run)["panels"][0]
        taken[size] = (panel["most"], panel["of_all"])
        assert (panel["won"], panel["lost"]) == (full["won"], full["lost"])  # numbers are of all
        kept = {key: panel[key] for key in ("asked", "said", "shown")}
        assert len(json.dumps(kept)) <= size or panel["most"] == 0
        if not panel["of_all"]:
            given = np.array([[cell != 0 for cell in line] for line in panel["shown"]])
            assert not np.array(panel["is_noise"])[given].any()
    assert taken[100] == (0, False)
    assert len(set(taken.values())) > 1


def test_all_commands_run_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(tmp_path / "run")
    with toy_benchmarks():
        config = write_run(root, make_config())
        monkeypatch.setattr("hawk.config.load.load_config", lambda source: json.loads(source))
        given = ["--config", json.dumps(config), "--run-dir", root]
        runner = CliRunner()
        for command, more in (
            (analysis.head_drops, ["--ablation", "zero"]),
            (analysis.head_drops, ["--ablation", "selection"]),
            (analysis.head_weights, ["--recipe", "zero"]),
            (analysis.head_weights, ["--recipe", "zero", "--subset", "without-toys"]),
            (analysis.make_tables, []),
            (analysis.make_figures, []),
            (analysis.make_report, []),
        ):
            done = runner.invoke(command, [*given, *more], catch_exceptions=False)
            assert done.exit_code == 0, done.output
        done = runner.invoke(tools.compare, given, catch_exceptions=False)
        assert max(map(len, done.output.splitlines())) <= 80
        assert "hawk-permuted" in done.output
        with pytest.raises(InputError, match="unknown benchmark"):
            runner.invoke(tools.compare, [*given, "--benchmark", "toys"], catch_exceptions=False)
        with pytest.raises(InputError, match="no folder"):
            runner.invoke(
                analysis.make_tables,
                ["--config", json.dumps(config), "--run-dir", "nowhere"],
                catch_exceptions=False,
            )
    paths = RunPaths(root)
    for path in (
        paths.drops("zero"),
        paths.stability("selection"),
        paths.head_weights("zero", "without-toys"),
        paths.report(),
        paths.figure("retention", "png"),
    ):
        assert Path(path).is_file(), path
    assert not list(tmp_path.rglob("*.lock"))
    assert not list(tmp_path.rglob("*.tmp"))


def test_importing_the_commands_imports_nothing_heavy() -> None:
    code = (
        "import sys, hawk.cli.analysis\n"
        "heavy = ('numpy', 'pandas', 'torch', 'matplotlib', 'pyarrow', 'scipy')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_steps_compute_on_one_thread() -> None:
    """Equal digests wherever they run, and no threads that wait for each other."""
    code = (
        "import os, hawk.cli.options as a\n"
        "a.compute_alone()\n"
        "print(os.environ['OPENBLAS_NUM_THREADS'], os.environ['OMP_NUM_THREADS'])"
    )
    given = {key: value for key, value in os.environ.items() if "NUM_THREADS" not in key}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=given)
    assert done.stdout.split() == ["1", "1"]


def test_script_json_cannot_end_its_element() -> None:
    text = report.script_json({"a": EVIL})
    assert "<" not in text
    assert json.loads(text) == {"a": EVIL}

"""Figures: what they show is looked up in the artists, not guessed from pixels."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from factories import drops_of, make_config, measure_drops, stability_of, toy_benchmarks, write_run  # tmp
from matplotlib.collections import LineCollection
from PIL import Image

from hawk.core.head_weights import HeadWeights
from hawk.core.paths import RunPaths
from hawk.report.dotplot import dot_plot
from hawk.report.figures.dots import dots_figure
from hawk.report.figures.drops import drop_heatmap
from hawk.report.figures.kept_tokens import KeptTokens, draw_kept_tokens, kept_token_panel
from hawk.report.figures.looks import looks
from hawk.report.figures.retention import retention_figure
from hawk.report.figures.style import style
from hawk.report.figures.weights import stability_figure, weight_bars
from hawk.report.tables import read_retention
from hawk.steps.head_weights import head_weights
from hawk.steps.make_figures import make_figures
from hawk.steps.make_tables import make_tables

NAMES = ["heatmap-selection", "heatmap-zero", "retention", "retention-benchmarks", "stability", "weights"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    root = str(tmp_path_factory.mktemp("run"))
    with toy_benchmarks():
        config = write_run(root, make_config())
        measure_drops(config, root)
        for intervention in ("zero", "selection"):
            head_weights(config, RunPaths(root), intervention)
        make_tables(config, root)
    return root, config


@pytest.fixture
def drops(made) -> pd.DataFrame:
    frame = drops_of(made[0])
    return frame[frame["intervention"] == "zero"]


def texts(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_all_figures_are_written_twice_alike(made) -> None:
    root, config = made
    paths = [Path(path) for path in make_figures(config, root)]
    assert sorted({path.stem for path in paths}) == NAMES
    assert sorted(path.suffix for path in paths) == [".png"] * 6 + [".svg"] * 6
    before = {path: path.read_bytes() for path in paths}
    make_figures(config, root)
    for path in paths:
        assert path.read_bytes() == before[path], path
    assert b"<dc:date>" not in before[next(path for path in paths if path.suffix == ".svg")]


def test_the_heatmap_prints_every_value_and_marks_noise(drops: pd.DataFrame) -> None:
    with style():
        figure = drop_heatmap(drops, "zero")
    axes = figure.axes[0]
    table = drops.pivot(index="head", columns="benchmark", values="drop")[["toy", "pairs"]]
    assert texts(figure) == [f"{value + 0.0:.1f}" for value in table.to_numpy().ravel().round(1)]
    np.testing.assert_allclose(axes.images[0].get_array(), table)
    (hatched,) = (patch for patch in axes.patches if patch.get_hatch())
    corners = hatched.get_path().to_polygons(closed_only=False)
    assert 0 < len(corners) == drops["is_noise"].sum() < len(drops)
    noise = drops.pivot(index="head", columns="benchmark", values="is_noise")[["toy", "pairs"]].to_numpy()
    cells = {tuple((square.min(axis=0) + 0.5).astype(int)[::-1].tolist()) for square in corners}
    assert cells == {tuple(map(int, one)) for one in np.argwhere(noise)}
    assert axes.images[0].norm.vmin == -axes.images[0].norm.vmax  # white is zero
    assert [label.get_text() for label in axes.get_yticklabels()] == ["L0H0", "L0H1", "L0H2", "L0H3"]


@pytest.mark.parametrize(("layers", "panels"), [(3, 3), (6, 1)])
def test_several_layers_are_panels_or_a_mean(drops: pd.DataFrame, layers: int, panels: int) -> None:
    frame = pd.concat([drops.assign(layer=layer, drop=drops["drop"] + layer) for layer in range(layers)])
    with style():
        figure = drop_heatmap(frame, "zero")
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert len(images) == panels
    if panels == 1:
        mean = frame.groupby(["layer", "head"])["drop"].mean().unstack()
        np.testing.assert_allclose(images[0].get_array(), mean)
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()][:2] == ["L0", "L1"]


def test_weights_stand_beside_their_null(made) -> None:
    root, _ = made
    paths = RunPaths(root)
    weights = {"zero": HeadWeights.load(paths.head_weights("zero"))}
    stability = {"zero": stability_of(root, "zero")}
    with style():
        axes = weight_bars(weights, stability).axes[0]
    grey, blue = axes.containers
    assert [bar.get_height() for bar in blue] == pytest.approx(list(weights["zero"].weights))
    null = stability["zero"]["head_null"]["min_shift"]
    assert [bar.get_y() for bar in grey] == pytest.approx(null["q025"])
    assert [bar.get_y() + bar.get_height() for bar in grey] == pytest.approx(null["q975"])
    inside = [
        low <= bar.get_height() <= high
        for bar, low, high in zip(blue, null["q025"], null["q975"], strict=True)
    ]
    assert [bool(bar.get_hatch()) for bar in blue] == inside
    assert len(set(inside)) == 2
    assert any(line.get_ydata()[0] == 0.25 for line in axes.lines)  # uniform over four heads


def test_weights_without_stability_are_still_drawn(made) -> None:
    weights = {"zero": HeadWeights.load(RunPaths(made[0]).head_weights("zero"))}
    with style():
        assert len(weight_bars(weights, {}).axes[0].containers) == 1


def test_stability_curves(made) -> None:
    stability = {"zero": stability_of(made[0], "zero")}
    with style():
        figure = stability_figure(stability)
    curve = stability["zero"]["split_half"]["benchmarks"]["toy"]["curve"]
    drawn = figure.axes[0].lines[0]
    assert drawn.get_xdata().tolist() == [point["samples"] for point in curve]
    assert drawn.get_ydata().tolist() == [point["correlation"] for point in curve]


def test_every_stability_curve_is_inside_its_axes(made) -> None:
    stability = {name: copy.deepcopy(stability_of(made[0], "zero")) for name in ("first", "last")}
    curve = stability["last"]["split_half"]["benchmarks"]["toy"]["curve"]
    curve[-1]["correlation"] = -0.7
    with style():
        figure = stability_figure(stability)
    assert [axes.get_ylim()[0] for axes in figure.axes] == [pytest.approx(-0.75)] * 2


def test_dots_are_the_tables_values_and_hollow_where_nothing_was_shown(made) -> None:
    frame, settings = read_retention(made[0])
    with style():
        figure = dots_figure(frame, settings["reference"])
    overall = frame[frame["benchmark"] == "overall"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == [f"{r} % removed" for r in (60, 80, 90)]
    names = [label.get_text().removesuffix(" (reference)") for label in figure.axes[0].get_yticklabels()]
    means = overall[overall["variant"].isin(names)].groupby("variant")["retention"].mean()
    assert names == means.sort_values(ascending=False).index.tolist()
    assert {"hawk-uniform", "random", "divprune"} < set(names)
    for axes, ratio in zip(figure.axes, ("0.6", "0.8", "0.9"), strict=True):
        rows = overall[overall["pruning_ratio"] == ratio].set_index("variant")
        assert len(axes.containers) == len(names)
        for name, drawn in zip(names, axes.containers, strict=True):
            row = rows.loc[name]
            assert drawn.lines[0].get_xdata().tolist() == [row["retention"]]
            (segment,) = drawn.lines[2][0].get_segments()
            assert segment[:, 0].tolist() == pytest.approx([row["ci_low"], row["ci_high"]])
            hollow = drawn.lines[0].get_markerfacecolor() == "white"
            assert hollow == (row["verdict"] == "—")
            assert drawn.lines[0].get_color() == looks(frame)[name][0]
        levels = [line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1]
        for name in ("blind", "hawk-uniform"):
            assert rows.loc[name, "retention"] in levels


def test_a_variant_looks_alike_in_all_figures(made) -> None:
    frame, settings = read_retention(made[0])
    look = looks(frame)
    page = dot_plot(frame, settings, 95)
    with style():
        lines = retention_figure(frame, ["toy"])
    for name, (colour, _) in look.items():
        drawn = next(one for one in lines.axes[0].containers if one.get_label() == name)
        assert drawn.lines[0].get_color() == colour
        title = f"{name} (reference)" if name == settings["reference"] else name
        row = page[page.index(f"</svg>{title}</span>") :].split('role="row"')[0]
        assert row.count(f"--c:{colour}") == 6  # a dot and an interval at three ratios
        assert row.count("--c:") == 6
    assert not {"blind", "baseline", "majority"} & set(look)
    many = pd.concat([frame.assign(variant=f"{i}", method="random") for i in range(14)])
    assert len({colour for colour, _ in looks(many).values()}) == 14


def test_the_plot_marks_the_floor_and_what_does_not_stop(made) -> None:
    frame, settings = read_retention(made[0])
    marked = frame.assign(at_floor=False)
    assert "‡" not in dot_plot(marked, settings, 95)
    chosen = (frame["benchmark"] == "overall") & (frame["variant"] == "random")
    marked["at_floor"] = (chosen & (frame["pruning_ratio"] == "0.9")).astype(object)
    marked.loc[chosen, "not_stopped"] = frame[chosen]["pruning_ratio"].map(
        {"0.6": 0.9, "0.8": 1.0, "0.9": 12.3}
    )
    page = dot_plot(marked, settings, 95)
    assert "‡ retains no more than always giving the most frequent answer: random." in page
    assert "† 1 % or more of the answers do not stop: random." in page
    cells = [cell.split("</span>")[0] for cell in page.split('class="value"')]
    assert [cell.endswith("†") for cell in cells].count(True) == 1  # at 80 % removed
    assert [cell.endswith("†‡") for cell in cells].count(True) == 1  # at 90 % removed


def test_the_plot_of_little(made) -> None:
    """One variant at one ratio without floor, ceiling or reference; and none at all."""
    frame, settings = read_retention(made[0])
    alone = frame[(frame["variant"] == "random") & (frame["pruning_ratio"] == "0.8")]
    page = dot_plot(alone, {**settings, "reference": None}, 95)
    assert page.count('class="spot"') == 1
    assert "floor" not in page
    assert dot_plot(frame[frame["method"] == "blind"], settings, 95) == ""
    assert dot_plot(alone.assign(retention=float("nan")), settings, 95) == ""


def test_the_ceiling_is_drawn_apart_from_the_variants(made) -> None:
    frame, _ = read_retention(made[0])
    told = frame.replace({"variant": {"divprune": "told"}, "method": {"divprune": "oracle"}})
    with style():
        figure = retention_figure(told, ["overall"])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "told (ceiling)" in labels
    axes = figure.axes[0]
    (line,) = [line for line in axes.lines if line.get_label() == "told (ceiling)"]
    rows = told[(told["variant"] == "told") & (told["benchmark"] == "overall")]
    assert line.get_ydata().tolist() == rows["retention"].tolist()
    assert line.get_xdata().tolist() == pytest.approx([60.0, 80.0, 90.0])
    assert "told" not in [one.get_label() for one in axes.containers]
    assert "random" in [one.get_label() for one in axes.containers]


def test_retention_shows_every_variant_with_floor_and_majority(made) -> None:
    frame, _ = read_retention(made[0])
    with style():
        figure = retention_figure(frame, ["overall"])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(labels) == sorted(
        [
            "hawk-zero",
            "hawk-uniform",
            "hawk-permuted",
            "random",
            "divprune",
            "blind (floor)",
            "majority answer",
        ]
    )
    axes = figure.axes[0]
    rows = frame[(frame["variant"] == "random") & (frame["benchmark"] == "overall")]
    drawn = next(one for one in axes.containers if one.get_label() == "random")
    assert drawn.lines[0].get_ydata().tolist() == rows["retention"].tolist()
    # Errors reach from ci_low to ci_high.
    segments = drawn.lines[2][0].get_segments()
    assert [one[0][1] for one in segments] == pytest.approx(rows["ci_low"].tolist())
    assert [one[1][1] for one in segments] == pytest.approx(rows["ci_high"].tolist())
    levels = [line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1]
    for name in ("blind", "majority"):
        value = frame[(frame["variant"] == name) & (frame["benchmark"] == "overall")]["retention"].iloc[0]
        assert value in levels
    # Legend: best at the largest ratio on top.
    last = frame[(frame["benchmark"] == "overall") & (frame["pruning_ratio"] == "0.9")]
    last = last.set_index("variant")["retention"]
    shown = [last[label] for label in labels if label in last.index]
    assert shown == sorted(shown, reverse=True)


def test_one_panel_per_benchmark_and_many_variants(made) -> None:
    frame, _ = read_retention(made[0])
    more = [frame]
    for i in range(12):
        part = frame[frame["variant"] == "divprune"].assign(variant=f"other-{i}")
        more.append(part.assign(retention=part["retention"] - i))
    with style():
        figure = retention_figure(pd.concat(more), ["toy", "pairs"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["toy", "pairs"]
    looks = {(one.lines[0].get_color(), one.lines[0].get_marker()) for one in figure.axes[0].containers}
    assert len(looks) == 17  # nobody looks like another


def test_kept_tokens_keep_their_pixels_and_the_others_fade() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, size=(40, 60, 3), dtype=np.uint8)
    with style():
        figure = draw_kept_tokens(Image.fromarray(pixels), 4, 6, [0, 13], "two tokens")
    shown = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown[:10, :10], pixels[:10, :10] / 255)
    np.testing.assert_allclose(shown[20:30, 10:20], pixels[20:30, 10:20] / 255)
    other = shown[:10, 10:20]
    assert np.ptp(other, axis=2).max() < 1e-12  # grey
    assert other.min() > 0.5
    lines = next(one for one in figure.axes[0].collections if isinstance(one, LineCollection))
    assert len(lines.get_segments()) == 8  # two separate squares


def test_neighbouring_kept_tokens_share_one_outline() -> None:
    image = Image.new("RGB", (20, 20))
    with style():
        figure = draw_kept_tokens(image, 2, 2, [0, 1])
    assert len(figure.axes[0].collections[0].get_segments()) == 6
    with pytest.raises(ValueError, match="outside a grid of 2 x 2"):
        draw_kept_tokens(image, 2, 2, [4])


def test_the_panel_has_a_column_per_variant() -> None:
    image = Image.new("RGB", (40, 20))
    entries = [
        KeptTokens(image, 2, 4, {"hawk": [0, 1], "random": [5]}, "What is $this$?"),
        KeptTokens(image, 2, 4, {"hawk": [2]}, "And this?", {"hawk": "a dog"}),
    ]
    with style():
        figure = kept_token_panel(entries)
        figure.canvas.draw()  # a dollar sign in a question is no formula
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[1] == "hawk\n2 of 8"
    assert titles[2] == "random\n1 of 8"
    assert titles[4] == "a dog"
    assert titles[5] == ""

import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image

from stormcell.errors import OutputError
from stormcell.forecast.contract import forecast_array
from stormcell.verification import figures, report
from stormcell.verification.case_study import case, case_figure, most_rain
from stormcell.verification.evaluate import evaluate
from stormcell.verification.tables import Cell, view

FILES = {"scores.json", "report.html", "lead_time.png", "case.png", "animation.gif"}


class Page(HTMLParser):
    """Every tag in its place, and everything a page asks for from elsewhere."""

    def __init__(self):
        super().__init__()
        self.open, self.elsewhere, self.text, self.images = [], [], [], 0

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br", "link", "hr"):
            self.open.append(tag)
        self.images += tag == "img"
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data") and not value.startswith("data:"):
                self.elsewhere.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_writes_its_files_and_no_other(written):
    folder, _ = written
    assert {path.name for path in folder.iterdir()} == FILES


def test_the_scores_are_those_of_the_evaluation_with_the_warning(written):
    folder, evaluation = written
    found = json.loads((folder / "scores.json").read_text())
    assert found["seer"]["about"].pop("overlap_with_training") == "It has seen it."
    assert found == json.loads(json.dumps(evaluation.to_scores()))


def test_the_page_is_well_formed_and_needs_nothing_but_itself(written):
    folder, _ = written
    html = (folder / "report.html").read_text()
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    assert page.elsewhere == []
    assert page.images == 3
    assert html.startswith("<!DOCTYPE html>")
    for foreign in ("@import", "url(", "<script", "<link"):
        assert foreign not in html
    text = " ".join(page.text)
    assert "It has seen it." in text
    assert "Somebody's radar, CC BY 4.0" in text
    assert "<b>seer</b>" in text  # a name is text, not markup
    assert "ConvLSTM" in text


def test_the_numbers_of_the_page_are_those_of_the_scores(written):
    folder, evaluation = written
    page = Page()
    page.feed((folder / "report.html").read_text())
    cells = [part.strip() for part in page.text if part.strip()]
    found = evaluation.to_scores()["persistence"]
    start = cells.index("Critical success index")
    row = cells.index("persistence", start)
    assert cells[row + 1 : row + 7] == [f"{np.mean(values):.3f}" for values in found["csi"].values()]
    assert str(found["n_events"]["0.1"][0]) in [cell.replace("\u202f", "") for cell in cells]


def test_the_pictures_open(written):
    folder, _ = written
    for name in ("lead_time.png", "case.png"):
        with Image.open(folder / name) as picture:
            assert picture.width >= 900
    with Image.open(folder / "animation.gif") as animation:
        assert animation.n_frames == 4  # the issue time and three lead times
        assert animation.info["loop"] == 0


def test_a_folder_that_cannot_be_made_is_named(written, rain, forecasters, tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(OutputError, match="taken/report: could not be created"):
        report.write(tmp_path / "taken" / "report", written[1], rain=rain, forecasters=forecasters)


@pytest.mark.parametrize(
    ("steps", "drawn"), [(1, [5]), (2, [5, 10]), (3, [5, 10, 15]), (12, [15, 30, 45, 60])]
)
def test_a_case_is_drawn_at_up_to_four_lead_times_the_last_among_them(rain, forecasters, steps, drawn):
    figure = case_figure(case(rain, forecasters, rain.time.values[2], steps))
    labels = [ax.get_ylabel().split(" min")[0] for ax in figure.axes if ax.get_ylabel()]
    assert labels == [f"+{lead}" for lead in drawn]


def test_a_case_reads_no_frame_but_the_newest_and_the_truth(rain):
    read = []

    class Lazy(xr.backends.BackendArray):
        shape, dtype = rain.shape, rain.dtype

        def __getitem__(self, key):
            read.extend(np.atleast_1d(np.arange(12)[key.tuple[0]]))
            return rain.values[key.tuple]

    lazy = xr.Variable(rain.dims, xr.core.indexing.LazilyIndexedArray(Lazy()))
    silent = {"dry": lambda frames, steps: forecast_array(np.zeros((steps, 24, 20), np.float32), frames)}
    case(xr.DataArray(lazy, rain.coords), silent, rain.time.values[8], 2)
    assert sorted(read) == [8, 9, 10]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["runs/a/model.safetensors", "sprog"], ["ConvLSTM", "sprog"]),
        (["a/x/model.safetensors", "b/y/model.safetensors"], ["ConvLSTM x", "ConvLSTM y"]),
        (["model.safetensors", "b/model.safetensors"], ["ConvLSTM", "ConvLSTM b"]),
        # What a short name cannot tell apart keeps the long one.
        (["a/x/m.safetensors", "b/x/m.safetensors"], ["a/x/m.safetensors", "b/x/m.safetensors"]),
        (["x/m.safetensors", "x/n.safetensors"], ["x/m.safetensors", "x/n.safetensors"]),
        (["x/m.safetensors", "ConvLSTM"], ["x/m.safetensors", "ConvLSTM"]),
    ],
)
def test_models_are_called_by_what_they_are_and_told_apart_by_their_run(names, shown):
    assert figures.labels(names) == dict(zip(names, shown, strict=True))


def test_a_mean_that_leaves_out_lead_times_is_starred_and_not_the_best(written):
    found = written[1].to_scores()
    first, second, third = (found[name] for name in ("<b>seer</b>", "persistence", "seer"))
    for score, values in ((first, [0.9, None, 0.8]), (second, [0.2, 0.3, 0.4]), (third, [None] * 3)):
        score["csi"]["1.0"] = values
    table = view(found)["means"][0]
    column = table.columns.index("≥ 1")
    cells = {name: row[column] for name, row in table.rows.items()}
    assert cells["<b>seer</b>"] == Cell("0.850*")
    assert cells["persistence"].text == "0.300"
    assert cells["seer"] == Cell("–")


def test_of_means_that_leave_out_as_many_the_best_is_marked(written):
    found = written[1].to_scores()
    for score in found.values():
        score["csi"]["1.0"] = [None, 0.1, 0.2]
    found["seer"]["csi"]["1.0"] = [None, 0.3, 0.4]
    table = view(found)["means"][0]
    column = table.columns.index("≥ 1")
    assert {name for name, row in table.rows.items() if row[column].best} == {"seer"}


def test_the_case_is_the_one_with_most_rain(rain, forecasters):
    rain[7:10] = 30.0  # everywhere
    evaluation = evaluate(rain, forecasters, issue_times=rain.time.values[2:9], steps=3)
    assert most_rain(evaluation) == rain.time.values[6]


def test_a_case_without_rain_or_truth_is_drawn(rain, forecasters):
    dry = rain.where(rain.isnull(), 0)
    shown = case(dry, forecasters, dry.time.values[-1], 2)
    assert np.isnan(shown.observed).all()
    assert Image.open(io.BytesIO(figures.png(case_figure(shown)))).width >= 900


def test_colours_tell_dry_from_unobserved_and_one_level_from_the_next():
    rates = [np.nan, 0.0, 0.09, *figures.LEVELS, 500.0]
    colours = [figures.RAIN_COLOURS(figures.RAIN_NORM(np.ma.masked_invalid([rate])))[0] for rate in rates]
    shades = [tuple(np.round(colour, 3)) for colour in colours]
    assert shades[1] == shades[2]  # both dry
    assert shades[-1] == shades[-2]  # beyond the scale
    assert len(set(shades)) == len(shades) - 2


def test_the_first_row_is_drawn_at_the_top():
    figure = Figure(figsize=(2, 2), dpi=50)
    ax = figure.add_axes((0, 0, 1, 1))
    rate = np.zeros((10, 10), np.float32)
    rate[0] = 30
    figures.rain_map(ax, rate, (1.0, 1.0))
    pixels = np.asarray(Image.open(io.BytesIO(figures.png(figure))).convert("RGB"), int)
    red = pixels[..., 0] - pixels[..., 2] > 100
    assert red[3:7].mean() > 0.9
    assert not red[15:].any()


def test_averaging_for_the_screen_keeps_to_observed_pixels():
    rate = np.array([[1, 3, np.nan, np.nan], [np.nan, 5, np.nan, np.nan], [9, 9, 9, 9]], np.float32)
    np.testing.assert_array_equal(figures._averaged(rate, 2), [[3, np.nan]])

import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from stormcell.verification import figures, report
from stormcell.verification.case import case, case_figure, most_rain
from stormcell.verification.evaluate import evaluate

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


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_no_rest(written, monkeypatch):
    folder, _ = written
    before = (folder / "report.html").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report.os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        report._write(folder / "report.html", b"half")
    assert (folder / "report.html").read_bytes() == before
    assert {path.name for path in folder.iterdir()} == FILES


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

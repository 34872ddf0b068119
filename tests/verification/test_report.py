import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from stormcell.errors import OutputError
from stormcell.verification import figures, report
from stormcell.verification.case_study import Case, animation, case_figure, close_up_leads
from stormcell.verification.curves import lead_time_figure
from stormcell.verification.evaluate import evaluate
from stormcell.verification.evaluation import labels
from stormcell.verification.scores import SCORES, Score, ratio
from stormcell.verification.tables import Entry, view

FILES = {"scores.json", "report.html", "lead_time.png", "case.png", "animation.gif", "tallies.safetensors"}


class Page(HTMLParser):
    """A parser that checks the nesting of tags and lists external addresses."""

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


def test_report_write_creates_its_files_and_no_others(written):
    folder, _ = written
    assert {path.name for path in folder.iterdir()} == FILES


def test_report_removes_the_pictures_of_an_earlier_one_that_had_more(written, tmp_path):
    earlier = ["probabilities.png", "case_probabilities.png", "ensembles.png", "case_members.png", "own.png"]
    for name in earlier:
        (tmp_path / name).touch()
    report.write(tmp_path, written[1])
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, "own.png"}


def test_report_scores_are_those_of_the_evaluation(written):
    folder, evaluation = written
    found = json.loads((folder / "scores.json").read_text())
    assert "train block" in found["seer"]["about"]["overlap_with_training"]
    assert found["persistence"]["about"]["notes"] == ["Everything is scored."]
    assert found == json.loads(json.dumps(evaluation.to_scores()))


def test_report_page_is_well_formed_and_self_contained(written):
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
    assert "The training of seer used times that are scored here: train block" in text
    assert "Everything is scored." in text
    assert "Somebody's radar, CC BY 4.0" in text
    assert "<b>seer</b>" in text  # a name is text, not markup
    assert "The seer" in text


def test_report_page_has_the_numbers_of_the_scores(written):
    folder, evaluation = written
    page = Page()
    page.feed((folder / "report.html").read_text())
    cells = [part.strip() for part in page.text if part.strip()]
    found = evaluation.to_scores()["persistence"]
    start = cells.index("Critical success index")
    row = cells.index("persistence", start)
    assert cells[row + 1 : row + 7] == [f"{np.mean(values):.3f}" for values in found["csi"].values()]
    assert str(found["n_events"]["0.1"][0]) in [cell.replace("\u202f", "") for cell in cells]


def test_report_pictures_are_readable(written):
    folder, _ = written
    for name in ("lead_time.png", "case.png"):
        with Image.open(folder / name) as picture:
            assert picture.width >= 900
    with Image.open(folder / "animation.gif") as animation:
        assert animation.n_frames == 4  # the issue time and three lead times
        assert animation.info["loop"] == 0


def test_animation_shows_the_rain_of_each_time():
    generator = np.random.default_rng(0)
    newest, *observed = generator.gamma(0.5, 5.0, (4, 30, 30)).astype(np.float32)
    times = np.datetime64("2024-06-01T00:00", "ns") + np.arange(4) * np.timedelta64(5, "m")
    still = np.stack([newest] * 3)
    case = Case.of(
        times[0], times[1:], newest, np.stack(observed), {"still": still, "twice": 2 * still}, pixel_km=(1, 1)
    )
    with Image.open(io.BytesIO(animation(case, {"still": "still", "twice": "twice"}))) as film:
        stills = np.stack([np.array(one.convert("RGB")) for one in ImageSequence.Iterator(film)])
    _, height, width, _ = stills.shape
    maps = np.split(stills[:, height // 3 : height // 2, : width // 3 * 3], 3, axis=2)  # side by side
    changes = [(of_one[:-1] != of_one[1:]).any(axis=(1, 2, 3)).tolist() for of_one in maps]
    assert changes == [[True, True, True], [False, False, False], [True, False, False]]


def test_report_write_to_an_impossible_folder_raises(written, tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(OutputError, match="taken/report: could not be created"):
        report.write(tmp_path / "taken" / "report", written[1])


@pytest.mark.parametrize(
    ("steps", "drawn"),
    [(1, [5]), (2, [5, 10]), (3, [5, 10, 15]), (8, [10, 20, 30, 40]), (12, [15, 25, 35, 45])],
)
def test_case_figure_has_up_to_four_lead_times_and_the_last(rain, forecasters, steps, drawn):
    """Observations end 45 minutes after the issue time."""
    evaluation = evaluate(rain, forecasters, issue_times=rain.time.values[2:3], steps=steps)
    figure = case_figure(evaluation.case, evaluation.titles)
    labels = [ax.get_ylabel().split(" min")[0] for ax in figure.axes if ax.get_ylabel()]
    assert labels == [f"+{lead}" for lead in drawn]


def test_close_up_shows_lead_times_that_were_observed():
    observed = np.full((12, 3, 4), np.nan, np.float32)
    assert close_up_leads(observed) == [2, 5, 8, 11]
    observed[[1, 4, 6], 2, 3] = 0.0
    assert close_up_leads(observed) == [1, 4, 6]
    observed[8:10] = 1.0
    assert close_up_leads(observed) == [4, 6, 8, 9]


def test_case_of_a_large_grid_is_no_larger_than_its_pictures():
    shape = (2, 1300, 900)
    rate = np.random.default_rng(0).random(shape, np.float32)
    times = np.array(["2024-06-01T00:05", "2024-06-01T00:10"], "datetime64[ns]")
    ensemble = np.stack([rate, rate + 2])
    case = Case.of(times[0], times, rate[0], rate, {"it": ensemble}, pixel_km=(1.0, 2.0))
    assert case.whole.observed.shape == case.whole.forecasts["it"].shape == (2, 433, 300)
    assert case.newest.shape == (433, 300)
    assert case.whole.size_km == (1300, 1800)
    assert case.close_up.observed.shape == (2, 320, 160)
    assert case.close_up.size_km == (320, 320)
    # Each value is a rounded mean of nine.
    expected = rate[:, :3, :3].mean(axis=(1, 2))
    np.testing.assert_allclose(case.whole.observed[:, 0, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(case.whole.forecasts["it"][:, 0, 0], expected + 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("titles", "expected"),
    [
        ({"runs/a/model.safetensors": "ConvLSTM", "sprog": "S-PROG"}, ["ConvLSTM", "S-PROG"]),
        ({"a/x/m.safetensors": "ConvLSTM", "b/y/m.safetensors": "ConvLSTM"}, ["ConvLSTM x", "ConvLSTM y"]),
        ({"m.safetensors": "ConvLSTM", "b/m.safetensors": "ConvLSTM"}, ["ConvLSTM", "ConvLSTM b"]),
        # If titles and folders are equal, the names remain.
        ({"a/x/m": "ConvLSTM", "b/x/m": "ConvLSTM"}, ["a/x/m", "b/x/m"]),
        ({"x/m": "ConvLSTM", "x/n": "ConvLSTM"}, ["x/m", "x/n"]),
    ],
)
def test_labels_are_titles_and_folders_of_equal_titles(titles, expected):
    assert list(labels(titles).values()) == expected


def test_tables_mean_with_undefined_lead_times_has_a_star_and_is_not_the_best(written):
    found = written[1].to_scores()
    first, second, third = (found[name] for name in ("<b>seer</b>", "persistence", "seer"))
    for score, values in ((first, [0.9, None, 0.8]), (second, [0.2, 0.3, 0.4]), (third, [None] * 3)):
        score["csi"]["1.0"] = values
    table = view(found)["means"][0]
    column = table.columns.index("≥ 1")
    cells = {name: row[column] for name, row in table.rows.items()}
    assert cells["<b>seer</b>"] == Entry("0.850*")
    assert cells["persistence"].text == "0.300"
    assert cells["seer"] == Entry("–")


def test_tables_best_of_means_with_equally_many_undefined_lead_times_is_marked(written):
    found = written[1].to_scores()
    for score in found.values():
        score["csi"]["1.0"] = [None, 0.1, 0.2]
    found["seer"]["csi"]["1.0"] = [None, 0.3, 0.4]
    table = view(found)["means"][0]
    column = table.columns.index("≥ 1")
    assert {name for name, row in table.rows.items() if row[column].best} == {"seer"}


def test_evaluate_case_is_followed_by_the_most_rain(rain, forecasters):
    rain[7:10] = 30.0  # everywhere
    evaluation = evaluate(rain, forecasters, issue_times=rain.time.values[2:9], steps=3)
    assert evaluation.case.issue_time == rain.time.values[6]
    halves = [
        evaluate(rain, forecasters, issue_times=rain.time.values[part], steps=3)
        for part in (slice(5, 9), slice(2, 5))
    ]
    assert (halves[0] + halves[1]).case is halves[0].case
    assert (halves[1] + halves[0]).case is halves[0].case


def test_case_figure_without_rain_or_observation_is_drawn(rain, forecasters):
    dry = rain.where(rain.isnull(), 0)
    evaluation = evaluate(dry, forecasters, issue_times=dry.time.values[-1:], steps=2)
    assert np.isnan(evaluation.case.whole.observed).all()
    figure = case_figure(evaluation.case, evaluation.titles)
    assert Image.open(io.BytesIO(figures.png(figure))).width >= 900


def test_rain_colours_differ_between_levels_and_from_dry_and_unobserved():
    rates = [np.nan, 0.0, 0.09, *figures.LEVELS, 500.0]
    colours = [figures.RAIN_COLOURS(figures.RAIN_NORM(np.ma.masked_invalid([rate])))[0] for rate in rates]
    shades = [tuple(np.round(colour, 3)) for colour in colours]
    assert shades[1] == shades[2]  # both dry
    assert shades[-1] == shades[-2]  # beyond the scale
    assert len(set(shades)) == len(shades) - 2


def test_rain_map_draws_the_first_row_at_the_top():
    figure = Figure(figsize=(2, 2), dpi=50)
    ax = figure.add_axes((0, 0, 1, 1))
    rate = np.zeros((10, 10), np.float32)
    rate[0] = 30
    figures.rain_map(ax, rate, (10.0, 10.0))
    pixels = np.asarray(Image.open(io.BytesIO(figures.png(figure))).convert("RGB"), int)
    red = pixels[..., 0] - pixels[..., 2] > 100
    assert red[3:7].mean() > 0.9
    assert not red[15:].any()


def test_average_is_over_observed_pixels():
    rate = np.array([[1, 3, np.nan, np.nan], [np.nan, 5, np.nan, np.nan], [9, 9, 9, 9]], np.float32)
    np.testing.assert_array_equal(figures.average(rate, 2), [[3, np.nan]])
    np.testing.assert_array_equal(figures.average(figures.average(rate, 2), 2), [[3, np.nan]])


def test_scores_new_entry_is_in_the_file_the_tables_and_the_curves(written, monkeypatch):
    def share_correct(tally):
        correct = tally.total("hits") + tally.total("correct_negatives")
        return ratio(correct, tally.total("pixels")[:, None])

    entry = Score("Share correct", "SC", ("lead", "threshold"), "highest", share_correct, drawn=(("1.0",),))
    monkeypatch.setitem(SCORES, "share_correct", entry)
    found = written[1].to_scores()
    assert len(found["seer"]["share_correct"]["1.0"]) == 3
    assert "Share correct" in [table.title for table in view(found)["means"]]
    titles = [ax.get_title(loc="left") for ax in lead_time_figure(found).axes]
    assert "SC, ≥ 1 mm/h" in titles


CREDITS = [
    "Source: Royal Netherlands Meteorological Institute (KNMI); modified. CC-BY-4.0",
    "Source: an institute with a long name, its partners and all who lent their radars; modified. " * 4,
]


@pytest.mark.parametrize("credit", CREDITS, ids=["short", "long"])
@pytest.mark.parametrize("kind", ["case", "curves"])
def test_figures_credit_overlaps_nothing_and_is_inside_the_figure(written, kind, credit):
    _, evaluation = written
    if kind == "case":
        figure = case_figure(evaluation.case, evaluation.titles, credit=credit)
    else:
        figure = lead_time_figure(evaluation.to_scores(), credit=credit)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    lines = figures.credit_lines(credit, figure.get_size_inches()[0])
    assert " ".join(lines) == credit.strip()
    written_lines = [text for text in figure.texts if text.get_text() in lines]
    assert len(written_lines) == len(lines)
    for text in written_lines:
        box = text.get_window_extent(canvas.get_renderer())
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert 0 <= box.y0 < box.y1
        # With tick labels, titles and notes.
        others = [ax.get_tightbbox(canvas.get_renderer()) for ax in figure.axes if ax.axison]
        others += [
            other.get_window_extent(canvas.get_renderer()) for other in figure.texts if other is not text
        ]
        assert not any(box.overlaps(other) for other in others)


@pytest.mark.parametrize(
    ("source", "expected"),
    [("An institute; modified.", "An institute; modified. CC-BY-4.0"), ("a model", "a model, CC-BY-4.0")],
)
def test_evaluate_credit_joins_source_and_license(rain, forecasters, source, expected):
    rain = rain.assign_attrs(source=source, license="CC-BY-4.0")
    found = evaluate(rain, forecasters, issue_times=rain.time.values[3:4], steps=1)
    assert found.credit == expected

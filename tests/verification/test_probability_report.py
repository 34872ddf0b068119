"""The report of probabilities and ensembles: its files, figures, tables, and what is kept of the case."""

import io
import json

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from tests.verification.fakes import Blurred, OfMembers

from stormcell.verification import figures, report
from stormcell.verification.case_study import Case
from stormcell.verification.close_up import CloseUp, members_figure, moderate, probability_figure
from stormcell.verification.curves import lead_time_figure
from stormcell.verification.evaluate import evaluate
from stormcell.verification.probability_figures import ensembles_figure, probabilities_figure
from stormcell.verification.products import LeadProducts
from stormcell.verification.saved_evaluation import from_bytes, merge, to_bytes
from stormcell.verification.tables import view


@pytest.fixture(scope="module")
def evaluation(forecasters_of, rain_of):
    rain = rain_of()
    rain = rain.assign_coords(time=rain.time.values[0] + np.arange(12) * np.timedelta64(60, "m"))
    rain.attrs |= {"source": "Somebody's radar", "license": "CC BY 4.0"}
    compared = {name: one for name, one in forecasters_of(rain).items() if name != "seer"}
    compared |= {"both": Blurred(), "members": Blurred(distribution=False)}
    return evaluate(rain, compared, issue_times=rain.time.values[2:11], steps=1, members=4)


@pytest.fixture(scope="module")
def reported(evaluation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    report.write(folder, evaluation, reference="persistence")
    return folder


def test_report_with_probabilities_has_further_pictures_on_its_page(reported):
    further = {"probabilities.png", "ensembles.png", "case_probabilities.png", "case_members.png"}
    assert further <= {path.name for path in reported.iterdir()}
    page = (reported / "report.html").read_text()
    assert page.count("data:image/") == 7
    for name in further:
        with Image.open(reported / name) as picture:
            assert picture.width >= 900


def test_report_page_compares_with_the_reference_and_gives_intervals(reported, evaluation):
    page = (reported / "report.html").read_text()
    assert "Compared with persistence" in page
    assert "Bands are 95 % intervals." in page
    found = json.loads((reported / "scores.json").read_text())
    leaf = found["both"]["against_reference"]["skill"]["crps"]
    expected = f"{leaf['mean']:.3f} ({leaf['mean_low']:.3f} to {leaf['mean_high']:.3f})"
    assert expected in page
    table = view(found)["compared"]
    assert table.rows["both"][table.columns.index("CRPS skill")].text == expected
    assert "persistence" not in table.rows
    assert found == json.loads(json.dumps(evaluation.to_scores(reference="persistence")))


def test_report_page_without_reference_has_no_comparison(evaluation, tmp_path):
    report.write(tmp_path, evaluation)
    assert "Compared with" not in (tmp_path / "report.html").read_text()


def test_report_of_merged_tallies_with_ensembles_equals_the_first(reported, tmp_path):
    report.write(tmp_path, merge([reported]), reference="persistence")
    for path in reported.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_saved_evaluation_keeps_the_probabilities_and_members_of_the_case(evaluation):
    found, _ = from_bytes(to_bytes(evaluation), "it")
    for kind in ("probabilities", "members"):
        before, after = (getattr(one.case, kind) for one in (evaluation, found))
        assert list(before) == list(after) == ["both", "members"]
        for name, field in before.items():
            np.testing.assert_array_equal(field, after[name])


def test_close_up_takes_probabilities_and_three_members_of_the_lead_times_that_are_shown():
    generator = np.random.default_rng(0)
    members = generator.gamma(0.5, 3.0, (5, 6, 20, 30)).astype(np.float32)
    members[2, :, 0] = np.nan
    observation = generator.gamma(0.5, 3.0, (6, 20, 30)).astype(np.float32)
    close_up = CloseUp(observation, (0.5, 2.0, 5.0), (1.0, 1.0))
    case = report_case(observation)
    for lead in range(6):
        probabilities = OfMembers(members[:, lead]).probability((0.5, 2.0, 5.0))
        close_up.add(
            lead,
            {
                "members": LeadProducts(members[0, lead], members[:, lead]),
                "both": LeadProducts(members[0, lead], members[:, lead], probabilities, members[0, lead]),
                "single": LeadProducts(members[0, lead]),
            },
        )
    found = close_up.added_to(case)
    assert found.threshold == 0.5  # nearest to 1 mm/h by ratio, and the first of two
    leads = list(found.close_up.leads)
    assert list(found.members) == list(found.probabilities) == ["members", "both"]
    np.testing.assert_array_equal(found.members["both"], members[:3, leads])
    expected = (members[:, leads] >= 0.5).mean(axis=0).astype(np.float32)
    expected[:, 0] = np.nan
    for name in ("members", "both"):
        np.testing.assert_array_equal(found.probabilities[name], expected)


def report_case(observation):
    times = np.datetime64("2024-06-01T00:05", "ns") + np.arange(6) * np.timedelta64(5, "m")
    forecasts = dict.fromkeys(("single", "members", "both"), observation)
    return Case.of(times[0], times, observation[0], observation, forecasts, pixel_km=(1.0, 1.0))


def test_moderate_is_the_threshold_nearest_to_one_by_ratio():
    assert [moderate(values) for values in ((0.1, 1.0, 5.0), (0.1, 3.0), (4.0, 0.2))] == [1, 1, 0]


def test_probabilities_figure_draws_the_pooled_reliability_and_roc(evaluation):
    found = evaluation.to_scores()
    figure = probabilities_figure(found)
    axes = {ax.get_title(loc="left"): ax for ax in figure.axes}
    lines = {
        line.get_zorder(): line for line in axes["reliability, ≥ 1 mm/h"].lines if line.get_linestyle() == "-"
    }
    position = list(found).index("members")
    tally = evaluation.strict["members"]
    pixels, events, total = (
        tally.total(f"class_{kind}")[0, 2] for kind in ("pixels", "events", "probability")
    )
    some = pixels >= 100
    np.testing.assert_allclose(lines[20 - position].get_xdata(), (total / np.maximum(pixels, 1))[some])
    np.testing.assert_allclose(lines[20 - position].get_ydata(), (events / np.maximum(pixels, 1))[some])
    roc = {line.get_zorder(): line for line in axes["ROC, ≥ 1 mm/h"].lines}
    pod = np.append(found["members"]["roc_pod"]["1.0"]["0-0.001"], 0)
    assert roc[20 - position].get_ydata()[0] == pod[0] == 1
    area = -np.trapezoid(roc[20 - position].get_ydata(), roc[20 - position].get_xdata())
    assert area == pytest.approx(found["members"]["roc_area"]["1.0"][0], rel=1e-9)
    single = roc[20 - list(found).index("persistence")]
    assert single.get_ydata() == pytest.approx(found["persistence"]["pod"]["1.0"], rel=1e-12)


def test_ensembles_figure_draws_a_histogram_of_each_ensemble_and_spread_and_error(evaluation):
    found = evaluation.to_scores()
    figure = ensembles_figure(found)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["ranks, both", "ranks, members", "spread and error, mm/h"]
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    ranks = evaluation.strict["members"].total("ranks")[0]
    np.testing.assert_allclose(heights, ranks / ranks.sum() * 5)
    error, spread = figure.axes[2].lines[2:4]
    assert error.get_ydata() == pytest.approx(found["members"]["ensemble_rmse"])
    assert spread.get_ydata() == pytest.approx(found["members"]["spread"])
    highest = max(line.get_ydata().max() for line in figure.axes[2].lines)
    assert figure.axes[2].get_ylim() == pytest.approx((0, 1.05 * highest))


def test_lead_time_figure_has_panels_of_ensembles_only_where_there_are_some(evaluation):
    found = evaluation.to_scores()
    titles = [ax.get_title(loc="left") for ax in lead_time_figure(found).axes]
    assert "spread / error" in titles
    for scores in found.values():
        scores["spread_error"] = [None] * len(scores["lead_minutes"])
    figure = lead_time_figure(found)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert "spread / error" not in titles
    assert sum(ax.get_xlabel() == "lead time, min" for ax in figure.axes) == 3  # below each column


def test_lead_time_figure_has_curves_below_their_titles(evaluation):
    found = evaluation.to_scores()
    for scores in found.values():
        scores["intervals"]["roc_area"] = {key: {"low": [0.93], "high": [0.99]} for key in scores["roc_area"]}
    (ax,) = (ax for ax in lead_time_figure(found).axes if ax.get_title(loc="left").startswith("ROC area"))
    assert ax.get_ylim() == pytest.approx((0, 1.05 * 0.99))


def test_lead_time_figure_has_bands_of_intervals_once_for_equal_curves(evaluation):
    found = evaluation.to_scores()
    ax = {ax.get_title(loc="left"): ax for ax in lead_time_figure(found).axes}["MAE, mm/h"]
    assert len(ax.lines) == 4
    assert len(ax.collections) == 2  # both ensembles have the single forecast of persistence
    low, high = ax.collections[0].get_paths()[0].get_extents().intervaly
    leaf = found["persistence"]["intervals"]["mae"]
    assert (low, high) == pytest.approx((leaf["low"][0], leaf["high"][0]))


@pytest.mark.parametrize("draw", [probability_figure, members_figure])
def test_case_figures_show_a_map_for_each_place_and_a_scale_with_its_unit(evaluation, draw):
    figure = draw(evaluation.case, evaluation.titles, credit="Somebody. " * 40)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    maps = [ax for ax in figure.axes if ax.images]
    assert len(maps) == {probability_figure: 3, members_figure: 2 * 5}[draw]
    texts = [text.get_text() for ax in figure.axes for text in ax.texts] + [
        ax.get_title() for ax in figure.axes
    ]
    assert "rain, mm/h" in texts
    assert ("probability of 1 mm/h or more, %" in texts) == (draw is probability_figure)
    boxes = [ax.get_tightbbox(canvas.get_renderer()) for ax in figure.axes]
    for k, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1 + 1
        assert not any(box.overlaps(other) for other in boxes[k + 1 :])


def test_probability_colours_grow_darker_and_differ_from_dry_and_undefined():
    values = np.array([0.01, 0.05, 0.15, 0.5, 0.95, 1.0])
    colours = figures.PROBABILITY_COLOURS(figures.PROBABILITY_NORM(values))[:, :3]
    brightness = colours.sum(axis=1)
    assert (np.diff(brightness[:5]) < 0).all()
    assert brightness[4] == brightness[5]
    grey = figures.PROBABILITY_COLOURS(np.ma.masked_invalid([np.nan]))[0, :3]
    assert np.abs(colours - grey).sum(axis=1).min() > 0.05


def test_probability_map_draws_the_first_row_at_the_top():
    figure = Figure(figsize=(2, 2), dpi=50)
    ax = figure.add_axes((0, 0, 1, 1))
    probability = np.zeros((10, 10))
    probability[0] = 1
    figures.probability_map(ax, probability, (10.0, 10.0))
    pixels = np.asarray(Image.open(io.BytesIO(figures.png(figure))).convert("L"), int)
    assert pixels[3:7].mean() < 100
    assert pixels[20:90, 10:90].min() > 250


@pytest.mark.parametrize("title", ["S-PROG", "Stormcell without a part of the network, network left out"])
@pytest.mark.parametrize("drawn", [lead_time_figure, probabilities_figure, ensembles_figure])
def test_legend_of_many_forecasters_is_inside_the_figure_and_above_its_panels(evaluation, drawn, title):
    found = evaluation.to_scores()["both"]
    found["about"] = found["about"] | {"title": title}
    figure = drawn({str(number): found for number in range(9)})
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (legend,) = figure.legends
    box = legend.get_window_extent(canvas.get_renderer())
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1
    panels = [ax.get_tightbbox(canvas.get_renderer()) for ax in figure.axes if ax.axison]
    assert not any(box.overlaps(panel) for panel in panels)

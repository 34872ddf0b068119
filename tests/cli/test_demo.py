"""The demo on small data: that it runs and writes its files."""

import json
from functools import partial

from typer.testing import CliRunner

from stormcell.cli.main import app
from stormcell.data import synthetic
from stormcell.training import recipes


def small() -> recipes.Recipe:
    return recipes.Recipe(
        inputs=3,
        lead_minutes=15,
        channels=4,
        detail_channels=4,
        crop=32,
        batch_size=2,
        max_minutes=None,
        max_updates=2,
        validate_every=1,
        validation_crops=2,
    )


def test_demo_on_generated_radar_writes_table_and_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "demo", small)
    monkeypatch.setattr(synthetic, "write", partial(synthetic.write, events=4, steps=16, shape=(40, 48)))
    out = tmp_path / "demo"
    for _ in range(2):  # the second call finds a finished run
        done = CliRunner().invoke(app, ["demo", "--out", str(out)])
        assert done.exit_code == 0, done.output
        for word in ("nowcaster", "persistence", "extrapolation", "MAE", "report.html", "forecast.nc"):
            assert word in done.stdout
    assert "this run is finished" in done.stderr
    for name in ("report.html", "lead_time.png", "case.png", "animation.gif", "scores.json"):
        assert (out / "report" / name).stat().st_size > 0
    scores = json.loads((out / "report" / "scores.json").read_text())
    assert list(scores) == [str(out / "run" / "model.safetensors"), "persistence", "extrapolation"]


def test_demo_on_a_folder_of_files_generates_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "demo", small)
    synthetic.write(tmp_path / "radar", seed=5, events=3, steps=16, shape=(40, 48))
    words = ["demo", "--data", str(tmp_path / "radar"), "--out", str(tmp_path / "demo")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "demo" / "radar").exists()


def test_demo_on_a_folder_without_radar_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(
        app, ["demo", "--data", str(tmp_path / "empty"), "--out", str(tmp_path / "demo")]
    )
    assert done.exit_code == 2
    assert "empty" in done.stderr

"""``demo``: the whole journey, verb after verb."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from stormcell.cli import archive, forecast, train, verify
from stormcell.cli.exit_status import NOTHING_DONE
from stormcell.data import synthetic
from stormcell.data.quantity import UnitOverrides
from stormcell.training import recipes
from stormcell.verification.evaluate import Evaluation
from stormcell.verification.figures import labels

_SEED = 7
_BASELINES = ("persistence", "extrapolation")
_THRESHOLDS = (0.5, 1.0)


def run(out: Path, data: Path | None, overrides: UnitOverrides) -> int:
    """From radar files, generated ones by default, to a verified forecast."""
    console = Console(highlight=False)
    out.mkdir(parents=True, exist_ok=True)
    if data is None:
        data = out / "radar"
        console.rule("generated radar")
        files = synthetic.write(data, seed=_SEED)
        console.print(f"{len(files)} files in {data}", soft_wrap=True)
    console.rule("archive")
    store = out / "archive.zarr"
    status = archive.append([data], store, overrides)
    if status == NOTHING_DONE:
        return status
    archive.check(store)
    console.rule("train")
    model = out / "run" / "model.safetensors"
    train.train(store, model.parent, [], base=recipes.demo())
    console.rule("verify")
    evaluation = verify.verify(store, [str(model), *_BASELINES], out / "report")
    console.rule("forecast")
    forecast.forecast(str(model), store, out / "forecast.nc", at=None, steps=None)
    console.rule("how good it is")
    console.print(_summary(evaluation))
    for name in ("lead_time.png", "case.png", "animation.gif"):
        console.print(f"  {out / 'report' / name}", soft_wrap=True)
    console.print(f"  {out / 'forecast.nc'}", soft_wrap=True)
    return status


def _summary(evaluation: Evaluation) -> Table:
    """CSI, bias and MAE of every forecaster at a few lead times, on rain no model has seen."""
    table = Table(
        title="on rain that the network has not seen",
        caption="lead time in min; CSI and frequency bias of rain ≥ 0.5 and ≥ 1 mm/h; MAE in mm/h",
    )
    table.add_column("lead", justify="right")
    table.add_column("forecaster", no_wrap=True)
    for threshold in _THRESHOLDS:
        table.add_column(f"CSI ≥{threshold:g}", justify="right", no_wrap=True)
        table.add_column("bias", justify="right")
    table.add_column("MAE", justify="right")
    found = evaluation.to_scores()
    titles = labels(list(found))
    first = next(iter(found.values()))
    scored = [k for k, count in enumerate(first["n_forecasts"]) if count]
    for k in sorted({scored[part * (len(scored) - 1) // 3] for part in range(4) if scored}):
        for name, score in found.items():
            cells = []
            for threshold in _THRESHOLDS:
                cells += [_number(score[s][str(threshold)][k]) for s in ("csi", "bias")]
            table.add_row(f"{first['lead_minutes'][k]:g}", titles[name], *cells, _number(score["mae"][k]))
        table.add_section()
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"

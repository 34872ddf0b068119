"""The experiments and their contenders, on substitutes for MNIST and radar data."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from stormcell.data import archive, synthetic
from stormcell.errors import ArgumentError
from stormcell.experiments import catalogue
from stormcell.experiments.catalogue import Options
from stormcell.experiments.experiment import Experiment, Moment
from stormcell.experiments.protocols import PaperMovingMnist
from stormcell.experiments.runner import slug


def idx(path: Path, values: np.ndarray) -> None:
    sizes = np.array(values.shape, ">u4").tobytes()
    path.write_bytes(bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes())


@pytest.fixture(scope="module")
def mnist(tmp_path_factory) -> Path:
    """A folder in MNIST's format, with enough random images for all parts."""
    folder = tmp_path_factory.mktemp("mnist")
    rng = np.random.default_rng(0)
    for name, count in (("train", 10_020), ("t10k", 40)):
        idx(folder / f"{name}-images-idx3-ubyte", rng.integers(0, 256, (count, 28, 28), np.uint8))
        idx(folder / f"{name}-labels-idx1-ubyte", rng.integers(0, 10, count, np.uint8))
    return folder


@pytest.fixture(scope="module")
def rain(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rain")
    synthetic.write(folder / "radar", seed=3, events=9, steps=26, shape=(32, 32))
    archive.append(folder / "a.zarr", [folder / "radar"])
    return folder / "a.zarr"


@pytest.fixture(params=catalogue.NAMES)
def made(request, mnist, rain, tmp_path) -> Experiment:
    data = rain if request.param in ("paper-radar", "hko7-protocol") else mnist
    options = Options(tmp_path, Console(file=io.StringIO()), data, batch_size=2)
    return catalogue.experiment(request.param, options)


def test_experiment_parts_are_consistent(made):
    assert slug(made.name) == made.name
    assert len({slug(contender.name) for contender in made.contenders}) == len(made.contenders)
    assert made.leading in made.columns
    named = {f"{name} {test}".strip() for name in made.columns for test in made.tests}
    assert set(made.on_screen) <= named
    assert 1 <= len(made.on_screen) <= 6
    assert {key for row in made.published for key in row} <= {"model", "source", "parameters", *made.columns}
    assert len(made.validation) >= 1
    shapes = {
        tuple(part.shape[1:])
        for part in (
            examples.batch(0, 1).x for examples in (made.training, made.validation, *made.tests.values())
        )
    }
    assert len(shapes) == 1
    first, again = made.training.batch(3, 2), made.training.batch(4, 1)
    assert torch.equal(first.x[1], again.x[0])
    for baseline in made.baselines:
        batch = made.validation.batch(0, 1)
        assert baseline.predict(batch.x.numpy()).shape == batch.y.shape


def test_small_contenders_have_a_loss_and_gradients(made):
    """Each small network has a loss, a gradient for every parameter, and a prediction."""
    batch = made.training.batch(0, 2)
    light = 0
    for contender in made.contenders:
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in contender.build().parameters())
        if size > 2_000_000 or batch.x.shape[-1] > 64:
            continue
        light += 1
        network = contender.build()
        contender.loss(network, batch, Moment(0, 0, 0.0)).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        with torch.no_grad():
            prediction = contender.predict(network, batch.x)
        assert prediction.shape[:1] == batch.y.shape[:1]
        if batch.y.ndim == 5:
            assert prediction.shape == batch.y.shape
    heavy = ("paper-moving-mnist", "openstl-moving-mnist", "hko7-protocol")
    assert light or made.name in heavy


def test_paper_moving_mnist_contenders_have_the_paper_s_parameters(mnist, tmp_path):
    options = Options(tmp_path, Console(file=io.StringIO()), mnist)
    made = catalogue.experiment("paper-moving-mnist", options)
    with torch.device("meta"):
        counts = {c.name: sum(p.numel() for p in c.build().parameters()) for c in made.contenders}
    published = {str(row["model"]): row["parameters"] for row in PaperMovingMnist.published}
    assert {name: counts[name] for name in published} == published


def test_hko7_protocol_kernels_and_mask_match_hko7(rain, tmp_path):
    made = catalogue.experiment("hko7-protocol", Options(tmp_path, Console(file=io.StringIO()), rain))
    with torch.device("meta"):
        kernels = {c.name: c.build().arguments["recurrent_kernel_size"] for c in made.contenders}
    assert kernels["ConvGRU"] == [[5, 5], [5, 5], [3, 3]]
    assert kernels["ConvLSTM"] == [[3, 3]] * 3
    batch = made.tests[""].batch(0, len(made.tests[""]))
    grey = (255 * batch.y).round()
    noise = (grey > 0) & (grey < 71)
    assert noise.any()
    assert not batch.mask[noise].any()
    assert batch.mask[grey >= 71].all()


def test_moving_digit_actions_contenders_have_similar_parameter_counts(mnist, tmp_path):
    options = Options(tmp_path, Console(file=io.StringIO()), mnist)
    made = catalogue.experiment("moving-digit-actions", options)
    ours, theirs = (sum(p.numel() for p in c.build().parameters()) for c in made.contenders)
    assert ours <= theirs <= 1.01 * ours


def test_openstl_moving_mnist_uses_the_standard_test_if_present(mnist, tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for file in mnist.iterdir():
        (folder / file.name).symlink_to(file)
    standard = np.lib.format.open_memmap(folder / "mnist_test_seq.npy", "w+", np.uint8, (20, 10_000, 64, 64))
    standard[10:, 7] = 51  # a fifth of white
    standard.flush()
    options = Options(tmp_path, Console(file=io.StringIO()), folder)
    test = catalogue.experiment("openstl-moving-mnist", options).tests[""]
    assert len(test) == 10_000
    batch = test.batch(6, 2)
    assert not batch.x.any()
    assert batch.y[0].max() == 0
    assert torch.equal(batch.y[1], torch.full_like(batch.y[1], 51 / 255))


def test_experiment_unknown_name_raises(tmp_path):
    with pytest.raises(
        ArgumentError, match=r'experiment: expected one of paper-moving-mnist, .* found "table-1"'
    ):
        catalogue.experiment("table-1", Options(tmp_path, Console(file=io.StringIO())))

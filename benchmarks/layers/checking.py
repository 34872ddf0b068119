"""The comparison of contenders with the reference."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.layers.arrays import Array
from benchmarks.layers.cases import Case


def write(folder: Path, results: Mapping[str, Array]) -> None:
    """Save the results of the reference for other processes."""
    for name, array in results.items():
        np.save(folder / f"{name}.npy", array)


def errors(folder: Path, results: Mapping[str, Array], mode: str) -> dict[str, float]:
    """Compare the results of a contender with those of the reference.

    Returns:
        The relative error of each array, the greater of those in the Euclidean norm, which sees what is
        wrong everywhere a little, and in the maximum norm, which sees what is wrong in one place. What is
        missing, or of another shape, or not a number, is infinitely wrong.
    """
    wanted = {path.stem for path in folder.glob("*.npy")} if mode == "training" else {"output"}
    if "last" in results:
        wanted = {"last"}
    return {name: _error(folder, name, results.get(name)) for name in sorted(wanted | results.keys())}


def limit(case: Case, name: str, dtype: str, device: str) -> float:
    """Return the largest relative error which rounding can cause.

    Of ``m`` roundings to one part in ``1 / u``, of random sign, the sum has a standard deviation of at
    most √m u, and the greatest of n such sums is about √(2 ln n) of those; there are as many as the output
    has numbers. What is rounded, in each layer and in each of the about four steps that a forget
    gate remembers:

    - in float32 the sum of as many products as a gate has, in another order;
    - in bfloat16, which sums in float32, each of x, W, h, W * X, three gates and the new h once.

    A gradient goes the same way back, and that of a weight is a sum over all pixels of all steps; in
    bfloat16 over steps, within which it is summed in float32.
    """
    exact = dtype == "float32" and device == "cpu"  # a GPU's convolutions round float32 to TF32
    u = 2**-24 if exact else 2**-11 if dtype == "float32" else 2**-9
    pixels = case.steps * case.batch * math.prod(case.size)
    products = max(sum(layer) for layer in case.layers) * case.kernel_size ** len(case.size)
    greatest = math.sqrt(2 * math.log(pixels * case.hidden_channels[-1]))
    m = (products if exact else 8) * 4 * len(case.layers)
    if name in ("output", "last"):
        return greatest * u * math.sqrt(m)
    found = greatest * u * math.sqrt(2 * m + (pixels if exact else case.steps))
    # The gradient of bilinear sampling jumps at pixels. An error in the flows moves a proportional share of
    # samples across a pixel; the norm grows with its square root.
    return math.sqrt(found) if case.kind == "traj_gru" else found


def _error(folder: Path, name: str, found: Array | None) -> float:
    path = folder / f"{'output' if name == 'last' else name}.npy"
    if found is None or not path.exists():
        return math.inf
    true = np.load(path, mmap_mode="r")
    if name == "last":
        true = true[-1:]
        found = found[None] if found.ndim < true.ndim else found
    if found.shape != true.shape:
        return math.inf
    squared, square, most, largest = 0.0, 0.0, 0.0, 0.0
    for a, b in zip(found, true, strict=True):  # in parts, as there may be gigabytes
        difference = np.asarray(a, np.float64) - b
        squared += float(np.sum(difference**2))
        square += float(np.sum(np.asarray(b, np.float64) ** 2))
        most = max(most, float(np.abs(difference).max()))
        largest = max(largest, float(np.abs(b).max()))
    if not math.isfinite(squared):  # max() ignores NaN
        return math.inf
    if square == 0:
        return 0.0 if squared == 0 else math.inf
    return max(math.sqrt(squared / square), most / largest)

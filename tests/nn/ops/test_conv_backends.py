"""Every convolution back end equals PyTorch's convolution, forward and backward."""

import pytest
import torch

from stormcell.nn.ops import bfloat16_probe, conv_backends, kernels, onednn, winograd
from stormcell.nn.ops.bfloat16_probe import Probe

needs_compiler = pytest.mark.skipif(kernels.library(torch.float64) is None, reason="no C compiler")
BACKENDS = [conv_backends.Direct, pytest.param(winograd.Winograd, marks=needs_compiler)]


def numbers(*shape, seed, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def convolve(backend, weight, images, bias, d_z, first):
    """Return the output, and the gradients of the images, from channel ``first`` on, and of the weight."""
    one = backend(weight, first)
    z = one.forward(images, bias)
    one.add_weight_gradient(d_z, images)
    one.add_weight_gradient(d_z, images)  # gradients are added up
    return z, one.input_gradient(d_z), one.weight_gradient() / 2


def by_pytorch(weight, images, bias, d_z, first):
    weight, image = weight.detach().requires_grad_(), images.detach().requires_grad_()
    convolve = getattr(torch.nn.functional, f"conv{weight.dim() - 2}d")
    z = convolve(image.movedim(-1, 1), weight, bias, padding=[k // 2 for k in weight.shape[2:]])
    z = z.movedim(1, -1)
    d_image, d_weight = torch.autograd.grad(z, [image, weight], d_z)
    return z.detach(), d_image[..., first:], d_weight


def case(kernel, channels=8, outputs=6, size=(7, 6), batch=2, dtype=torch.float64):
    images = numbers(batch, *size, channels, seed=7, dtype=dtype)
    weight = numbers(outputs, channels, *kernel, seed=8, dtype=dtype)
    weight /= weight[0].numel() ** 0.5
    return (
        weight,
        images,
        numbers(outputs, seed=9, dtype=dtype),
        numbers(batch, *size, outputs, seed=10, dtype=dtype),
    )


@pytest.mark.usefixtures("nan_memory")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize(
    "given",
    [
        case((3, 3)),
        case((1, 1)),
        case((5, 5)),
        case((7, 3), channels=9),
        case((3, 9), size=(4, 11)),
        case((5, 1), channels=9),
        case((3, 3), size=(1, 1)),
        case((5, 5), size=(1, 2), batch=1),
        case((3, 3), channels=41, outputs=67, size=(9, 33), batch=3),
        case((7, 7), channels=4, outputs=33),
        case((3, 3, 3), size=(4, 5, 6)),
        case((5, 1, 3), size=(2, 7, 4), outputs=33),
        case((3, 5, 7), channels=9, size=(1, 6, 9)),
        case((1, 3, 3), size=(3, 8, 8)),
    ],
    ids=lambda given: "×".join(map(str, (*given[0].shape, *given[1].shape[:-1]))),
)
def test_backend_matches_convolution_of_torch(backend, given, first, monkeypatch):
    monkeypatch.setattr(winograd, "_TILES", 16)  # several lots of tiles
    monkeypatch.setattr(winograd, "_GRADIENT_TILES", 16)
    found, expected = convolve(backend, *given, first), by_pytorch(*given, first)
    # Sums of at most some thousand terms of order one.
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("nan_memory")
@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize("size", [(1,), (7,)])
def test_matrix_backend_matches_convolution_of_torch(size, first):
    given = case((1,), size=size)
    assert isinstance(conv_backends.conv_backend(given[0]), conv_backends.Matrix)
    found, expected = convolve(conv_backends.Matrix, *given, first), by_pytorch(*given, first)
    # Sums of some ten terms of order one.
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.fixture(params=["oneDNN", "without it"])
def library(request, monkeypatch):
    if request.param == "without it":
        monkeypatch.setattr(onednn, "_is_supported", lambda *_: False)


@pytest.mark.usefixtures("nan_memory", "library")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize(
    ("kernel", "size", "batch"),
    [
        ((3,), (9,), 2),
        ((7,), (2,), 1),
        ((5, 3), (7, 6), 2),
        ((1, 1), (4, 4), 2),
        ((3, 5, 1), (4, 5, 6), 2),
        ((5, 3, 3), (2, 6, 3), 1),  # planes of the kernel outside the image
        ((3, 3, 3), (2, 6, 3), 2),
        ((7, 3, 3), (4, 6, 3), 1),
    ],
)
def test_direct_backend_in_low_precision_has_bounded_error(kernel, size, batch, first, dtype):
    weight, images, bias, d_z = given = case(kernel, size=size, batch=batch, dtype=dtype)
    found = convolve(conv_backends.Direct, *given, first)
    truth = by_pytorch(weight.double(), images.double(), bias.double(), d_z.double(), first)
    # Sums of at most n products are off by n roundings in single precision, and then rounded.
    n = max(weight[0].numel(), weight[:, 0].numel(), d_z[..., 0].numel())
    for each, other in zip(found, truth, strict=True):
        largest = 5 * 5 * 1.0  # of a product of two such numbers
        off = n * n**0.5 * largest * 2**-24 + (2**-8 * float(other.abs().max()) if dtype.itemsize == 2 else 0)
        torch.testing.assert_close(each.double(), other, rtol=0, atol=off)


def test_direct_backend_reuses_its_layout_for_other_sizes():
    weight, images, bias, _ = case((5, 3), batch=1, size=(20, 16), dtype=torch.float32)
    plain = conv_backends.Direct(weight)
    whole = plain.forward(images, bias)
    for rows in (slice(0, 1), slice(4, 20)):
        some = plain.forward(images, bias, rows)
        torch.testing.assert_close(some, whole[:, rows], rtol=0, atol=weight[0].numel() * 2**-22)


@pytest.mark.filterwarnings("ignore:TF32 acceleration:UserWarning")  # PyTorch's own, of its flags
def test_direct_backend_with_onednn_disabled_does_not_use_it(monkeypatch):
    monkeypatch.setattr(onednn, "_convolve", lambda *_: pytest.fail("oneDNN was called"))
    given = case((3, 3), dtype=torch.float32)
    with torch.backends.mkldnn.flags(enabled=False):
        convolve(conv_backends.Direct, *given, 0)


@pytest.mark.parametrize("rows", [(0, 7), (0, 1), (1, 5), (2, 4), (5, 7)])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 1), (1, 3)])
def test_direct_backend_of_some_rows_matches_all(rows, kernel):
    weight, images, bias, _ = case(kernel, batch=1)
    plain = conv_backends.Direct(weight)
    some = plain.forward(images, bias, slice(*rows))
    torch.testing.assert_close(some, plain.forward(images, bias)[:, slice(*rows)], rtol=1e-13, atol=1e-13)


@needs_compiler
def test_winograd_accepts_distant_pixels():
    weight, images, bias, d_z = case((3, 3))
    wide = torch.full((*images.shape[:3], 13), torch.nan, dtype=images.dtype)
    wide[..., 2:10] = images
    found = convolve(winograd.Winograd, weight, wide[..., 2:10], bias, d_z, 0)
    torch.testing.assert_close(found, by_pytorch(weight, images, bias, d_z, 0), rtol=1e-12, atol=1e-12)


@needs_compiler
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_winograd_error_is_at_most_twice_that_of_direct(kernel):
    given = case((kernel, kernel), 64, 64, (24, 24), 4, torch.float32)
    weight, images, bias, d_z = given
    exact = weight.double(), images.double(), bias.double(), d_z.double()
    truth = by_pytorch(*exact, 0)
    found, plain = convolve(winograd.Winograd, *given, 0), by_pytorch(*given, 0)
    for name, *each in zip(("z", "input gradient", "weight gradient"), found, plain, truth, strict=True):
        ours, theirs = ((result.double() - each[2]).norm() for result in each[:2])
        assert 0 < ours <= 2 * theirs, (name, ours, theirs)


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_winograd_with_any_number_of_threads_gives_the_same_bits(threads):
    given = case((5, 5), 36, 64, (16, 16), 4, torch.float32)
    before = torch.get_num_threads()
    expected = convolve(winograd.Winograd, *given, 0)
    try:
        torch.set_num_threads(threads)
        found = convolve(winograd.Winograd, *given, 0)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@needs_compiler
def test_winograd_is_chosen_where_it_costs_less():
    def taken(outputs, *kernel, inputs=65, dtype=torch.float32):
        weight = torch.zeros(outputs, inputs, *kernel, dtype=dtype)
        return isinstance(conv_backends.conv_backend(weight), winograd.Winograd)

    assert taken(256, 3, 3)
    assert taken(256, 5, 5)
    assert taken(128, 3, 3, 3, inputs=33)
    assert not taken(256, 3, 3, inputs=1)  # the transforms cost more than they save
    assert not taken(256, 1, 1)
    assert not taken(256, 1, 5)
    assert not taken(3, 3, 3)  # most results would be unused
    assert not taken(256, 3)
    assert not taken(256, 3, 3, dtype=torch.bfloat16)


SLOW_IN_BFLOAT16 = Probe(float32=1 / 314, bfloat16=1 / 182)  # as measured with AVX512-BF16 and without AMX


@pytest.mark.usefixtures("nan_memory")
@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize(("kernel", "size"), [((3, 3), (7, 6)), ((5, 3), (2, 9)), ((3, 3, 3), (4, 5, 6))])
def test_in_float32_only_rounds_its_results(kernel, size, first):
    weight, images, bias, d_z = given = case(kernel, size=size, dtype=torch.bfloat16)
    found = convolve(conv_backends.InFloat32, *given, first)
    truth = by_pytorch(weight.float(), images.float(), bias.float(), d_z.float(), first)
    assert [each.dtype for each in found] == [torch.bfloat16, torch.bfloat16, torch.float32]
    for each, other, off in zip(found, truth, (2**-8, 2**-8, 0), strict=True):
        # The rounding, and those of some hundred products in float32.
        torch.testing.assert_close(each.float(), other, rtol=1.01 * off, atol=1e-4)


@pytest.mark.parametrize("rows", [(0, 7), (0, 1), (2, 4), (5, 7)])
def test_in_float32_of_some_rows_matches_all(rows):
    weight, images, bias, _ = case((5, 3), batch=1, dtype=torch.bfloat16)
    one = conv_backends.InFloat32(weight)
    some, whole = one.forward(images, bias, slice(*rows)), one.forward(images, bias)
    torch.testing.assert_close(some, whole[:, slice(*rows)], rtol=2**-7, atol=1e-3)  # a neighbour at most


@pytest.mark.parametrize(
    ("probe", "taken"),
    [
        (SLOW_IN_BFLOAT16, conv_backends.InFloat32),
        (Probe(float32=1 / 500, bfloat16=1 / 1000), conv_backends.Direct),
        (Probe(float32=1 / 500, bfloat16=1 / 5000), conv_backends.Direct),  # with AMX
    ],
)
def test_bfloat16_is_convolved_in_float32_where_the_probe_says_so(monkeypatch, probe, taken):
    monkeypatch.setattr(bfloat16_probe, "measured", lambda: probe)
    weight = torch.zeros(256, 64, 3, 3, dtype=torch.bfloat16)
    assert type(conv_backends.conv_backend(weight)) is taken
    (said,) = conv_backends.describe({"state": weight}).values()
    assert said.endswith(", in float32") == (taken is conv_backends.InFloat32)
    assert type(conv_backends.conv_backend(weight.float())) is not conv_backends.InFloat32


@needs_compiler
def test_bfloat16_is_convolved_in_float32_only_where_that_gains(monkeypatch):
    # Equally fast in both: only fewer products make up for the conversion.
    monkeypatch.setattr(bfloat16_probe, "measured", lambda: Probe(float32=1, bfloat16=1))
    kinds = [torch.zeros(256, 64, k, k, dtype=torch.bfloat16) for k in (1, 3)]
    assert [type(conv_backends.conv_backend(w)) for w in kinds] == [
        conv_backends.Direct,
        conv_backends.InFloat32,
    ]


def test_direct_is_chosen_without_compiler(monkeypatch):
    monkeypatch.setattr(kernels, "library", lambda _: None)
    assert isinstance(conv_backends.conv_backend(torch.zeros(256, 64, 3, 3)), conv_backends.Direct)

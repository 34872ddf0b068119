"""Every engine is PyTorch's convolution, forwards and backwards."""

import pytest
import torch

from stormcell.nn.ops import compiler, engines, onednn, winograd

needs_compiler = pytest.mark.skipif(compiler.library(torch.float64) is None, reason="no C compiler")
ENGINES = [engines.Direct, pytest.param(winograd.Winograd, marks=needs_compiler)]


def numbers(*shape, seed, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def convolve(made_by, weight, seen, bias, d_z, first):
    """Return what images come to, and the gradients of what was seen and of the weight."""
    one = made_by(weight, first)
    z = one.forward(seen, bias)
    one.to_weight(d_z, seen)
    one.to_weight(d_z, seen)  # it adds up
    return z, one.to_input(d_z), one.d_weight() / 2


def by_pytorch(weight, seen, bias, d_z, first):
    weight, image = weight.detach().requires_grad_(), seen.detach().requires_grad_()
    convolve = getattr(torch.nn.functional, f"conv{weight.dim() - 2}d")
    z = convolve(image.movedim(-1, 1), weight, bias, padding=[k // 2 for k in weight.shape[2:]])
    z = z.movedim(1, -1)
    d_image, d_weight = torch.autograd.grad(z, [image, weight], d_z)
    return z.detach(), d_image[..., first:], d_weight


def case(kernel, channels=8, outputs=6, size=(7, 6), batch=2, dtype=torch.float64):
    seen = numbers(batch, *size, channels, seed=7, dtype=dtype)
    weight = numbers(outputs, channels, *kernel, seed=8, dtype=dtype)
    weight /= weight[0].numel() ** 0.5
    return (
        weight,
        seen,
        numbers(outputs, seed=9, dtype=dtype),
        numbers(batch, *size, outputs, seed=10, dtype=dtype),
    )


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("made_by", ENGINES)
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
def test_it_is_a_convolution(made_by, given, first, monkeypatch):
    monkeypatch.setattr(winograd, "_TILES", 16)  # so that there are several lots
    monkeypatch.setattr(winograd, "_TILES_TO_WEIGHT", 16)
    found, expected = convolve(made_by, *given, first), by_pytorch(*given, first)
    # Sums of at most some thousand terms of order one.
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize("size", [(1,), (7,)])
def test_so_is_a_product_of_matrices(size, first):
    given = case((1,), size=size)
    assert isinstance(engines.engine(given[0]), engines.Matrix)
    found, expected = convolve(engines.Matrix, *given, first), by_pytorch(*given, first)
    # Sums of some ten terms of order one.
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.fixture(params=["oneDNN", "without it"])
def library(request, monkeypatch):
    if request.param == "without it":
        monkeypatch.setattr(onednn, "_knows", lambda *_: False)


@pytest.mark.usefixtures("poison", "library")
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
        ((5, 3, 3), (2, 6, 3), 1),  # planes of the kernel that see nothing
    ],
)
def test_the_plain_way_in_every_precision(kernel, size, batch, first, dtype):
    weight, seen, bias, d_z = given = case(kernel, size=size, batch=batch, dtype=dtype)
    found = convolve(engines.Direct, *given, first)
    truth = by_pytorch(weight.double(), seen.double(), bias.double(), d_z.double(), first)
    # Sums of at most n products are off by n roundings in single precision, and then rounded.
    n = max(weight[0].numel(), weight[:, 0].numel(), d_z[..., 0].numel())
    for each, other in zip(found, truth, strict=True):
        largest = 5 * 5 * 1.0  # of a product of two such numbers
        off = n * n**0.5 * largest * 2**-24 + (2**-8 * float(other.abs().max()) if dtype.itemsize == 2 else 0)
        torch.testing.assert_close(each.double(), other, rtol=0, atol=off)


def test_what_is_laid_out_for_some_images_does_for_others():
    weight, seen, bias, _ = case((5, 3), batch=1, size=(20, 16), dtype=torch.float32)
    plain = engines.Direct(weight)
    whole = plain.forward(seen, bias)
    for rows in (slice(0, 1), slice(4, 20)):
        some = plain.forward(seen, bias, rows)
        torch.testing.assert_close(some, whole[:, rows], rtol=0, atol=weight[0].numel() * 2**-22)


@pytest.mark.filterwarnings("ignore:TF32 acceleration:UserWarning")  # PyTorch's own, of its flags
def test_who_turns_onednn_off_gets_none(monkeypatch):
    monkeypatch.setattr(onednn, "_convolve", lambda *_: pytest.fail("oneDNN was asked"))
    given = case((3, 3), dtype=torch.float32)
    with torch.backends.mkldnn.flags(enabled=False):
        convolve(engines.Direct, *given, 0)


@pytest.mark.parametrize("rows", [(0, 7), (0, 1), (1, 5), (2, 4), (5, 7)])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 1), (1, 3)])
def test_some_rows_are_as_among_all(rows, kernel):
    weight, seen, bias, _ = case(kernel, batch=1)
    plain = engines.Direct(weight)
    some = plain.forward(seen, bias, slice(*rows))
    torch.testing.assert_close(some, plain.forward(seen, bias)[:, slice(*rows)], rtol=1e-13, atol=1e-13)


@needs_compiler
def test_its_pixels_may_lie_apart():
    weight, seen, bias, d_z = case((3, 3))
    wide = torch.full((*seen.shape[:3], 13), torch.nan, dtype=seen.dtype)
    wide[..., 2:10] = seen
    found = convolve(winograd.Winograd, weight, wide[..., 2:10], bias, d_z, 0)
    torch.testing.assert_close(found, by_pytorch(weight, seen, bias, d_z, 0), rtol=1e-12, atol=1e-12)


@needs_compiler
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_its_rounding_errors_are_no_larger_than_those_of_the_plain_way(kernel):
    given = case((kernel, kernel), 64, 64, (24, 24), 4, torch.float32)
    weight, seen, bias, d_z = given
    exact = weight.double(), seen.double(), bias.double(), d_z.double()
    truth = by_pytorch(*exact, 0)
    found, plain = convolve(winograd.Winograd, *given, 0), by_pytorch(*given, 0)
    for name, *each in zip(("z", "to input", "to weight"), found, plain, truth, strict=True):
        ours, theirs = ((result.double() - each[2]).norm() for result in each[:2])
        assert 0 < ours <= 2 * theirs, (name, ours, theirs)


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_gives_the_same_to_the_bit(threads):
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
def test_it_is_taken_where_it_has_less_to_do():
    def taken(outputs, *kernel, inputs=65, dtype=torch.float32):
        weight = torch.zeros(outputs, inputs, *kernel, dtype=dtype)
        return isinstance(engines.engine(weight), winograd.Winograd)

    assert taken(256, 3, 3)
    assert taken(256, 5, 5)
    assert taken(128, 3, 3, 3, inputs=33)
    assert not taken(256, 3, 3, inputs=1)  # the transforms cost more than they save
    assert not taken(256, 1, 1)
    assert not taken(256, 1, 5)
    assert not taken(3, 3, 3)  # most of what it computes would be nobody's
    assert not taken(256, 3)
    assert not taken(256, 3, 3, dtype=torch.bfloat16)


def test_without_a_compiler_there_is_the_plain_way(monkeypatch):
    monkeypatch.setattr(compiler, "library", lambda _: None)
    assert isinstance(engines.engine(torch.zeros(256, 64, 3, 3)), engines.Direct)

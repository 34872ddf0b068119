"""Moving MNIST and the papers' sets, compared with loops written from the papers' descriptions."""

import gzip
import struct

import numpy as np
import pytest
from scipy import stats

from stormcell.errors import ArgumentError, InputError
from stormcell.experiments import moving_mnist
from stormcell.experiments.moving_mnist import MovingDigits, counter_rng, presets

# Significance level: a test rejects a true hypothesis once in ten thousand times. Seeds are fixed.
UNLIKELY = 1e-4


@pytest.fixture(scope="module")
def digits():
    """Blots, all different, with a black border as in MNIST."""
    draw = np.random.default_rng(5)
    images = np.zeros((40, 28, 28), np.uint8)
    images[:, 4:24, 4:24] = draw.integers(0, 256, (40, 20, 20)) * (draw.random((40, 20, 20)) < 0.4)
    return images


def philox(counter: int, key: tuple[int, int]) -> list[int]:
    """Return Philox4x64-10 of its paper's tables, in Python's integers."""
    mask = 2**64 - 1
    x = [counter >> 64 * n & mask for n in range(4)]
    k0, k1 = key
    for _ in range(10):
        a, b = x[0] * 0xD2E7470EE14C6C93, x[2] * 0xCA5A826395121157
        x = [b >> 64 ^ x[1] ^ k0, b & mask, a >> 64 ^ x[3] ^ k1, a & mask]
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
    return x


def slow(images, which, start, velocity, frames, size, walls):
    """Draw one sequence digit by digit and frame by frame, in Python's floats."""
    out = np.zeros((frames, size, size), np.uint8)
    places = np.zeros((len(which), frames, 2))
    for d, index in enumerate(which):
        place, speed = [float(v) for v in start[d]], [float(v) for v in velocity[d]]
        for t in range(frames):
            if t > 0 or walls == "stop":
                for axis in (0, 1):
                    place[axis], speed[axis] = step(place[axis], speed[axis], size - 28, walls)
            places[d, t] = place
            column, row = int(place[0]), int(place[1])
            for y in range(28):
                for x in range(28):
                    out[t, row + y, column + x] = max(out[t, row + y, column + x], images[index, y, x])
    return out, places


def step(place, speed, room, walls):
    place += speed
    if walls == "stop":
        if place <= 0 or place >= room:
            return min(max(place, 0.0), float(room)), -speed
        return place, speed
    while not 0 <= place <= room:
        place, speed = (-place if place < 0 else 2 * room - place), -speed
    return place, speed


def starts(moving, seed, first, size):
    """Return images, starts and velocities from the random numbers in their documented order."""
    draw = counter_rng.uniforms(seed, first, size, 5 * moving.digits).reshape(size, moving.digits, 5)
    which = np.floor(draw[..., 0] * len(moving.images)).astype(int)
    start = draw[..., 1:3] * (moving.size - 28)
    speed = moving.speed[0] + draw[..., 4] * (moving.speed[1] - moving.speed[0])
    angle = 2 * np.pi * draw[..., 3]
    return which, start, np.stack([speed * np.cos(angle), speed * np.sin(angle)], -1)


def test_uniforms_are_philox_by_position():
    key = tuple(int(k) for k in np.random.SeedSequence(9, spawn_key=(2,)).generate_state(2, np.uint64))
    found = counter_rng.uniforms(9, first=1000, size=3, count=6, stream=2)
    for k in range(3):
        # Six numbers take two blocks of four; numpy counts before it draws.
        words = [w for block in (1, 2) for w in philox((1000 + k) * 2 + block, key)]
        assert found[k].tolist() == [(word >> 11) / 2**53 for word in words[:6]]


@pytest.mark.parametrize(
    ("walls", "size", "count", "speed"),
    [
        ("reflect", 64, 2, (3.0, 5.0)),
        ("reflect", 40, 3, (20.0, 40.0)),
        ("stop", 64, 2, (3.6, 3.6)),
        ("stop", 33, 1, (0.0, 9.0)),
    ],
)
def test_batch_equals_a_plain_loop(digits, walls, size, count, speed):
    moving = MovingDigits(digits, digits=count, frames=12, size=size, speed=speed, walls=walls)
    batch, paths = moving.batch(7, 30, 4), moving.paths(7, 30, 4)
    which, start, velocity = starts(moving, 7, 30, 4)
    np.testing.assert_array_equal(paths.which, which)
    for k in range(4):
        frames, places = slow(digits, which[k], start[k], velocity[k], 12, size, walls)
        # Twelve steps of up to 40 pixels, each rounded to 2^-53 of at most 480.
        np.testing.assert_allclose(paths.positions[k], places, rtol=0, atol=12 * 480 * 2.0**-52)
        np.testing.assert_array_equal(batch[k], frames)


@pytest.mark.parametrize("walls", ["reflect", "stop"])
def test_paths_velocities_connect_the_positions(digits, walls):
    moving = MovingDigits(digits, walls=walls)
    paths = moving.paths(1, 0, 200)
    ahead = paths.positions[:, :, :-1] + paths.velocities[:, :, :-1]
    met = (ahead <= 0) | (ahead >= 36)
    # Away from walls the next position is ahead and the velocity is unchanged; at walls its sign changes.
    np.testing.assert_allclose(paths.positions[:, :, 1:][~met], ahead[~met], rtol=0, atol=1e-12)
    turned = np.where(met, -1, 1) * paths.velocities[:, :, :-1]
    np.testing.assert_array_equal(paths.velocities[:, :, 1:], turned)
    assert 0.03 < met.mean() < 0.15


def test_batch_sequences_do_not_depend_on_the_batch_size(digits):
    for moving in (MovingDigits(digits), MovingDigits(digits, walls="stop", digits=3)):
        whole = moving.batch(11, 100, 12)
        parts = [moving.batch(11, 100, 5), moving.batch(11, 105, 0), moving.batch(11, 105, 7)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        assert not np.array_equal(moving.batch(12, 100, 12), whole)
        assert len(np.unique(whole.reshape(12, -1), axis=0)) == 12


def test_paths_of_different_streams_differ(digits):
    one, two = (MovingDigits(digits, stream=stream).paths(3, 0, 50) for stream in (0, 1))
    assert not np.isclose(one.positions, two.positions).all(axis=(1, 2, 3)).any()


@pytest.fixture(scope="module")
def paths(digits):
    return MovingDigits(digits).paths(2015, 0, 2000)


class TestStatistics:
    """The paper's description, checked on 2 000 sequences."""

    def test_paths_speeds_are_uniform_and_constant(self, paths):
        speed = np.hypot(*np.moveaxis(paths.velocities, -1, 0))
        np.testing.assert_allclose(speed, np.broadcast_to(speed[:, :, :1], speed.shape), rtol=1e-14)
        assert speed.min() >= 3
        assert speed.max() < 5
        assert stats.kstest(speed[:, :, 0].ravel(), stats.uniform(3, 2).cdf).pvalue > UNLIKELY

    def test_paths_directions_are_uniform(self, paths):
        angle = np.arctan2(paths.velocities[:, :, 0, 1], paths.velocities[:, :, 0, 0]).ravel()
        assert stats.kstest(angle, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > UNLIKELY

    @pytest.mark.parametrize("frame", [0, 7, 19])
    @pytest.mark.parametrize("axis", [0, 1])
    def test_paths_positions_are_uniform_at_all_times(self, paths, frame, axis):
        place = paths.positions[:, :, frame, axis].ravel()
        assert stats.kstest(place, stats.uniform(0, 36).cdf).pvalue > UNLIKELY

    def test_paths_digits_are_equally_likely(self, paths):
        counts = np.bincount(paths.which.ravel(), minlength=40)
        assert stats.chisquare(counts).pvalue > UNLIKELY

    def test_paths_number_of_bounces_is_as_expected(self, paths):
        """A position uniform on 36 pixels is within a step |v| of a wall with probability |v| / 36."""
        bounces = (np.diff(np.sign(paths.velocities), axis=2) != 0).sum((1, 2, 3))
        expected = 2 * 19 * 2 * (4 * 2 / np.pi) / 36  # digits, steps, axes, mean of |v cos|
        error = bounces.std() / np.sqrt(len(bounces))
        assert abs(bounces.mean() - expected) < 4 * error

    def test_batch_pixel_distribution_equals_a_loop_s(self, digits):
        """The loop uses numpy's generator, so distributions are compared instead of numbers."""
        draw, frames, lit = np.random.default_rng(77), 5, 120
        counts, overlaps = [], []
        for _ in range(lit):
            which = draw.integers(0, 40, 2)
            start, angle, speed = (
                draw.uniform(0, 36, (2, 2)),
                draw.uniform(0, 2 * np.pi, 2),
                draw.uniform(3, 5, 2),
            )
            velocity = np.stack([speed * np.cos(angle), speed * np.sin(angle)], -1)
            sequence, _ = slow(digits, which, start, velocity, frames, 64, "reflect")
            counts.append(histogram(sequence))
            overlaps.append(overlap(sequence, digits[which]))
        short = MovingDigits(digits, frames=frames)
        batch, which = short.batch(4, 0, 2000), short.paths(4, 0, 2000).which
        found = np.array([histogram(sequence) for sequence in batch])
        for theirs, ours in zip(np.array(counts).T, found.T, strict=True):
            assert stats.ttest_ind(theirs, ours, equal_var=False).pvalue > UNLIKELY
        ours = [overlap(sequence, digits[w]) for sequence, w in zip(batch, which, strict=True)]
        assert np.mean(ours) > 0
        assert stats.ttest_ind(overlaps, ours, equal_var=False).pvalue > UNLIKELY


def histogram(sequence):
    """Return the number of black, dark, medium and bright pixels."""
    return np.histogram(sequence, [0, 1, 85, 170, 256])[0]


def overlap(sequence, images):
    """Return the brightness per frame that is hidden behind brighter pixels."""
    return float(images.sum(dtype=np.int64)) - sequence.sum(dtype=np.int64) / len(sequence)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"digits": 0}, "1 or more digits and frames"),
        ({"frames": 0}, "1 or more digits and frames"),
        ({"size": 28}, "wider than 28 pixels"),
        ({"speed": (5.0, 3.0)}, "speeds 0 ≤ lowest ≤ highest"),
        ({"speed": (-1.0, 3.0)}, "speeds 0 ≤ lowest ≤ highest"),
        ({"speed": (1.0, float("nan"))}, "speeds 0 ≤ lowest ≤ highest"),
        ({"walls": "rubber"}, 'walls "reflect" or "stop", found "rubber"'),
    ],
)
def test_moving_digits_invalid_arguments_raise(digits, wrong, message):
    with pytest.raises(ArgumentError, match=message):
        MovingDigits(digits, **wrong)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 28, 28)), np.zeros((2, 28, 27), np.uint8), np.zeros((0, 28, 28), np.uint8)]
)
def test_moving_digits_invalid_images_raise(images):
    with pytest.raises(ArgumentError, match=r"uint8 images \(N, 28, 28\)"):
        MovingDigits(images)


@pytest.mark.parametrize("where", [(-1, 0, 1), (0, -1, 1), (0, 0, -1)])
def test_batch_negative_arguments_raise(digits, where):
    with pytest.raises(ArgumentError, match="0 or more"):
        MovingDigits(digits).batch(*where)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in MNIST's format. Three pixels of each image identify it: 1 or 9 (test), and its number."""
    folder = tmp_path_factory.mktemp("mnist")
    for prefix, count, mark in (("train", 11_500, 1), ("t10k", 300, 9)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 10, 10:13] = np.stack([np.full(count, mark), *np.divmod(np.arange(count), 256)], -1)
        for name, array in (("images-idx3", images), ("labels-idx1", np.zeros(count, np.uint8))):
            head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (folder / f"{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes(), 1))
    return folder


def marks(images) -> set[tuple[int, ...]]:
    return {tuple(image) for image in images[:, 10, 10:13].tolist()}


class TestPaper:
    def test_paper_parts_have_the_paper_s_sizes(self, folder):
        parts = {part: moving_mnist.paper(folder, part) for part in presets.PAPER_PARTS}
        assert {part: len(found) for part, found in parts.items()} == {
            "train": 10_000,
            "validation": 2_000,
            "test": 3_000,
            "out-of-domain": 3_000,
        }
        assert {part: found.source.digits for part, found in parts.items()} == {
            "train": 2,
            "validation": 2,
            "test": 2,
            "out-of-domain": 3,
        }
        assert moving_mnist.paper(folder, "test", digits=3).source.digits == 3
        assert parts["test"].sequences(2_990, 10).shape == (10, 20, 64, 64)

    def test_paper_parts_share_500_digits_except_out_of_domain(self, folder):
        train, validation, test, beyond = (
            marks(moving_mnist.paper(folder, part).source.images) for part in presets.PAPER_PARTS
        )
        assert train == validation == test
        assert len(train) == len(beyond) == 500
        assert not train & beyond

    def test_paper_parts_share_no_sequence(self, folder):
        numbers = [moving_mnist.paper(folder, part, digits=2)._numbers for part in presets.PAPER_PARTS]
        together = np.concatenate(numbers)
        assert len(np.unique(together, axis=0)) == len(together) == 18_000
        # Nor do they share motions with other digits: all positions and directions differ.
        assert len(np.unique(together[:, 1:5], axis=0)) == 18_000

    def test_batch_contains_each_sequence_once_per_epoch(self, folder):
        train = moving_mnist.paper(folder, "validation")
        short = presets.FixedSequences(train.source, train.seed, train.begin, 30)
        own = [s.tobytes() for s in short.sequences(0, 30)]
        epochs = [[s.tobytes() for s in short.batch(5, 30 * e, 30)] for e in range(3)]
        assert len(set(own)) == 30
        assert all(sorted(epoch) == sorted(own) for epoch in epochs)
        assert len({tuple(epoch) for epoch in [own, *epochs]}) == 4
        # Batches across two epochs contain the same sequences.
        parts = [s.tobytes() for k in range(0, 90, 18) for s in short.batch(5, k, 18)]
        assert parts == [s for epoch in epochs for s in epoch]

    def test_paper_set_never_changes(self, folder):
        """Recorded numbers of the first release: results are comparable only on the same set."""
        order = counter_rng.shuffled(presets.PAPER_SEED, 0, 60_000)
        assert order[:5].tolist() == RECORDED_ORDER
        numbers = moving_mnist.paper(folder, "test")._numbers
        assert numbers[0, :3].tolist() == RECORDED_NUMBERS

    def test_paper_invalid_part_or_range_raises(self, folder):
        with pytest.raises(ArgumentError, match="expected one of train, validation, test, out-of-domain"):
            moving_mnist.paper(folder, "dev")
        test = moving_mnist.paper(folder, "test")
        for first, size in ((2_999, 2), (-1, 1), (0, -1)):
            with pytest.raises(ArgumentError, match="expected a range in 0 to 2999"):
                test.sequences(first, size)
        with pytest.raises(ArgumentError, match="0 or more"):
            test.batch(0, -1, 1)


RECORDED_ORDER = [46552, 7114, 51007, 31621, 33477]
RECORDED_NUMBERS = [0.9113181176220785, 0.7983827198725723, 0.3938893764527218]


@pytest.mark.parametrize(
    "kind", [moving_mnist.endless, moving_mnist.openstl, moving_mnist.variants, moving_mnist.actions]
)
def test_generator_parts_share_no_digit_and_no_motion(folder, kind):
    train, validation, test = (kind(folder, part) for part in ("train", "validation", "test"))
    assert (len(train.images), len(validation.images), len(test.images)) == (1_500, 10_000, 300)
    assert not marks(train.images) & marks(validation.images)
    assert not (marks(train.images) | marks(validation.images)) & marks(test.images)
    assert len({train.stream, validation.stream, test.stream}) == 3
    with pytest.raises(ArgumentError, match="expected one of train, validation, test, found"):
        kind(folder, "out-of-domain")


def test_openstl_speed_is_a_tenth_of_the_range(folder):
    """OpenSTL's step is 0.1 in a unit square that is scaled to 64 - 28 pixels."""
    paths = moving_mnist.openstl(folder, "train").paths(0, 0, 300)
    speed = np.hypot(*np.moveaxis(paths.velocities, -1, 0))
    np.testing.assert_allclose(speed, 3.6, rtol=1e-14)
    assert ((paths.positions == 0) | (paths.positions == 36)).any()
    assert moving_mnist.endless(folder, "train", digits=3).paths(0, 0, 1).which.shape == (1, 3)


class TestStandardTest:
    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch):
        monkeypatch.setattr(presets, "STANDARD_SHAPE", (20, 6, 64, 64))

    def test_standard_test_first_axis_is_the_sequence(self, tmp_path):
        frames = np.random.default_rng(0).integers(0, 256, (20, 6, 64, 64), np.uint8)
        np.save(tmp_path / "seq.npy", frames)
        found = moving_mnist.standard_test(tmp_path / "seq.npy")
        assert found.shape == (6, 20, 64, 64)
        for k in range(6):
            np.testing.assert_array_equal(found[k], frames[:, k])
        assert isinstance(found, np.memmap)
        assert not found.flags.writeable

    @pytest.mark.parametrize("array", [np.zeros((20, 6, 64, 64)), np.zeros((6, 20, 64, 64), np.uint8)])
    def test_standard_test_wrong_array_raises(self, tmp_path, array):
        np.save(tmp_path / "seq.npy", array)
        with pytest.raises(InputError, match=r"seq.npy: expected uint8 \(20, 6, 64, 64\), found"):
            moving_mnist.standard_test(tmp_path / "seq.npy")

    def test_standard_test_invalid_file_raises(self, tmp_path):
        file = tmp_path / "seq.npy"
        with pytest.raises(InputError, match=r"expected a complete \.npy file"):
            moving_mnist.standard_test(file)
        np.save(file, np.array([{"a": 1}], object), allow_pickle=True)
        with pytest.raises(InputError, match=r"expected a complete \.npy file"):
            moving_mnist.standard_test(file)
        np.save(file, np.zeros((20, 6, 64, 64), np.uint8))
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.raises(InputError, match=r"expected a complete \.npy file"):
            moving_mnist.standard_test(file)
        np.savez(tmp_path / "seq.npz", a=np.zeros(2))
        with pytest.raises(InputError, match="found an archive of several"):
            moving_mnist.standard_test(tmp_path / "seq.npz")

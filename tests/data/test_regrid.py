import numpy as np
import pyproj
import pytest
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.warp import reproject

from stormcell.data import schema
from stormcell.data.grid import Grid
from stormcell.data.overlaps import overlaps
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import open_radar
from stormcell.data.regrid import Target, regrid
from stormcell.errors import ArgumentError, InputError

# Two equal-area projections whose axes are turned by about 25° against each other where the grids are.
EUROPE = "+proj=laea +lat_0=52 +lon_0=10 +datum=WGS84 +units=m +type=crs"
EAST = "+proj=laea +lat_0=50 +lon_0=-20 +datum=WGS84 +units=m +type=crs"


def grid_of(crs, west, north, side, columns, rows):
    x = west + side * (np.arange(columns) + 0.5)
    return Grid.from_centres(pyproj.CRS(crs), x, north - side * (np.arange(rows) + 0.5))


def frames(rate, grid):
    rate = np.asarray(rate, np.float32)[None]
    return schema.build(rate, ["2020-06-01T00:00"], grid, measured={"zr_a": 200.0}, attributes={"title": "a"})


def rain(shape, seed=0):
    generator = np.random.default_rng(seed)
    return np.where(generator.random(shape) < 0.4, generator.gamma(1, 3, shape), 0).astype(np.float32)


def sampled(rate, source, target, row, column, points=160):
    """The mean and the observed share of a target pixel, by a lattice of points inside it."""
    inside = (np.arange(points) + 0.5) / points - 0.5
    x, y = np.meshgrid(target.x[column] + inside * target.dx, target.y[row] + inside * target.dy)
    east, north = pyproj.Transformer.from_crs(target.crs_wkt, source.crs_wkt, always_xy=True).transform(x, y)
    j = np.floor((east - source.west) / source.dx + 0.5).astype(int)
    i = np.floor((source.north - north) / source.dy + 0.5).astype(int)
    known = (i >= 0) & (i < source.rows) & (j >= 0) & (j < source.columns)
    values = np.where(known, rate[np.clip(i, 0, source.rows - 1), np.clip(j, 0, source.columns - 1)], np.nan)
    seen = ~np.isnan(values)
    return (values[seen].mean() if seen.any() else np.nan), seen.mean()


@pytest.mark.parametrize("side", [700.0, 2000.0, 7300.0], ids=["finer", "equal", "coarser"])
def test_regrid_turned_grids_agree_with_samples(side):
    source = grid_of(EUROPE, -60_000, 50_000, 2000, 50, 45)
    middle = pyproj.Transformer.from_crs(source.crs_wkt, EAST, always_xy=True).transform(0, 0)
    count = int(90_000 / side)
    target = grid_of(EAST, middle[0] - 45_000, middle[1] + 45_000, side, count, count)
    rate = rain((45, 50))
    rate[20:25, 10:30] = np.nan
    found = regrid(frames(rate, source), target)["rainfall_rate"].values[0]
    generator = np.random.default_rng(1)
    checked = 0
    for row, column in generator.integers(0, count, (60, 2)):
        mean, share = sampled(rate, source, target, row, column)
        # A border of a source pixel shifts by at most a distance of points: 1/160 of the target pixel. About
        # two borders cross it for each source pixel in a row; their errors are independent.
        tolerance = float(2 / 160 * np.nanmax(rate))
        if abs(share - 0.5) < 0.03:
            continue
        assert np.isnan(found[row, column]) == (share < 0.5)
        if share >= 0.5:
            assert found[row, column] == pytest.approx(mean, abs=tolerance)
            checked += 1
    assert checked >= 30


def test_overlaps_of_equal_area_grids_sum_to_the_areas_of_pixels():
    source = grid_of(EUROPE, -30_000, 30_000, 2000, 30, 30)
    middle = pyproj.Transformer.from_crs(source.crs_wkt, EAST, always_xy=True).transform(0, 0)
    target = grid_of(EAST, middle[0] - 60_000, middle[1] + 60_000, 3000, 40, 40)
    matrix = overlaps(source, target)
    # Each source pixel lies in the target grid, and is divided among its pixels. The straight sides of a
    # target pixel of 3 km are off by 3²/(8 · 6371) km at most, which shifts area between neighbours only; the
    # two projections preserve area to rounding.
    np.testing.assert_allclose(matrix.sum(axis=0), 2000**2 / 3000**2, rtol=1e-3)
    assert matrix.sum() * 9 == pytest.approx(30 * 30 * 4, rel=1e-5)
    shares = matrix.sum(axis=1)
    assert shares.max() == pytest.approx(1, abs=1e-5)
    assert shares.min() >= 0


def test_regrid_conserves_the_total_rain():
    source = grid_of(EUROPE, -30_000, 30_000, 2000, 30, 30)
    middle = pyproj.Transformer.from_crs(source.crs_wkt, EAST, always_xy=True).transform(0, 0)
    target = grid_of(EAST, middle[0] - 60_000, middle[1] + 60_000, 3000, 40, 40)
    rate = np.zeros((30, 30), np.float32)
    rate[5:25, 5:25] = rain((20, 20))  # the rain lies inside, so that no target pixel with rain is cut off
    found = regrid(frames(rate, source), target)["rainfall_rate"].values[0]
    before, after = rate.sum(dtype=np.float64) * 2000**2, np.nansum(found, dtype=np.float64) * 3000**2
    assert after == pytest.approx(before, rel=1e-4)


# rasterio multiplies transforms by an operator that the affine package will deprecate.
GDAL = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")


@GDAL
@pytest.mark.parametrize(("side", "columns"), [(2500.0, 16), (1000.0, 40), (3333.0, 12)])
def test_regrid_parallel_grids_agree_with_the_average_of_gdal(side, columns):
    source = grid_of(EUROPE, 0, 40_000, 1000, 40, 40)
    target = grid_of(EUROPE, 0, 40_000, side, columns, columns)
    rate = rain((40, 40))
    rate[3, 7] = np.nan
    expected = np.full((columns, columns), np.nan, np.float32)
    reproject(
        rate, expected,
        src_transform=from_origin(0, 40_000, 1000, 1000), src_crs=EUROPE, src_nodata=np.nan,
        dst_transform=from_origin(0, 40_000, side, side), dst_crs=EUROPE, dst_nodata=np.nan,
        resampling=Resampling.average,
    )  # fmt: skip
    found = regrid(frames(rate, source), target)["rainfall_rate"].values[0]
    seen = ~np.isnan(found)
    assert seen.mean() > 0.9
    # float32 sums of up to 25 products.
    np.testing.assert_allclose(found[seen], expected[seen], rtol=1e-5, atol=1e-6)


@GDAL
def test_regrid_average_of_gdal_is_wrong_for_turned_grids_and_ours_is_right():
    source = grid_of(EUROPE, -60_000, 50_000, 2000, 50, 45)
    middle = pyproj.Transformer.from_crs(source.crs_wkt, EAST, always_xy=True).transform(0, 0)
    target = grid_of(EAST, middle[0] - 20_000, middle[1] + 20_000, 8000, 5, 5)
    rate = rain((45, 50))
    gdal = np.full((5, 5), np.nan, np.float32)
    reproject(
        rate, gdal,
        src_transform=from_origin(-60_000, 50_000, 2000, 2000), src_crs=EUROPE, src_nodata=np.nan,
        dst_transform=from_origin(target.west - 4000, target.north + 4000, 8000, 8000), dst_crs=EAST,
        dst_nodata=np.nan, resampling=Resampling.average,
    )  # fmt: skip
    ours = regrid(frames(rate, source), target)["rainfall_rate"].values[0]
    truth = np.array([[sampled(rate, source, target, i, j)[0] for j in range(5)] for i in range(5)])
    assert np.abs(ours - truth).max() < 0.02
    assert np.abs(gdal - truth).max() > 0.1


def test_regrid_same_grid_changes_nothing():
    source = grid_of(EUROPE, 0, 40_000, 1000, 30, 40)
    rate = rain((40, 30))
    rate[:5] = np.nan
    same = regrid(frames(rate, source), source)
    np.testing.assert_allclose(same["rainfall_rate"].values[0], rate, rtol=1e-6)
    schema.check(same)
    assert (same.attrs["title"], same["rainfall_rate"].attrs["zr_a"]) == ("a", 200)
    assert "40 x 30 pixels of 1000 × 1000 m" in same["rainfall_rate"].attrs["regridding"]


def test_regrid_finer_grid_repeats_pixels():
    source = grid_of(EUROPE, 0, 4000, 1000, 3, 4)
    rate = np.arange(12, dtype=np.float32).reshape(4, 3)
    rate[0, 0] = np.nan
    found = regrid(frames(rate, source), Target(EUROPE, 500))["rainfall_rate"].values[0]
    np.testing.assert_allclose(found, rate.repeat(2, 0).repeat(2, 1), rtol=1e-6)


def test_regrid_pixel_is_observed_from_half_of_its_area_on():
    source = grid_of(EUROPE, 0, 2000, 1000, 4, 2)
    rate = np.float32([[np.nan, 1, np.nan, np.nan], [3, np.nan, np.nan, 5]])
    found = regrid(frames(rate, source), Target(EUROPE, 2000, (0, 0, 4000, 4000)))
    np.testing.assert_allclose(found["rainfall_rate"].values[0], [[np.nan] * 2, [2, np.nan]], rtol=1e-6)


def test_regrid_across_the_date_line_finds_both_sides():
    source = grid_of("EPSG:4326", -180, 10, 1, 360, 20)
    rate = np.zeros((20, 360), np.float32)
    rate[9, -1], rate[9, 0] = 1, 2  # at 0.5° N, west and east of 180°
    target = grid_of("+proj=merc +lon_0=180 +type=crs", -200_000, 100_000, 100_000, 4, 2)
    found = regrid(frames(rate, source), target)["rainfall_rate"].values[0]
    # The pixels beside 180° lie in one source pixel each, as 1° has 111 km, and only the row north of it.
    np.testing.assert_allclose(found[0], [1 * 11.32 / 100, 1, 2, 2 * 11.32 / 100], atol=2e-3)


def test_regrid_pixel_on_the_date_line_is_the_mean_of_both_sides():
    source = grid_of("EPSG:4326", -180, 10, 1, 360, 20)
    rate = np.zeros((20, 360), np.float32)
    rate[9, -1], rate[9, 0] = 1, 2  # at 0.5° N, west and east of 180°
    for west, mean in ((-50_000, 1.5), (-25_000, 1.75)):
        target = grid_of("+proj=merc +lon_0=180 +type=crs", west, 100_000, 100_000, 2, 2)
        found = regrid(frames(rate, source), target)["rainfall_rate"].values[0]
        assert found[0, 0] == pytest.approx(mean, rel=1e-3)


def test_regrid_longitudes_beyond_180_are_the_same_meridians():
    source = grid_of("EPSG:4326", -20, 60, 1, 30, 20)
    rate = rain((20, 30))
    there = Grid(source.crs_wkt, source.west + 360, source.north, 1, 1, 30, 20)
    found = regrid(frames(rate, source), there)["rainfall_rate"].values[0]
    np.testing.assert_allclose(found, rate, rtol=1e-6)


def test_regrid_grids_that_do_not_overlap_raise():
    source = grid_of(EUROPE, 0, 4000, 1000, 3, 4)
    with pytest.raises(InputError, match="expected a grid that overlaps the file's"):
        regrid(frames(np.zeros((4, 3)), source), Target("EPSG:3067", 1000, (0, 7e6, 1e4, 7.01e6)))


@pytest.mark.parametrize("crs", ["EPSG:3067", "EPSG:4326", "EPSG:3413"])
def test_target_grid_has_edges_at_multiples_of_the_resolution_and_covers_the_source(crs):
    source = grid_of(EUROPE, -30_100, 30_000, 2000, 30, 30)
    side = 0.05 if crs == "EPSG:4326" else 5000
    target = Target(crs, side).grid(source)
    for edge in (target.west - side / 2, target.north + side / 2):
        assert edge / side == pytest.approx(round(edge / side), abs=1e-6)
    np.testing.assert_allclose(overlaps(source, target).sum() * side**2 > 0, True)
    x, y = pyproj.Transformer.from_crs(source.crs_wkt, crs, always_xy=True).transform(
        *np.meshgrid(source.x, source.y)
    )
    assert target.x[0] - side / 2 <= x.min() <= x.max() <= target.x[-1] + side / 2
    assert target.y[-1] - side / 2 <= y.min() <= y.max() <= target.y[0] + side / 2


def test_target_grid_of_too_many_pixels_raises():
    with pytest.raises(InputError, match="expected at most 134217728 pixels"):
        Target("EPSG:4326", 1e-5).grid(grid_of(EUROPE, 0, 40_000, 1000, 40, 40))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("EPSG:3067", "expected CRS,RESOLUTION"),
        ("EPSG:3067,1000,1,2", "expected CRS,RESOLUTION"),
        ("EPSG:99999,1000", "projection: expected WKT"),
        ("EPSG:3067,0", "above 0, found 0"),
        ("EPSG:3067,nan", "above 0, found nan"),
        ("EPSG:3067,1000,5,0,1,9", "expected bounds W,S,E,N"),
        ("nonsense.zarr", "or an archive"),
    ],
)
def test_target_parse_of_other_text_raises(text, reason):
    with pytest.raises(ArgumentError, match=reason):
        Target.parse(text)


def test_regrid_real_frame_conserves_the_total_rain(radar_data):
    path = sorted((radar_data / "knmi_h5_20100826").iterdir())[6]
    ds = open_radar(path).read(ReadOptions(), slice(None))
    source = Grid.of(ds)
    rate = ds["rainfall_rate"].values[0]
    # Half-observed pixels at the edge of the range would gain or lose rain, so only the inside is compared.
    inside = np.zeros_like(rate)
    inside[300:460, 260:420] = np.nan_to_num(rate[300:460, 260:420])
    found = regrid(frames(inside, source), Target("EPSG:28992", 1500))
    target = Grid.of(found)
    totals = []
    for grid, values in ((source, inside), (target, found["rainfall_rate"].values[0])):
        lat, lon = grid.lat_lon()
        scale = pyproj.Proj(grid.crs_wkt).get_factors(lon.astype(float), lat.astype(float)).areal_scale
        totals.append(np.nansum(values.astype(float) / scale) * grid.dx * grid.dy)
    # The area of pixels varies by less than 1e-3 over a pixel; its scale is that of its centre.
    assert totals[0] > 0
    assert totals[1] == pytest.approx(totals[0], rel=1e-3)

from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest

from stormcell.data import archive
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import looks_like_radar, meteonet_npz, open_radar
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

ALL = slice(None)
LAT, LON = 51.891 - 0.01 * np.arange(4), -5.837 + 0.01 * np.arange(3)
DATES = [datetime(2018, 3, 1, 0, 5 * k) for k in range(2)]


def coordinates(folder: Path, zone: str = "NW", shape: tuple[int, int] = (4, 3)) -> Path:
    lat, lon = np.meshgrid(LAT[: shape[0]], LON[: shape[1]], indexing="ij")
    np.savez(folder / f"radar_coords_{zone}.npz", lats=lat, lons=lon)
    return folder / f"radar_coords_{zone}.npz"


def write(path: Path, data: np.ndarray, dates: list = DATES, **more: np.ndarray) -> Path:
    missing = np.array([], float)
    np.savez(path, data=data.astype(np.int16), dates=np.array(dates, object), miss_dates=missing, **more)
    return path


def frames(code: int) -> np.ndarray:
    """Return two frames of a number, whose first pixels the test changes."""
    return np.full((2, 4, 3), code)


def test_meteonet_npz_rainfall_is_in_hundredths_of_a_millimetre_in_five_minutes(tmp_path):
    coordinates(tmp_path)
    data = frames(254)
    data[0, 0] = [-1, 0, 1]
    ds = meteonet_npz.read(Source(write(tmp_path / "rainfall_NW_2018_03.1.npz", data)), ReadOptions(), ALL)
    rate = ds["rainfall_rate"]
    np.testing.assert_allclose(rate[0, 0], [np.nan, 0, 0.12], rtol=1e-6)  # 0.01 mm · 12
    np.testing.assert_allclose(rate[1], 30.48, rtol=1e-6)
    assert rate.attrs["source_quantity"] == "amount"
    assert rate.attrs["accumulation_minutes"] == pytest.approx(5)
    np.testing.assert_array_equal(ds["time"], np.array(DATES, "M8[ns]"))
    np.testing.assert_allclose(ds["y"], LAT)
    np.testing.assert_allclose(ds["x"], LON)


@pytest.mark.parametrize(
    ("kind", "codes", "dbz"),
    [
        ("reflectivity_old", [0, 255, 8, 70], [-np.inf, np.nan, 8, 70]),
        ("reflectivity_new", [-100, -200, -90, 235], [-np.inf, np.nan, -9, 23.5]),
    ],
)
def test_meteonet_npz_reflectivity_codes_become_rates(tmp_path, kind, codes, dbz):
    coordinates(tmp_path)
    data = frames(0)
    data[:, :, 0] = codes
    source = Source(write(tmp_path / f"{kind}_NW_2018_03.1.npz", data))
    rate = meteonet_npz.read(source, ReadOptions(), ALL)["rainfall_rate"]
    expected = (10.0 ** (np.array(dbz) / 10) / 200) ** (1 / 1.6)
    np.testing.assert_allclose(rate[1, :, 0], expected, rtol=1e-6)
    assert (rate.attrs["zr_a"], rate.attrs["zr_b"]) == (200.0, 1.6)
    rate = meteonet_npz.read(source, ReadOptions(zr=(300.0, 1.5)), ALL)["rainfall_rate"]
    np.testing.assert_allclose(rate[1, 3, 0], (10 ** (dbz[3] / 10) / 300) ** (1 / 1.5), rtol=1e-6)


def test_meteonet_npz_rows_from_the_south_are_turned(tmp_path):
    lat, lon = np.meshgrid(LAT[::-1], LON, indexing="ij")
    np.savez(tmp_path / "radar_coords_NW.npz", lats=lat, lons=lon)
    data = frames(0) + 100 * np.arange(4)[:, None]
    source = Source(write(tmp_path / "rainfall_NW_2018_03.1.npz", data))
    ds = meteonet_npz.read(source, ReadOptions(), ALL)
    np.testing.assert_allclose(ds["y"], LAT)
    np.testing.assert_allclose(ds["rainfall_rate"][0, :, 0], [36, 24, 12, 0], rtol=1e-6)


def test_meteonet_npz_positions_are_found_in_a_folder_above(tmp_path):
    coordinates(tmp_path)
    (tmp_path / "radar" / "rainfall").mkdir(parents=True)
    source = Source(write(tmp_path / "radar" / "rainfall" / "rainfall_NW_2018_03.1.npz", frames(0)))
    assert meteonet_npz.read(source, ReadOptions(), ALL).sizes["y"] == 4


def test_meteonet_npz_missing_positions_raise_and_name_the_file(tmp_path):
    source = Source(write(tmp_path / "rainfall_SE_2018_03.1.npz", frames(0)))
    with pytest.raises(InputError, match=r"expected radar_coords_SE.npz beside the file .* found no"):
        meteonet_npz.read(source, ReadOptions(), ALL)
    coordinates(tmp_path, "SE", (2, 2))
    with pytest.raises(InputError, match=r"found radar_coords_SE.npz of another size"):
        meteonet_npz.read(source, ReadOptions(), ALL)


def test_meteonet_npz_kind_is_given_if_the_name_does_not_say_it(tmp_path):
    coordinates(tmp_path)
    source = Source(write(tmp_path / "march.npz", frames(100)))
    with pytest.raises(InputError, match="expected rainfall, reflectivity_old, reflectivity_new in the name"):
        meteonet_npz.read(source, ReadOptions(), ALL)
    rate = meteonet_npz.read(source, ReadOptions(variable="rainfall"), ALL)["rainfall_rate"]
    np.testing.assert_allclose(rate, 12, rtol=1e-6)
    with pytest.raises(InputError, match=r"variable: expected rainfall, .*, found hail"):
        meteonet_npz.read(source, ReadOptions(variable="hail"), ALL)
    named = Source(write(tmp_path / "rainfall_NW_2018_03.1.npz", frames(100)))
    with pytest.raises(InputError, match="variable: expected the file's rainfall, found reflectivity_old"):
        meteonet_npz.times(named, ReadOptions(variable="reflectivity_old"))


def test_meteonet_npz_other_files_of_the_set_are_refused_by_name(tmp_path):
    mean = write(tmp_path / "rainfall_mean_quality-code_NW_2018_03.1.npz", frames(50), [date(2018, 3, 1)] * 2)
    with pytest.raises(InputError, match="found a quality code; use --min-quality"):
        open_radar(mean)
    with pytest.raises(InputError, match="found positions of pixels, which are read together with frames"):
        open_radar(coordinates(tmp_path))
    rain = write(tmp_path / "rainfall_NW_2018_03.1.npz", frames(0))
    assert [path.name for path in sorted(tmp_path.iterdir()) if looks_like_radar(path)] == [rain.name]


def test_meteonet_npz_quality_below_the_lowest_is_not_observed(tmp_path):
    coordinates(tmp_path)
    source = Source(write(tmp_path / "rainfall_NW_2018_03.1.npz", frames(100)))
    with pytest.raises(InputError, match=r"expected rainfall_mean_quality-code_NW_2018_03.1.npz"):
        meteonet_npz.read(source, ReadOptions(min_quality=60), ALL)
    quality = frames(80)[:1]
    quality[0, :, 0] = [60, 59, 255, 100]
    write(tmp_path / "rainfall_mean_quality-code_NW_2018_03.1.npz", quality, [date(2018, 3, 1)])
    rate = meteonet_npz.read(source, ReadOptions(min_quality=60), ALL)["rainfall_rate"].values
    np.testing.assert_array_equal(np.isnan(rate[1, :, 0]), [False, True, True, False])
    assert not np.isnan(rate[:, :, 1:]).any()
    # With the differences from the daily mean, the quality of a frame is exact.
    change = frames(0)
    change[1, :, 0] = [-1, 1, 0, -40]
    write(tmp_path / "rainfall_diff_quality-code_NW_2018_03.1.npz", change)
    rate = meteonet_npz.read(source, ReadOptions(min_quality=60), ALL)["rainfall_rate"].values
    np.testing.assert_array_equal(np.isnan(rate[0, :, 0]), [False, True, True, False])
    np.testing.assert_array_equal(np.isnan(rate[1, :, 0]), [True, False, True, False])
    rate = meteonet_npz.read(source, ReadOptions(min_quality=61), slice(1, 2))["rainfall_rate"].values
    np.testing.assert_array_equal(np.isnan(rate[0, :, 0]), [True, True, True, True])
    other = Source(write(tmp_path / "reflectivity_old_NW_2018_03.1.npz", frames(20)))
    with pytest.raises(InputError, match="min_quality: expected rainfall, found reflectivity"):
        meteonet_npz.read(other, ReadOptions(min_quality=60), ALL)


@pytest.mark.parametrize(
    ("data", "dates"),
    [(frames(0), DATES[:1]), (frames(0)[0], DATES), (frames(0)[:0], [])],
)
def test_meteonet_npz_data_without_a_date_each_raise(tmp_path, data, dates):
    coordinates(tmp_path)
    with pytest.raises(InputError, match="data: expected integers"):
        open_radar(write(tmp_path / "rainfall_NW_2018_03.1.npz", data, dates))


@pytest.mark.parametrize("zone", ["NW", "SE"])
@pytest.mark.parametrize(("kind", "missing", "wet"), [("rainfall", -1, 1), ("reflectivity_old", 255, 8)])
def test_meteonet_npz_real_files_agree_with_their_numbers(radar_data, zone, kind, missing, wet):
    path = radar_data / "meteonet_sample_201608" / f"{kind}_{zone}_2016_08.3.npz"
    with np.load(path, allow_pickle=True) as raw:  # a file that we trust
        data, dates = raw["data"], raw["dates"]
    file = open_radar(path)
    assert file.reader is meteonet_npz
    np.testing.assert_array_equal(file.times, dates.astype("M8[s]"))
    part = slice(20, 28)
    ds = file.read(ReadOptions(), part)
    rate, numbers = ds["rainfall_rate"].values, data[part]
    observed = numbers != missing
    np.testing.assert_array_equal(np.isnan(rate), ~observed)
    np.testing.assert_array_equal(rate > 0, observed & (numbers >= wet))
    if kind == "rainfall":
        # float32: half a unit in the last place is 6e-8 of the value.
        np.testing.assert_allclose(rate[observed], numbers[observed] * 0.12, rtol=1.2e-7)
    else:
        back = 10 * np.log10(200 * rate[rate > 0].astype(float) ** 1.6)
        np.testing.assert_allclose(back, numbers[rate > 0], atol=1e-6, rtol=0)
    corner = {"NW": (51.891, -5.837, 46.251, 1.993), "SE": (46.245, 2.005, 41.105, 9.835)}[zone]
    x, y = ds["x"].values, ds["y"].values
    assert (y[0], x[0], y[-1], x[-1]) == pytest.approx(corner, abs=1e-9)


def test_meteonet_npz_real_rain_agrees_best_with_reflectivity_before_its_date(radar_data):
    # The date of rainfall is the end of its five minutes: rain correlates better with the reflectivity five
    # minutes before the date than with that five minutes after it, and best with that at the date.
    folder = radar_data / "meteonet_sample_201608"
    rain, echo = (
        open_radar(folder / f"{kind}_NW_2016_08.3.npz") for kind in ("rainfall", "reflectivity_old")
    )
    correlation: dict[int, list[float]] = {-5: [], 0: [], 5: []}
    for index, time in enumerate(rain.times):
        for minutes, found in correlation.items():
            at = np.flatnonzero(echo.times == time + np.timedelta64(minutes, "m"))
            if len(at):
                pair = [
                    file.read(ReadOptions(), slice(k, k + 1))["rainfall_rate"].values[0]
                    for file, k in ((rain, index), (echo, at[0]))
                ]
                both = np.isfinite(pair).all(0)
                logs = [np.log10(np.maximum(rate[both], 0.05)) for rate in pair]
                if (pair[0][both] > 0.3).sum() > 500:
                    found.append(float(np.corrcoef(*logs)[0, 1]))
    mean = {minutes: np.mean(found) for minutes, found in correlation.items()}
    assert mean[0] > mean[-5] > mean[5]


def test_meteonet_npz_real_folder_leaves_out_what_is_not_rain(radar_data, tmp_path):
    files = sorted((radar_data / "meteonet_sample_201608").iterdir())
    assert [path.name for path in files if looks_like_radar(path)] == [
        f"{kind}_{zone}_2016_08.3.npz" for kind in ("rainfall", "reflectivity_old") for zone in ("NW", "SE")
    ]
    done = archive.append(
        tmp_path / "a.zarr", [radar_data / "meteonet_sample_201608/rainfall_NW_2016_08.3.npz"]
    )
    assert (len(done.added), done.refused) == (45, ())

"""Files that were made to do harm: refused in one clear line, in bounded memory, and nothing is run."""

import bz2
import gzip
import importlib.util
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr
import zarr
from numcodecs import Blosc
from rasterio.transform import Affine

from stormcell.data.readers.zarr_limits import limits
from stormcell.errors import InputError

PROGRAM = Path(__file__).with_name("hostile.py")
ZEROS = bytes(2**26)
FILES: dict[str, tuple[Callable[[Path], None], str]] = {}


def hostile(message: str) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Add a function that writes a hostile file into a folder, and what its refusal contains."""

    def add(write: Callable[[Path], None]) -> Callable[[Path], None]:
        FILES[write.__name__] = (write, message)
        return write

    return add


def sample(name: str) -> ModuleType:
    path = Path(__file__).parent / "samples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"hostile_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def deflated_zeros(beginning: bytes) -> bytes:
    """Return bytes and 4 GiB of zeros, deflated; the parts repeat, because each begins afresh."""

    def part(content: bytes) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)

    return part(beginning) + 64 * part(ZEROS) + zlib.compressobj(9, zlib.DEFLATED, -15).flush()


def rain(times: int = 1, rows: int = 4, columns: int = 5) -> xr.Dataset:
    rates = (
        ("time", "y", "x"),
        np.ones((times, rows, columns), "f4"),
        {"units": "mm/h", "grid_mapping": "crs"},
    )
    y, x = ({"standard_name": f"projection_{axis}_coordinate", "units": "m"} for axis in "yx")
    return xr.Dataset(
        {"rain": rates, "crs": ((), 0, pyproj.CRS(3067).to_cf())},
        {
            "time": np.datetime64("2020-05-01", "ns") + 300 * 10**9 * np.arange(times),
            "y": ("y", 7e6 - 1000 * np.arange(rows), y),
            "x": ("x", 3e5 + 1000 * np.arange(columns), x),
        },
    )


# Compressed files


NIMROD_BEGINNING = b"\0\0\2\0" + bytes(512) + b"\0\0\2\0"


@hostile("expected at most 1073741824 bytes, found more")
def gzip_bomb(folder: Path) -> None:
    begin, part = gzip.compress(NIMROD_BEGINNING), gzip.compress(ZEROS)
    (folder / "a.dat.gz").write_bytes(begin + 64 * part)


@hostile("expected at most 1073741824 bytes, found more")
def bzip2_bomb(folder: Path) -> None:
    begin, part = bz2.compress(NIMROD_BEGINNING), bz2.compress(ZEROS)
    (folder / "a.dat.bz2").write_bytes(begin + 64 * part)


# HDF5


def odim(folder: Path, shape: tuple[int, int], **settings: object) -> h5py.Dataset:
    """An ODIM composite whose data are replaced by an array of settings for h5py; it stays open."""
    path = folder / "a.h5"
    sample("odim_h5").make(
        path,
        [{"quantity": "RATE", "gain": 0.5, "offset": 0, "nodata": 255, "undetect": 0}],
        [np.ones((6, 5), np.uint8)],
    )
    file = h5py.File(path, "r+")
    group = file["dataset1/data1"]
    del group["data"]
    return group.create_dataset("data", shape, np.uint8, **settings)


@hostile("expected a size that a radar file can have")
def hdf5_huge_deflated_dataset(folder: Path) -> None:
    data = odim(folder, (2**20, 2**20), chunks=(1024, 1024), compression="gzip")
    data.file.close()


@hostile("expected at most 1048580 bytes, found more")
def hdf5_chunk_that_unpacks_to_more(folder: Path) -> None:
    data = odim(folder, (1024, 1024), chunks=(1024, 1024), compression="gzip")
    data.id.write_direct_chunk((0, 0), b"\x78\xda" + deflated_zeros(b"") + bytes(4))
    data.file.close()


@hostile("expected chunks that are deflated once, at last, found the filters [1, 1]")
def hdf5_chunk_that_is_deflated_twice(folder: Path) -> None:
    path = folder / "a.h5"
    odim(folder, (6, 5)).file.close()
    with h5py.File(path, "r+") as file:
        del file["dataset1/data1/data"]
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((6, 5))
        properties.set_deflate(9)
        properties.set_deflate(9)
        space = h5py.h5s.create_simple((6, 5))
        h5py.h5d.create(file["dataset1/data1"].id, b"data", h5py.h5t.NATIVE_UINT8, space, properties)


@hostile("expected data in the file, found a link to another file")
def hdf5_external_link(folder: Path) -> None:
    path = folder / "a.h5"
    odim(folder, (6, 5)).file.close()
    with h5py.File(path, "r+") as file:
        del file["dataset1/data1/data"]
        file["dataset1/data1/data"] = h5py.ExternalLink("/etc/passwd", "/data")


@hostile("expected data in the file, found data in another file")
def hdf5_external_data(folder: Path) -> None:
    path = folder / "a.h5"
    odim(folder, (6, 5)).file.close()
    with h5py.File(path, "r+") as file:
        del file["dataset1/data1/data"]
        file.create_dataset("dataset1/data1/data", (6, 5), np.uint8, external="/etc/passwd")


@hostile("found")
def odim_xsize_lied(folder: Path) -> None:
    path = folder / "a.h5"
    odim(folder, (6, 5)).file.close()
    with h5py.File(path, "r+") as file:
        for group in [group for group in (file, file["dataset1"]) if "where" in group]:
            group["where"].attrs["xsize"] = 2**40


# NetCDF classic


def classic(folder: Path, change: Callable[[bytes], bytes]) -> None:
    path = folder / "a.nc"
    rain(3).to_netcdf(path, engine="scipy", format="NETCDF3_CLASSIC", unlimited_dims=["time"])
    path.write_bytes(change(path.read_bytes()))


@hostile("expected complete CF NetCDF")
def netcdf_absurd_number_of_records(folder: Path) -> None:
    classic(folder, lambda content: content[:4] + struct.pack(">i", 2**31 - 1) + content[8:])


@hostile("rain: expected frames")
def netcdf_negative_number_of_records(folder: Path) -> None:
    classic(folder, lambda content: content[:4] + struct.pack(">i", -2) + content[8:])


@hostile("expected complete CF NetCDF")
def netcdf_absurd_dimension(folder: Path) -> None:
    name = b"\0\0\0\1x\0\0\0"
    classic(
        folder,
        lambda content: content.replace(name + struct.pack(">i", 5), name + struct.pack(">i", 2**31 - 1)),
    )


@hostile("expected complete CF NetCDF")
def netcdf_absurd_number_of_dimensions(folder: Path) -> None:
    classic(folder, lambda content: content[:12] + struct.pack(">i", 2**31 - 1) + content[16:])


# Zarr


def store(folder: Path, version: int = 3, **encoding: object) -> Path:
    path = folder / "a.zarr"
    ds = rain()
    ds["rain"].encoding.update(encoding)
    ds.to_zarr(path, zarr_format=version, consolidated=False)
    return path


def edit(path: Path, change: Callable[[dict], object]) -> None:
    metadata = json.loads(path.read_text())
    change(metadata)
    path.write_text(json.dumps(metadata))


@hostile("expected a size that a radar file can have")
def zarr_absurd_shape(folder: Path) -> None:
    path = store(folder)
    for name, shape in (("rain", [1, 10**9, 10**9]), ("y", [10**9]), ("x", [10**9])):
        edit(path / name / "zarr.json", lambda array, shape=shape: array.update(shape=shape))


@hostile("expected a size that a radar file can have")
def zarr_absurd_chunks(folder: Path) -> None:
    path = store(folder)
    edit(
        path / "rain" / "zarr.json",
        lambda array: array["chunk_grid"]["configuration"].update(chunk_shape=[1, 2**20, 2**20]),
    )


def bomb(folder: Path, version: int, encoding: dict, content: bytes) -> None:
    path = store(folder, version, **encoding)
    (chunk,) = [file for file in (path / "rain").rglob("*") if file.is_file() and file.name[0] not in ".z"]
    chunk.write_bytes(content)


@hostile("expected to unpack to at most 16777376 bytes, found 4294967296")
def zarr_zstd_bomb(folder: Path) -> None:
    # A frame of 4 GiB: its header, then blocks of a repeated byte.
    blocks = struct.pack("<I", 2**17 << 3 | 1 << 1)[:3] + b"\0"
    last = struct.pack("<I", 2**17 << 3 | 1 << 1 | 1)[:3] + b"\0"
    head = b"\x28\xb5\x2f\xfd\xc0\x70" + struct.pack("<Q", 2**32)
    bomb(folder, 3, {}, head + (2**15 - 1) * blocks + last)


@hostile("expected to unpack to at most 16777376 bytes, found 4294836224")
def zarr_zstd_bomb_without_a_size(folder: Path) -> None:
    blocks = struct.pack("<I", 2**17 << 3 | 1 << 1)[:3] + b"\0"
    last = struct.pack("<I", 2**17 << 3 | 1 << 1 | 1)[:3] + b"\0"
    bomb(folder, 3, {}, b"\x28\xb5\x2f\xfd\x00\x70" + (2**15 - 1) * blocks + last)


@hostile("expected to unpack to at most 16777376 bytes, found 2147483647")
def zarr_blosc_bomb(folder: Path) -> None:
    packed = Blosc("zlib").encode(bytes(2**20))
    packed = packed[:4] + struct.pack("<I", 2**31 - 1) + packed[8:]
    bomb(folder, 2, {"compressor": Blosc("zlib")}, packed)


@hostile("expected at most 16777376 bytes, found more")
def zarr_gzip_bomb(folder: Path) -> None:
    bomb(folder, 3, {"compressors": zarr.codecs.GzipCodec()}, 64 * gzip.compress(ZEROS))


@hostile("expected at most 16777376 bytes, found more")
def zarr_bzip2_bomb(folder: Path) -> None:
    path = store(folder, 2)
    edit(path / "rain" / ".zarray", lambda array: array.update(compressor={"id": "bz2", "level": 1}))
    (path / "rain" / "0.0.0").write_bytes(64 * bz2.compress(ZEROS))


@hostile("expected to unpack to at most 16777376 bytes, found 4294967296")
def zarr_bomb_in_a_shard(folder: Path) -> None:
    path = store(folder, 3, chunks=(1, 4, 5), shards=(1, 4, 5), compressors=zarr.codecs.ZstdCodec())
    (chunk,) = [file for file in (path / "rain" / "c").rglob("*") if file.is_file()]
    head = b"\x28\xb5\x2f\xfd\xc0\x70" + struct.pack("<Q", 2**32)
    blocks = struct.pack("<I", 2**17 << 3 | 1 << 1)[:3] + b"\0"
    packed = head + 2**15 * blocks
    from google_crc32c import value as crc32c

    index = struct.pack("<QQ", 0, len(packed))
    chunk.write_bytes(packed + index + struct.pack("<I", crc32c(index)))


def pickled(folder: Path, **changes: object) -> None:
    path = store(folder, 2)
    edit(path / "rain" / ".zarray", lambda array: array.update(changes))
    (path / "rain" / "0.0.0").write_bytes(pickle.dumps(_Bomb(folder)))


@hostile("pickle")
def zarr_pickle_compressor(folder: Path) -> None:
    pickled(folder, filters=None, compressor={"id": "pickle"})


@hostile("expected one variable of rain")
def zarr_pickle_filter_of_objects(folder: Path) -> None:
    filters = [{"id": "vlen-utf8"}, {"id": "pickle"}]
    pickled(folder, dtype="|O", fill_value=None, filters=filters, compressor=None)


@hostile("expected a file in the folder, found a path to another place")
def zarr_link_out_of_the_folder(folder: Path) -> None:
    path = store(folder)
    (chunk,) = [file for file in (path / "rain" / "c").rglob("*") if file.is_file()]
    chunk.rename(folder / "_secret")
    chunk.symlink_to(folder / "_secret")


@hostile("expected")
def zarr_name_that_escapes(folder: Path) -> None:
    path = store(folder)
    metadata = {
        name: json.loads((path / name / "zarr.json").read_text()) for name in ("time", "y", "x", "rain")
    }
    shutil.move(path / "rain", folder / "_rain")
    metadata["../_rain"] = metadata.pop("rain")
    edit(
        path / "zarr.json",
        lambda group: group.update(
            consolidated_metadata={"kind": "inline", "must_understand": False, "metadata": metadata}
        ),
    )


@hostile("expected a regular file, found a device or pipe")
def zarr_pipe_instead_of_a_chunk(folder: Path) -> None:
    path = store(folder)
    (chunk,) = [file for file in (path / "rain" / "c").rglob("*") if file.is_file()]
    chunk.unlink()
    os.mkfifo(chunk)


@hostile("maximum recursion depth exceeded")
def zarr_deeply_nested_metadata(folder: Path) -> None:
    (store(folder) / "zarr.json").write_text("[" * 10**6)


@hostile("maximum recursion depth exceeded")
def zarr_deeply_nested_metadata_of_an_array(folder: Path) -> None:
    (store(folder) / "rain" / "zarr.json").write_text('{"a":' * 10**6)


@hostile("zarr.json: expected at most 67108864 bytes")
def zarr_huge_metadata(folder: Path) -> None:
    os.truncate(store(folder) / "zarr.json", 2**40)


@hostile("zarr.json: expected at most 67108864 bytes")
def zarr_huge_metadata_of_an_array(folder: Path) -> None:
    os.truncate(store(folder) / "rain" / "zarr.json", 2**40)


def lying_zip(path: Path, members: dict[str, bytes], bomb: str, packed: bytes, size: int) -> None:
    """A zip file with a deflated member that claims a size, with the checksum of zeros of this size."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, content in members.items():
            file.writestr(name, content)
        file.writestr(bomb, packed)
        info = file.getinfo(bomb)
        info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, size
        info.CRC = zlib.crc32(bytes(min(size, 2**20)))
    content = path.read_bytes()
    at = info.header_offset
    path.write_bytes(content[: at + 8] + struct.pack("<H", 8) + content[at + 10 :])


@hostile("rain/c/0/0/0: expected 100 bytes, found more")
def zarr_zip_member_that_unpacks_to_more(folder: Path) -> None:
    path = store(folder)
    members = {
        str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()
    }
    members.pop("rain/c/0/0/0")
    shutil.rmtree(path)
    lying_zip(folder / "a.zarr.zip", members, "rain/c/0/0/0", deflated_zeros(b""), 100)


# NumPy


class _Bomb:
    """An object whose pickle runs a command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.folder / '_ran'}'",)


def header(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@hostile("found posix.system in the pickle")
def npz_pickle_bomb_in_dates(folder: Path) -> None:
    dates = np.empty(1, object)
    dates[0] = _Bomb(folder)
    np.savez(folder / "rainfall_NW_2016_08.3.npz", data=np.zeros((1, 6, 5), np.int16), dates=dates)


@hostile("expected")
def npz_zip_bomb(folder: Path) -> None:
    content = header(np.zeros((1, 6, 5), np.float32))[:128]
    content = content.replace(b"(1, 6, 5), }     ", b"(9, 8192, 8192), }")[:128]
    size = len(content) + 9 * 8192 * 8192 * 4
    lying_zip(folder / "a.npz", {}, "rate.npy", deflated_zeros(content), size)


@hostile("expected a header of 10000 bytes, found 4294967280")
def npz_header_bomb(folder: Path) -> None:
    begin = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 16)
    lying_zip(folder / "a.npz", {}, "rate.npy", deflated_zeros(begin), 2**32 - 1)


@hostile("expected a member that is stored or deflated, found method 12")
def npz_bzip2_bomb(folder: Path) -> None:
    with zipfile.ZipFile(folder / "a.npz", "w", zipfile.ZIP_BZIP2) as file:
        file.writestr("rate.npy", header(np.zeros((1, 6, 5), np.float32)) + ZEROS)


@hostile("expected")
def npz_names_that_escape(folder: Path) -> None:
    with zipfile.ZipFile(folder / "a.npz", "w") as file:
        for name in ("../_ran.npy", f"{folder}/_ran.npy"):
            file.writestr(name, header(np.zeros((1, 6, 5), np.float32)))


@hostile("expected")
def npy_absurd_shape(folder: Path) -> None:
    content = header(np.zeros((1, 6, 5), np.float32))
    (folder / "a.npy").write_bytes(content.replace(b"(1, 6, 5), }         ", b"(1, 99999, 99999), }"))


# Pictures


@hostile("found another format")
def png_absurd_size(folder: Path) -> None:
    content = sample("grib2").png(np.zeros((480, 480), np.uint8))
    head = struct.pack(">4sIIBBBBB", b"IHDR", 2 * 10**9, 2 * 10**9, 8, 0, 0, 0, 0)
    content = content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]
    (folder / "RAD130522024800.png").write_bytes(content)


@hostile("expected a complete PNG image")
def png_text_bomb(folder: Path) -> None:
    content = sample("grib2").png(np.zeros((480, 480), np.uint8))
    text = b"zTXta\0\0" + b"".join([zlib.compress(ZEROS)])
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    (folder / "RAD130522024800.png").write_bytes(content[:33] + chunk + content[33:])


@hostile("found another format")
def gif_absurd_size(folder: Path) -> None:
    head = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0xF7, 0, 0) + bytes(range(256)) * 3
    frame = b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x08\x04" + bytes(4) + b"\0;"
    (folder / "AQC161932100V_00005.801.gif").write_bytes(head + frame)


@hostile("expected")
def pgm_absurd_size(folder: Path) -> None:
    lines = b"P5\n# obstime 201609281445\n# param CorrectedReflectivity\n# projection radar {\n# }\n"
    (folder / "a.pgm").write_bytes(lines + b"2000000000 2000000000\n255\n" + bytes(30))


@hostile("expected a size that a radar file can have, found 2000000000 × 2000000000 pixels")
def tiff_absurd_size(folder: Path) -> None:
    tags = [
        (256, 4, 2 * 10**9), (257, 4, 2 * 10**9), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 8),
        (277, 3, 1), (278, 4, 1), (279, 4, 8),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    (folder / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", 16) + bytes(8) + directory)


@hostile("projection: expected one in the file, found none")
def tiff_whose_projection_is_in_another_file(folder: Path) -> None:
    where = Affine(1000, 0, 300_000, 0, -1000, 7_000_000)
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "height": 6, "width": 5}
    with rasterio.open(folder / "a.tif", "w", **profile, transform=where) as file:
        file.write(np.ones((1, 6, 5), np.float32))
        file.units = ("mm/h",)
        file.update_tags(TIFFTAG_DATETIME="2020:05:01 12:00:00")
    (folder / "a.tif.aux.xml").write_text("<PAMDataset><SRS>EPSG:3067</SRS></PAMDataset>")


@hostile("expected FMI PGM")
def vrt_that_names_other_files(folder: Path) -> None:
    source = "<SimpleSource><SourceFilename>/etc/passwd</SourceFilename></SimpleSource>"
    band = f'<VRTRasterBand dataType="Byte" band="1">{source}</VRTRasterBand>'
    (folder / "a.tif").write_text(f'<VRTDataset rasterXSize="5" rasterYSize="6">{band}</VRTDataset>')


# Binary formats


@hostile("expected")
def grib2_absurd_grid(folder: Path) -> None:
    made = sample("grib2")
    grid = made.lat_lon(4, 5, points=2**31)
    grid = grid.replace(struct.pack(">II", 5, 4), struct.pack(">II", 2**31, 2**31))
    sections = {3: grid, 5: made.packing(41, 2**31)}
    (folder / "a.grib2").write_bytes(made.message(np.ones((4, 5)), sections=sections))


@hostile("PNG: expected 20 points of 16 bits, found 2000000000 × 2000000000")
def grib2_image_of_another_size(folder: Path) -> None:
    made = sample("grib2")
    content = made.png(np.zeros((4, 5), np.uint16))
    head = struct.pack(">4sIIBBBBB", b"IHDR", 2 * 10**9, 2 * 10**9, 16, 0, 0, 0, 0)
    content = content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]
    (folder / "a.grib2").write_bytes(made.message(np.ones((4, 5)), sections={7: made.section(7, content)}))


@hostile("PNG: expected 20 points of 16 bits, found 8192 × 8192")
def grib2_image_that_unpacks_to_more(folder: Path) -> None:
    made = sample("grib2")
    (folder / "a.grib2").write_bytes(
        made.message(
            np.ones((4, 5)), sections={7: made.section(7, made.png(np.zeros((2**13, 2**13), np.uint16)))}
        )
    )


@hostile("expected at most 134217728 pixels, found 1073676289")
def nimrod_absurd_size(folder: Path) -> None:
    content = sample("nimrod").field(np.zeros((4, 5), np.int16), rows=32767, columns=32767)
    (folder / "a.nimrod").write_bytes(content)


@hostile("between equal marks")
def nimrod_absurd_record(folder: Path) -> None:
    content = sample("nimrod").field(np.zeros((4, 5), np.int16))
    (folder / "a.nimrod").write_bytes(content[:520] + b"\xff\xff\xff\xff" + content[524:])


@hostile("GP: expected a grid of")
def radolan_absurd_size(folder: Path) -> None:
    head = b"RW010250100000623BY9999999VS 3SW   2.28.1PR E-01INT  60GP9999x9999MS  0\x03"
    (folder / "raa01-rw_10000-2306010250-dwd---bin").write_bytes(head)


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, tuple[Path, str]]:
    top = tmp_path_factory.mktemp("hostile")
    for name, (write, _) in FILES.items():
        (top / name).mkdir()
        write(top / name)
    run = subprocess.run(
        [sys.executable, str(PROGRAM), str(top)], capture_output=True, text=True, timeout=500
    )
    found = dict(map(json.loads, run.stdout.splitlines()))
    assert run.returncode == 0, f"ended after {len(found)} files: {run.stderr[-2000:]}"
    return {name: (top / name, answer) for name, answer in found.items()}


@pytest.mark.parametrize("name", FILES)
def test_readers_hostile_file_is_refused_in_one_clear_line(answers, name):
    folder, answer = answers[name]
    assert FILES[name][1] in answer
    assert not answer.startswith("!")
    assert answer.isprintable()
    assert not (folder / "_ran").exists()
    assert not (folder.parent / "_ran.npy").exists()


def test_limits_pickle_codec_is_refused_and_not_called(tmp_path):
    # Zarr itself refuses pickle as the first filter of objects.
    filters = [{"id": "vlen-utf8"}, {"id": "pickle"}]
    pickled(tmp_path, dtype="|O", fill_value=None, filters=filters, compressor=None)
    with limits(), pytest.raises(InputError, match=r"codec: expected one of .*, found pickle$"):
        zarr.open_array(tmp_path / "a.zarr" / "rain", mode="r")[...]
    assert not (tmp_path / "_ran").exists()


LIMITED = (
    "import resource, sys\n"
    "from stormcell.__main__ import main\n"
    "limit = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + 2**31\n"
    "resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))\n"
    "sys.exit(main())\n"
)


def run_archive(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LIMITED, "archive", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_archive_hostile_files_among_good_ones_are_named_and_the_rest_is_archived(write_pgm, tmp_path):
    first = write_pgm("201609281445")
    assert run_archive(first, "--out", tmp_path / "a.zarr").returncode == 0
    with xr.open_zarr(tmp_path / "a.zarr") as ds:
        before = ds["rainfall_rate"].values
    names = ("hdf5_chunk_that_unpacks_to_more", "zarr_pickle_compressor", "npz_pickle_bomb_in_dates")
    for name in names:
        (tmp_path / "in" / name).mkdir(parents=True)
        FILES[name][0](tmp_path / "in" / name)
    for time in ("201609281450", "201609281455"):
        write_pgm(time).rename(tmp_path / "in" / f"{time}.pgm.gz")
    run = run_archive(tmp_path / "in", "--out", tmp_path / "a.zarr")
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    for name in names:
        assert any(name in line for line in run.stderr.splitlines() + run.stdout.splitlines()), run.stderr
    with xr.open_zarr(tmp_path / "a.zarr") as ds:
        assert ds.sizes["time"] == 3
        np.testing.assert_array_equal(ds["rainfall_rate"].values[:1], before)

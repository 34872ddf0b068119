"""Forecast files under the eyes of other programs: the CF checker, and the reader of pysteps."""

import json
import subprocess
import sys

import numpy as np
import pytest
from tests.forecast.test_layouts import forecast, product

from stormcell.forecast import export

PRODUCTS = (
    ("rainfall_rate_probability", "threshold", [0.1, 1.0], "1"),
    ("rainfall_rate_quantile", "quantile", [0.1, 0.9], "mm/h"),
)

CHECK = """
import sys
from compliance_checker.runner import CheckSuite, ComplianceChecker
CheckSuite.load_all_available_checkers()
for path in sys.argv[1:]:
    made = path.replace(".nc", ".json")
    ComplianceChecker.run_checker(path, ["cf:1.11"], 0, "normal", output_filename=made, output_format="json")
"""


def test_files_of_all_layouts_have_no_complaint_of_the_cf_checker(tmp_path):
    pytest.importorskip("compliance_checker", reason="compliance-checker is not installed")
    single, members = forecast(), forecast(members=2)
    products = [product(single, *given) for given in PRODUCTS]
    export.write(single, tmp_path / "products.nc")
    export.write(single, tmp_path / "fews.nc", *products, layout="fews")
    export.write(members, tmp_path / "members.nc")
    export.write(members, tmp_path / "pysteps.nc", layout="pysteps")
    files = sorted(tmp_path.glob("*.nc"))
    # In a process of its own: the checker itself warns of what it will drop.
    subprocess.run([sys.executable, "-W", "ignore", "-c", CHECK, *map(str, files)], check=True)
    for path in files:
        checks = json.loads(path.with_suffix(".json").read_text())["cf:1.11"]
        assert checks["scored_points"] == checks["possible_points"] > 0, path.name
        important = [*checks["high_priorities"], *checks["medium_priorities"]]
        assert [one["msgs"] for one in important if one["msgs"]] == [], path.name


@pytest.mark.parametrize("members", [None, 3])
def test_pysteps_reads_its_layout(tmp_path, members):
    pytest.importorskip("netCDF4", reason="netCDF4 is not installed")
    importers = pytest.importorskip("pysteps.io.nowcast_importers", reason="pysteps is not installed")
    made = forecast(members=members)
    export.write(made, tmp_path / "f.nc", layout="pysteps")
    values, about = importers.import_netcdf_pysteps(str(tmp_path / "f.nc"))
    np.testing.assert_array_equal(values, made.values)
    assert about["unit"] == "mm/h"
    assert list(about["leadtimes"]) == [10, 20]

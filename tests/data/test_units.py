"""Units of rain in all the spellings that files use. The expected factors are worked by hand."""

import subprocess
import sys
import time

import pytest

from stormcell.data.quantity import unit
from stormcell.data.units import is_degrees, length
from stormcell.errors import InputError

RATES = {
    1.0: [
        *(
            "mm/h",
            "mm h-1",
            "mm h^-1",
            "mm h**-1",
            "mm/hour",
            "mm/hr",
            "MM/H",
            "mm / h",
            "[mm/h]",
            "kg m-2h-1",
            "mm hr-1",
        ),
        *(
            "[mm/h]",
            "kg m-2h-1",
            "mm hour-1",
            "mm per hour",
            "millimeters/hour",
            "millimetre h-1",
            "mm·h⁻¹",
            "mm.h-1",
            "mm h^{-1}",
        ),
        *(
            "kg m-2 h-1",
            "kg/m2/h",
            "kg m^-2 hour^-1",
            "l/m2/h",
            "L m-2 h-1",
            "Mm/h",
            "kg/(m2 h)",
            "mm hours-1",
        ),
    ],
    3600.0: [
        "kg m-2 s-1",
        "kg/m2/s",
        "kg/m^2/s",
        "kg m**-2 s**-1",
        "kg.m-2.s-1",
        "kg m-2s-1",
        "mm/s",
        "mm s-1",
    ],
    3.6e6: ["m s-1", "m/s"],
    60.0: ["mm/min", "mm min-1", "mm/minute"],
    1 / 24: ["mm/day", "mm d-1", "mm/d", "mm day-1", "kg m-2 d-1", "mm/days"],
    25.4: ["inch/h", "in/hr", "inches per hour", "in h-1", "IN/H"],
    0.1: ["0.1 mm/h", "0.1 mm h-1", "1/10 mm/h", "100 µm/h", "100 um h-1"],
}
AMOUNTS = {
    1.0: [
        "mm",
        "MM",
        "kg m-2",
        "kg/m2",
        "kg/m^2",
        "millimeters",
        "millimetre",
        "10^-3 m",
        "10-3 m",
        "1e-3 m",
        "l/m2",
    ],
    1000.0: ["m", "metres"],
    0.1: ["0.1 mm", "1/10 mm", "0.1 kg m-2", "100 µm"],
    0.01: ["0.01 mm", "1e-2 mm"],
    25.4: ["in", "inch", "inches"],
    10.0: ["cm"],
}
PERIODS = {
    5 / 60: [
        "mm/5min",
        "mm/5 min",
        "mm (5 min)-1",
        "mm/(5 min)",
        "kg m-2 (5 min)-1",
        "mm per 5 minutes",
        "MM/5MIN",
    ],
    0.5: ["mm/0.5h", "mm/30min", "mm (1800 s)-1", "mm in 30 min"],
    1.0: ["mm/1h", "mm/60 min"],
}
NOT_RAIN = [
    *("", "1", "%", "K", "furlong", "dB", "m2", "kg", "m2 s-1", "hPa", "mm/m", "mm/0min", "mm/-5min", "mm s"),
    *("degrees_north", "seconds since 1970-01-01", "mm 5min-1", "mm^6 m-3", "kg m-3", "mm h-1 5min-1"),
    *(
        "9**9**9**9 m",
        "m**9999999",
        "__import__('os')",
        "0 mm",
        "nan mm",
        "mm " * 30,
        "mm/h/",
        "mm)",
        "-1 mm",
    ),
]


@pytest.mark.parametrize(("factor", "name"), [(factor, name) for factor in RATES for name in RATES[factor]])
def test_unit_rate_in_any_spelling_has_its_factor_to_mm_per_hour(factor, name):
    # Factors have fifteen digits.
    assert unit(name) == ("rate", pytest.approx(factor, rel=1e-14), None)


@pytest.mark.parametrize("name", RATES[1.0])
def test_unit_rate_that_is_mm_per_hour_leaves_values_unchanged(name):
    assert unit(name)[1] == 1


@pytest.mark.parametrize(
    ("factor", "name"), [(factor, name) for factor in AMOUNTS for name in AMOUNTS[factor]]
)
def test_unit_amount_in_any_spelling_has_its_factor_to_mm(factor, name):
    assert unit(name) == ("amount", pytest.approx(factor, rel=1e-14), None)


@pytest.mark.parametrize(("hours", "name"), [(hours, name) for hours in PERIODS for name in PERIODS[hours]])
def test_unit_amount_over_a_period_has_the_period(hours, name):
    assert unit(name) == ("amount", 1, pytest.approx(hours, rel=1e-15))


def test_unit_multiple_of_mm_over_a_period_has_both():
    assert unit("0.01 mm/5min") == ("amount", 0.01, 5 / 60)


@pytest.mark.parametrize("name", ["dBZ", "dbz", "DBZ", "dBz", "dBZe", " dBZ ", "dB(Z)", "dB Ze"])
def test_unit_reflectivity_in_any_spelling_is_dbz(name):
    assert unit(name) == ("dbz", 1, None)


@pytest.mark.parametrize("name", NOT_RAIN)
def test_unit_of_something_else_raises_at_once(name):
    start = time.monotonic()
    with pytest.raises(InputError, match=r"^units: [^\n]*$"):
        unit(name)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("name", "metres"),
    [
        ("m", 1),
        ("km", 1000),
        ("kilometers", 1000),
        ("Kilometres", 1000),
        ("metre", 1),
        ("100 m", 100),
        ("KM", 1000),
    ],
)
def test_length_in_any_spelling_is_in_metres(name, metres):
    assert length(name) == metres


@pytest.mark.parametrize("name", ["degrees", "s", "mm/h", "", "rad", "pixels"])
def test_length_of_something_else_raises(name):
    with pytest.raises(InputError, match="expected a unit of length"):
        length(name)


def test_is_degrees_recognises_every_form_of_cf():
    forms = ["degrees_north", "degree_north", "degree_N", "degreesE", "degrees", "degree", "deg", "°"]
    assert all(map(is_degrees, forms))
    assert not any(map(is_degrees, ["m", "km", "decametre", "K", "", "1"]))


def test_unit_import_does_not_import_pint():
    code = "import sys, stormcell.data.read_options; sys.exit('pint' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

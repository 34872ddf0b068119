"""The products of MRMS that contain rain or reflectivity near the ground.

MRMS (Multi-Radar/Multi-Sensor System, NOAA/NSSL) numbers them in discipline 209, by category and parameter,
in its tables of versions 11 (GaugeCorr, GaugeOnly, MountainMapper) to 12.2. Missing is −1 and no coverage −3
for rain, −99 and −999 for reflectivity. All these count as not observed.
"""

from dataclasses import dataclass

from stormcell.data.quantity import Quantity

DISCIPLINE, CENTRE = 209, 161
# Reflectivity above is possible; the codes are below. The least reflectivity in use is about −35 dBZ.
LEAST_DBZ = -90.0
_HOURS = (1, 3, 6, 12, 24, 48, 72)
# Category 6, the parameter of the sum over one hour; the others follow.
_SUMS = {
    2: "RadarOnly_QPE_{:02}H",
    9: "GaugeCorr_QPE_{:02}H",
    16: "GaugeOnly_QPE_{:02}H",
    23: "MountainMapper_QPE_{:02}H",
    30: "MultiSensor_QPE_{:02}H_Pass1",
    37: "MultiSensor_QPE_{:02}H_Pass2",
}


@dataclass(frozen=True)
class Product:
    """A product.

    Attributes:
        name: Its name at the provider.
        quantity: Quantity of its values.
        units: Unit of its values.
        hours: Accumulation period of an amount, if it is part of the product's definition.
    """

    name: str
    quantity: Quantity
    units: str
    hours: float | None = None


# By category and parameter.
PRODUCTS = {
    (6, 1): Product("PrecipRate", "rate", "mm/h"),
    (6, 45): Product("RadarOnly_QPE_15M", "amount", "mm", 0.25),
    (3, 57): Product("ReflectivityAtLowestAltitude", "dbz", "dBZ"),
    (3, 58): Product("MergedReflectivityAtLowestAltitude", "dbz", "dBZ"),
    (8, 8): Product("SeamlessHSR", "dbz", "dBZ"),
    (10, 0): Product("MergedReflectivityQCComposite", "dbz", "dBZ"),
    (10, 2): Product("LowLevelCompositeReflectivity", "dbz", "dBZ"),
    (11, 0): Product("MergedBaseReflectivityQC", "dbz", "dBZ"),
    (11, 1): Product("MergedReflectivityComposite", "dbz", "dBZ"),
    (11, 2): Product("MergedReflectivityQComposite", "dbz", "dBZ"),
    (11, 3): Product("MergedBaseReflectivity", "dbz", "dBZ"),
} | {
    (6, first + place): Product(name.format(hours), "amount", "mm", float(hours))
    for first, name in _SUMS.items()
    for place, hours in enumerate(_HOURS)
}

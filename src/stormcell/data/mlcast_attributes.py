"""MLCast's requirements on the attributes of a store: license, creator, versions and identifier."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.version import InvalidVersion, Version

from stormcell.data.mlcast_result import Result, failed, passed, warned

VALIDATOR = "0.4.0"  # the version of mlcast-dataset-validator whose requirements these are

_RECOMMENDED = {
    "CC-BY-SA-2.5", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC-BY-2.5", "CC-BY-3.0", "CC-BY-4.0", "OGL-UK-1.0",
    "OGL-UK-2.0", "OGL-UK-3.0", "OGL-Canada-2.0", "GPL-1.0",
}  # fmt: skip
_CREATOR = re.compile(r"[^<>]*[^\s<>][^<>]* ?<[^\s<>@]+@[^\s<>@]+>")
_SOFTWARE = re.compile(r"https://github\.com/mlcast-community/mlcast-dataset-[^\s/@-]+-[^\s/@]+@[^\s@]+")
FORMAT = "{country_code}-{entity}-{physical_variable}"
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9_]*[A-Za-z0-9])?"
_PARTS = {
    "country_code": "[A-Z]{2}",
    "entity": _WORD,
    "physical_variable": _WORD,
    "time_resolution": r"P(?=.)(?:\d+[YMWD])*(?:T(?=.)(?:\d+[HMS])+)?",
    "common_name": _WORD,
}
_ORGANISATION = "only repositories of github.com/mlcast-community count"


def check(attributes: Mapping[Any, Any], *, variable_step: bool) -> Iterator[Result]:
    """Check the attributes of a store.

    Args:
        attributes: Attributes of the dataset.
        variable_step: Whether the distance between neighbouring times varies.

    Yields:
        The results, in the order of the specification.

    Example:
        >>> found = check({"license": "CC-BY-4.0"}, variable_step=False)
        >>> next(found)
        Result(section='5.2', requirement='license', state='pass', detail='CC-BY-4.0')
    """
    if variable_step:
        start = attributes.get("consistent_timestep_start")
        label = "consistent_timestep_start"
        yield Result.of("5.1", label, _is_time(start), f"{start}", "the time step varies; no ISO 8601 time")
    yield _license(attributes.get("license"))
    yield passed("5.3", "Zarr version 2 or 3", "Zarr 3")
    created = attributes.get("mlcast_created_on")
    yield _stated("mlcast_created_on", created, _is_time(created), "an ISO 8601 time")
    creator = attributes.get("mlcast_created_by")
    yield _stated("mlcast_created_by", creator, bool(_CREATOR.fullmatch(f"{creator}")), "Name <email>")
    software = attributes.get("mlcast_created_with")
    if _SOFTWARE.fullmatch(f"{software}"):
        yield passed("5.4", "mlcast_created_with", f"{software}; whether it exists is not checked")
    else:
        yield Result("5.4", "mlcast_created_with", "cannot", f"{_ORGANISATION}; found {software!r}")
    version = attributes.get("mlcast_dataset_version")
    yield _stated("mlcast_dataset_version", version, _version(version) is not None, "a version such as 1.0.0")
    yield _validator_version(attributes.get("mlcast_dataset_validator_version"))
    yield _identifier(
        attributes.get("mlcast_dataset_identifier"),
        attributes.get("mlcast_dataset_identifier_format", FORMAT),
    )


def _stated(name: str, value: object, right: bool, expected: str) -> Result:
    problem = "missing" if value is None else f"expected {expected}, found {value!r}"
    return Result.of("5.4", name, right, f"{value}", problem)


def _is_time(value: object) -> bool:
    try:
        datetime.fromisoformat(str(value).strip())
    except ValueError:
        return False
    return "T" in str(value)


def _license(value: object) -> Result:
    if value is None:
        return failed("5.2", "license", "missing")
    try:
        found = str(canonicalize_license_expression(str(value).strip()))
    except InvalidLicenseExpression:
        return failed("5.2", "license", f"expected an SPDX identifier such as CC-BY-4.0, found {value!r}")
    if found in _RECOMMENDED:
        return passed("5.2", "license", found)
    restricted = any(word in found.upper() for word in ("NC", "ND"))
    reason = "restricts use" if restricted else "is not among the recommended; it is reviewed"
    return warned("5.2", "license", f"{found} {reason}")


def _version(value: object) -> Version | None:
    try:
        return Version(str(value).strip())
    except InvalidVersion:
        return None


def _validator_version(value: object) -> Result:
    label, found = "mlcast_dataset_validator_version", _version(value)
    if found is None:
        return _stated(label, value, False, f"a version such as {VALIDATOR}")
    if found != Version(VALIDATOR):
        return warned("5.4", label, f"{found}; this check is of {VALIDATOR}")
    return passed("5.4", label, f"{found}")


def _identifier(value: object, form: object) -> Result:
    label = "mlcast_dataset_identifier"
    names = re.findall(r"\{([^{}]*)\}", str(form))
    if (
        not str(form).strip().startswith(FORMAT)
        or not set(names) <= _PARTS.keys()
        or len(set(names)) < len(names)
    ):
        return failed("5.4", label, f"its format must begin with {FORMAT}, found {form!r}")
    pattern = re.escape(str(form).strip())
    for name in names:
        pattern = pattern.replace(re.escape(f"{{{name}}}"), f"(?P<{name}>{_PARTS[name]})")
    return _stated(label, value, bool(re.fullmatch(pattern, str(value).strip())), str(form))

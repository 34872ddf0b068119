"""The rules file: where and when to alert, and which webhooks to send to."""

import json
import os
from datetime import datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from stormcell.errors import InputError
from stormcell.maps.areas import areas_of, read_areas
from stormcell.published.alerts import Severity

_LONGEST_WINDOW = 180  # minutes: observed frames of the last three hours are published

Name = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,39}$")]
Share = Annotated[float, Field(gt=0, le=1)]


class _Part(BaseModel):
    """A part of the file. Unknown keys are refused, because a wrong name would be a rule without effect."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Spot(_Part):
    """A point, or a circle around it.

    Attributes:
        lat: Degrees north.
        lon: Degrees east.
        radius_km: Of the circle; None for the pixel at the point.
    """

    lat: float = Field(ge=-90, le=90)
    lon: float = Field(ge=-180, le=180)
    radius_km: float | None = Field(None, gt=0, le=200)


class Polygon(_Part):
    """A GeoJSON Polygon or MultiPolygon in degrees."""

    type: Literal["Polygon", "MultiPolygon"]
    coordinates: list[Any]

    @model_validator(mode="after")
    def _has_rings(self) -> Self:
        areas_of(self.model_dump())
        return self


def _from_file(place: Any, info: ValidationInfo) -> Any:
    """Return the polygon that ``{file: …, area: …}`` names."""
    if not isinstance(place, dict) or "file" not in place:
        return place
    if place.keys() != {"file", "area"}:
        raise ValueError("expected file and area")
    areas = read_areas(Path((info.context or {}).get("folder", ".")) / str(place["file"]))
    if str(place["area"]) not in areas:
        raise ValueError(f"expected an area of {', '.join(areas)}, found {place['area']}")
    return json.loads(areas[str(place["area"])].geometry)


def _kind(place: Any) -> str:
    """Return which of the two errors are about: a polygon, if its coordinates are given."""
    has = "coordinates" in place if isinstance(place, dict) else isinstance(place, Polygon)
    return "polygon" if has else "place"


class Clear(_Part):
    """The end of an alert.

    Attributes:
        below: The value must be below the limit times this.
        minutes: For this long.
    """

    below: Share = 0.8
    minutes: int = Field(30, ge=0)


class Quiet(_Part):
    """Hours without messages. What is still true at their end is sent then.

    Attributes:
        start: Local time.
        end: Local time, of the next day if it is before the start.
        time_zone: Such as ``Europe/Berlin``.
    """

    start: time
    end: time
    time_zone: str = "UTC"

    @field_validator("time_zone")
    @classmethod
    def _exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (OSError, ValueError, LookupError):
            raise ValueError("expected a time zone such as Europe/Berlin") from None
        return name

    def includes(self, now: datetime) -> bool:
        """Whether a time is within these hours."""
        local = now.astimezone(ZoneInfo(self.time_zone)).time()
        if self.start <= self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end


class Rule(_Part):
    """A condition on the rain at a place.

    Attributes:
        name: Small letters, digits and hyphens.
        title: For people.
        place: Point, circle or polygon.
        quantity: ``rate`` in mm/h, or ``amount`` in mm over a window.
        window_minutes: Length of the window of an amount; it may begin before the issue time.
        statistic: Of the pixels of the place; ``share`` is the share of the place at or above the threshold.
        threshold: In mm/h or mm.
        share: For the statistic ``share``: the share from which the condition is met.
        probability: The condition is met if it is at least this probable; None compares the forecast itself.
        within_minutes: How far ahead it looks; 0 for the observation only.
        for_issues: Successive issues that must meet the condition before the alert is raised.
        clear: When it ends.
        quiet: Hours without messages.
        severity: In the words of the Common Alerting Protocol.
    """

    name: Name
    title: str = ""
    place: Annotated[
        Annotated[Spot, Tag("place")] | Annotated[Polygon, Tag("polygon")],
        Discriminator(_kind),
        BeforeValidator(_from_file),
    ]
    quantity: Literal["rate", "amount"] = "rate"
    window_minutes: int | None = Field(None, gt=0, le=_LONGEST_WINDOW)
    statistic: Literal["maximum", "mean", "p95", "share"] = "maximum"
    threshold: float = Field(gt=0)
    share: Share | None = None
    probability: Share | None = None
    within_minutes: int = Field(60, ge=0)
    for_issues: int = Field(2, ge=1)
    clear: Clear = Clear()
    quiet: Quiet | None = None
    severity: Severity = "moderate"

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.window_minutes is not None) != (self.quantity == "amount"):
            raise ValueError("expected window_minutes for an amount, and only for an amount")
        if (self.share is not None) != (self.statistic == "share"):
            raise ValueError("expected share for the statistic share, and only for it")
        return self

    @property
    def level(self) -> float:
        """The number that the statistic must reach."""
        return self.threshold if self.share is None else self.share

    @property
    def limit(self) -> float:
        """The number that the value must reach: the probability, if the rule has one, or the level."""
        return self.level if self.probability is None else self.probability

    @property
    def units(self) -> Literal["mm/h", "mm", "1"]:
        """Unit of the limit."""
        if self.probability is not None or self.share is not None:
            return "1"
        return "mm/h" if self.quantity == "rate" else "mm"


class Webhook(_Part):
    """An address that messages are sent to.

    Attributes:
        url: ``https``, or also ``http`` if private addresses are allowed.
        secret_env: Environment variable with the secret that signs messages: ``whsec_`` and base64.
        allow_private: Whether the address may be of this machine or of a private network.
    """

    url: str
    secret_env: str | None = None
    allow_private: bool = False

    @model_validator(mode="after")
    def _is_address(self) -> Self:
        parts = urlsplit(self.url)
        schemes = ("https", "http") if self.allow_private else ("https",)
        if parts.scheme not in schemes or not parts.hostname or parts.username is not None:
            raise ValueError(f"expected an address that begins with {' or '.join(schemes)}://")
        if self.secret_env is not None and not os.environ.get(self.secret_env):
            raise ValueError(f"expected the environment variable {self.secret_env}, found none")
        return self


class Rules(_Part):
    """The contents of a rules file.

    Attributes:
        rules: At least one.
        webhooks: Where messages are sent.
    """

    rules: tuple[Rule, ...] = Field(min_length=1)
    webhooks: tuple[Webhook, ...] = ()

    @model_validator(mode="after")
    def _have_different_names(self) -> Self:
        names = [rule.name for rule in self.rules]
        if len(set(names)) < len(names):
            raise ValueError(f"expected rules with different names, found {', '.join(names)}")
        if len({hook.url for hook in self.webhooks}) < len(self.webhooks):
            raise ValueError("expected webhooks with different addresses")
        return self


def read_rules(path: Path) -> Rules:
    """Return the rules of a YAML file.

    Raises:
        InputError: It cannot be read, or has something else.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: expected a rules file: {' '.join(str(error).split())}") from None
    try:
        return Rules.model_validate(content, context={"folder": path.parent})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        message = first["msg"].removeprefix("Value error, ")
        if ", found " not in message:
            found = str(first["input"])
            message += f", found {found if len(found) < 60 else f'{found[:57]}…'}"
        raise InputError(f"{path}: {where}: {message}") from None

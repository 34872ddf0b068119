"""Results of a check against requirements."""

from dataclasses import dataclass
from typing import Literal

State = Literal["pass", "warning", "fail", "cannot"]


@dataclass(frozen=True)
class Result:
    """Whether a store meets one requirement.

    Attributes:
        section: Section of the specification.
        requirement: The requirement.
        state: ``"warning"`` is met, but not as recommended; ``"cannot"`` can be met only inside the MLCast
            organisation.
        detail: What was found.
    """

    section: str
    requirement: str
    state: State
    detail: str

    @classmethod
    def of(cls, section: str, requirement: str, met: bool, found: str, problem: str) -> "Result":
        """Return a result that is a pass or a failure."""
        return cls(section, requirement, "pass" if met else "fail", found if met else problem)


def passed(section: str, requirement: str, detail: str) -> Result:
    """Return the result of a requirement that is met."""
    return Result(section, requirement, "pass", detail)


def warned(section: str, requirement: str, detail: str) -> Result:
    """Return the result of a requirement that is met, but not as recommended."""
    return Result(section, requirement, "warning", detail)


def failed(section: str, requirement: str, detail: str) -> Result:
    """Return the result of a requirement that is not met."""
    return Result(section, requirement, "fail", detail)

"""Base class of all parts of a spec: strict, frozen, with error messages that say how to mend the value."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hrat.errors import SpecError
from hrat.names import one_line

__all__ = ["Count", "NotNegative", "Part", "Positive", "Share", "Table", "Values", "did_you_mean"]

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
# Lists stand for tuples in TOML and JSON, so that only these fields are not strict about the container.
Values = Annotated[tuple[float, ...], Field(strict=False)]
Table = Annotated[tuple[Values, ...], Field(strict=False)]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest known word, or an empty string where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


class Part(BaseModel):
    """Base of the spec and of its sections.

    Values are taken as they are: a string is no number and 4.0 is no whole number. Lists and numpy or torch values
    are accepted in place of tuples and plain numbers.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    # Two ways to say the same thing: giving the one clears the others, unless they are given beside it.
    clears: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def __init__(self, /, **values: Any) -> None:
        """Check all values.

        Raises:
            SpecError: an unknown key, a value of the wrong kind or out of range, or values that contradict each other.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            message = "\n".join(_explain(type(self), entry) for entry in error.errors(include_url=False))
        else:
            return
        # Raised here and not in the handler, so that the user's traceback does not begin with pydantic's.
        raise SpecError(message)

    if not TYPE_CHECKING:  # hidden, so that type checkers still see that the fields are read-only

        def __setattr__(self, name: str, value: object) -> None:
            """Refuse: a spec does not change once it is made."""
            raise SpecError(
                f"{type(self).__name__}.{name} cannot be set: a spec does not change once it is made; "
                f"use spec.replace({name}={value!r}), which returns a new one"
            )

    @classmethod
    def optional_fields(cls) -> frozenset[str]:
        """Names of the fields that may be None."""
        return frozenset(key for key, field in cls.model_fields.items() if type(None) in get_args(field.annotation))

    @classmethod
    def with_cleared(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The given values, and None for those which they replace (see `clears`)."""
        cleared = {other: None for key in cls.clears if given.get(key) is not None for other in cls.clears[key]}
        return {**cleared, **given}

    @model_validator(mode="before")
    @classmethod
    def _plain_values(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        # numpy scalars and arrays, and torch tensors, know how to become plain Python values.
        plain = {key: value.tolist() if hasattr(value, "tolist") else value for key, value in values.items()}
        return cls.with_cleared(plain)


def _hint(part: type[Part], key: str) -> str:
    """Suggestion where an unknown key may belong."""
    for name, field in part.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Part) and key in kind.model_fields:
            return f"; it belongs to the section {name!r}"
    return did_you_mean(key, part.model_fields) or f"; known keys: {', '.join(part.model_fields)}"


def _explain(part: type[Part], entry: Any) -> str:
    """One line, or more, for one of pydantic's complaints: where, expected, got, and how to mend it."""
    cause = entry.get("ctx", {}).get("error")
    if isinstance(cause, SpecError):  # raised by a check of our own, here or in a section: readable as it is
        return str(cause)
    section = "" if part.__name__ == "HardwareSpec" else part.__name__.lower()
    key = str(entry["loc"][0]) if entry["loc"] else ""
    if entry["type"] == "extra_forbidden":
        place = f"[{section}]" if section else "the spec"
        return f"unknown key {key!r} in {place}{_hint(part, key)}"
    where = ".".join(filter(None, [section, *map(str, entry["loc"])]))
    what = str(entry["msg"]).replace("Input should be", "expected")
    if entry["type"] in ("model_type", "dict_type"):
        what = "expected a table of settings"
    field = part.model_fields.get(key)
    meaning = f" ({field.description})" if field is not None and field.description else ""
    return f"{where}: {what}, got {one_line(repr(entry['input']))}{meaning}"

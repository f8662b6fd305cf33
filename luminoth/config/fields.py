"""The vocabulary the schema is written in: sections, keys, and the kinds of value a key accepts.

Each kind carries, as `Accepts`, the words a message uses for it, so that a wrong value is always answered
with what would have been right. Validation is strict: text is no number, `false` is no 0, and empty (null)
is only accepted where the schema says so.
"""

from __future__ import annotations

import re
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

T = TypeVar("T")

_SCHEME, _BUCKET = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/"), re.compile("gs://[^/]")

# A union is validated by one of its classes, and pydantic puts that class's tag into the path of an error.
# Tags in angle brackets cannot be mistaken for a key and are taken out again (see `problems`).
TAG_START = "<"


class Section(BaseModel):
    """A mapping of the configuration file: frozen, strict, refusing keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


@dataclass(frozen=True)
class Accepts:
    """The words for what a kind of value accepts, as in "accepted: a whole number of at least 1"."""

    words: str


def key(default: Any, description: str) -> Any:
    """A key of a section with its default (`...` where there is none) and what it means."""
    return Field(default, description=description)


def section(kind: type[Section], description: str) -> Any:
    """A nested section whose keys all have their defaults until stated."""
    return Field(default_factory=kind, description=description)


def _text_from_whole_number(value: Any) -> Any:
    """`run_name: 42` is YAML for a number, and plainly meant as text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _check_scheme(place: str) -> str:
    if _SCHEME.match(place) and not _BUCKET.match(place):
        raise PydanticCustomError(
            "scheme", "is {place}; accepted: a folder, or an address as in gs://BUCKET/PATH", {"place": place}
        )
    return place


def tuple_from_list(value: Any) -> Any:
    """YAML has lists only; a tuple of the schema is written as one."""
    return tuple(value) if isinstance(value, list) else value


Text = Annotated[str, BeforeValidator(_text_from_whole_number), Field(min_length=1), Accepts("text")]
# A folder, or what is at an address. Another scheme would be taken for a folder called `s3:`.
Place = Annotated[
    str, BeforeValidator(_text_from_whole_number), Field(min_length=1), AfterValidator(_check_scheme),
    Accepts("a folder, or an address as in gs://BUCKET/PATH"),
]  # fmt: skip
WholeNumber = Annotated[int, Accepts("a whole number")]
PositiveInt = Annotated[int, Field(ge=1), Accepts("a whole number of at least 1")]
NonNegativeInt = Annotated[int, Field(ge=0), Accepts("a whole number of at least 0")]
Seed = Annotated[int, Field(ge=0, lt=2**31), Accepts("a whole number from 0 to 2147483647")]
Number = Annotated[float, Accepts("a number")]
PositiveNumber = Annotated[float, Field(gt=0), Accepts("a number above 0")]
NonNegativeNumber = Annotated[float, Field(ge=0), Accepts("a number of at least 0")]
OpenFraction = Annotated[float, Field(gt=0, lt=1), Accepts("a number above 0 and below 1")]
Fraction = Annotated[float, Field(ge=0, le=1), Accepts("a number from 0 to 1")]
PositiveFraction = Annotated[float, Field(gt=0, le=1), Accepts("a number above 0, at most 1")]
# A list in the file is a tuple in the configuration, which is frozen.
List = Annotated[tuple[T, ...], BeforeValidator(tuple_from_list)]
NonEmptyList = Annotated[tuple[T, ...], BeforeValidator(tuple_from_list), Field(min_length=1)]
Pair = Annotated[tuple[T, T], BeforeValidator(tuple_from_list)]
Triple = Annotated[tuple[T, T, T], BeforeValidator(tuple_from_list)]


def choose_by(name: str, default: str) -> Discriminator:
    """Chooses the class of a union by the value of its key `name`."""

    def tag(value: Any) -> str:
        chosen = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
        return f"{TAG_START}{default if chosen is None else chosen}>"

    return Discriminator(tag)


def accepted(annotation: Any, metadata: Any = ()) -> str:
    """What a field of this annotation accepts, in words."""
    for item in metadata:
        if isinstance(item, Accepts):
            return item.words
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return accepted(arguments[0], arguments[1:])
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments)) if len(arguments) > 1 else str(arguments[0])
    if origin in (Union, types.UnionType):
        words = [accepted(argument) for argument in arguments if argument is not type(None)]
        words += ["empty"] if type(None) in arguments else []
        return " or ".join(dict.fromkeys(words))
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"a list, each entry {accepted(arguments[0])}"
        return f"a list of {len(arguments)}, each {accepted(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "a mapping"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[annotation]


def field_accepts(field: FieldInfo) -> str:
    """What a field of a section accepts, in words."""
    return accepted(field.annotation, field.metadata)


def sections_of(annotation: Any) -> list[type[Section]]:
    """The section classes an annotation allows, those inside lists and unions included; often none or one."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for argument in get_args(annotation) for found in sections_of(argument)]


def check_order(checked: Section, low: str, high: str) -> None:
    """Refuses a section whose key `low` is above its key `high`."""
    low_value, high_value = getattr(checked, low), getattr(checked, high)
    if low_value is not None and high_value is not None and low_value > high_value:
        raise PydanticCustomError(
            "order",
            "has {low} {low_value} above {high} {high_value}; accepted: {low} at most {high}",
            {"low": low, "low_value": low_value, "high": high, "high_value": high_value},
        )

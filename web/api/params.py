"""Parameters and bodies of API calls, converted to Structs; errors name the wrong field."""

import contextlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta, inspect
from multidict import MultiMapping

from stream.tweet import TrackId
from web.problem import Problem
from web.routing import ROW_ID_MAX, row_id

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")  # what Postgres and UTF-8 cannot hold
_UNIX_TIME = re.compile(r"-?[\d.]+", re.ASCII)
_WHERE = re.compile(r" - at `\$\.?(?P<field>[^`]*)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<name>\w+)`")

Shape = TypeVar("Shape", bound=msgspec.Struct)
SLIP_RATIO = 0.75  # similarity of a misspelt name; at 0.6 `sort` is taken for `format`
PLAIN = r"^[^\u0000]*$"  # pattern of texts: Postgres cannot hold NUL
Moment = Annotated[datetime, Meta(tz=True)]
RowNumber = Annotated[int, Meta(ge=1, le=ROW_ID_MAX)]
# A track in a body: its id, also as the text that tweets and deletions name it by.
TrackNumber = RowNumber | Annotated[str, Meta(pattern="^[1-9][0-9]{0,17}$")]


class NoParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call without parameters."""


def parameters(request: web.Request, shape: type[Shape]) -> Shape:
    """The query of the address; times outside the range of tweets become the nearest inside."""
    return read(request.query, shape)


def read(given: MultiMapping[str], shape: type[Shape]) -> Shape:
    """Convert the fields of an address or a form to a Struct."""
    fields = _fields(shape)
    values: dict[str, str | list[str]] = {}
    for name in given:
        if name not in fields:
            raise _unknown("parameter", name, fields)
        texts = given.getall(name)
        kind = fields[name]
        for text in texts:
            _check_text(name, text, kind)
        if not isinstance(kind, inspect.ListType) and len(texts) > 1:
            raise Problem("invalid", f"`{name}` is given {len(texts)} times.", field=name)
        values[name] = texts if isinstance(kind, inspect.ListType) else texts[0]
    try:
        found = msgspec.convert(values, shape, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong(error, fields, "parameter") from error
    return msgspec.structs.replace(found, **_within(found))


def _check_text(name: str, text: str, kind: inspect.Type) -> None:
    """Problem for what `strict=False` would take, though the OpenAPI document does not allow it."""
    if _NO_TEXT.search(text):
        raise Problem("invalid", f"`{name}` holds an invalid character.", field=name)
    if isinstance(kind, inspect.StrType):
        return
    is_number = isinstance(kind, inspect.DateTimeType) and _UNIX_TIME.fullmatch(text)
    if text.lower() == "null" or is_number:
        words = "a time such as 2026-01-31T12:00:00Z" if is_number else "a value"
        raise Problem("invalid", f"`{name}` must be {words}, or be left out.", field=name)


async def body(request: web.Request, shape: type[Shape]) -> Shape:
    """The JSON body."""
    if request.content_type != "application/json":
        raise Problem("bad_request", "Send JSON, with Content-Type: application/json.")
    try:
        return msgspec.convert(_whole(_decoded(await request.read())), shape)
    except msgspec.ValidationError as error:
        raise _wrong(error, _fields(shape), "field") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("bad_request", f"The body is not JSON: {error}.") from error


def _decoded(text: bytes) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.ValidationError:  # a number that is too large: the error does not name it
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(text)  # read as infinite, which the Struct refuses by name
        raise


def _whole(found: object) -> object:
    """In JSON 1.0 is the same number as 1."""
    match found:
        case float() if found.is_integer():
            return int(found)
        case list():
            return [_whole(each) for each in found]
        case dict():
            return {name: _whole(each) for name, each in found.items()}
    return found


def no_body(request: web.Request) -> None:
    """Problem for a body where none is read."""
    if request.can_read_body and request.content_length != 0:
        raise Problem("bad_request", "This call takes no body.")


def track_ids(given: Sequence[TrackNumber]) -> list[TrackId]:
    """The ids of a body as numbers."""
    return [TrackId(int(each)) for each in given]


def row_number(request: web.Request, name: str = "id") -> int:
    """The id in the path. Problem for what cannot be one."""
    number = row_id(request.match_info[name])
    if not number:
        raise Problem("not_found", "There is no entry with this id.")
    return number


@lru_cache(maxsize=100)
def _fields(shape: type[msgspec.Struct]) -> Mapping[str, inspect.Type]:
    info = inspect.type_info(shape)
    assert isinstance(info, inspect.StructType)
    return {field.encode_name: _bare(field.type) for field in info.fields}


def _bare(kind: inspect.Type) -> inspect.Type:
    """`int | None` → `int`, without annotations."""
    if isinstance(kind, inspect.Metadata):
        return _bare(kind.type)
    if isinstance(kind, inspect.UnionType):
        return _bare(next(t for t in kind.types if not isinstance(t, inspect.NoneType)))
    return kind


def _within(found: msgspec.Struct) -> dict[str, datetime]:
    times = {name: getattr(found, name) for name in found.__struct_fields__}
    return {name: _utc(time) for name, time in times.items() if isinstance(time, datetime)}


def _utc(time: datetime) -> datetime:
    if not EARLIEST.year < time.year < LATEST.year:  # elsewhere UTC may not have such a year
        return EARLIEST if time.year <= EARLIEST.year else LATEST
    return time.astimezone(UTC)


def _wrong(error: msgspec.ValidationError, known: Mapping[str, inspect.Type], what: str) -> Problem:
    text = str(error)
    field = found["field"] if (found := _WHERE.search(text)) else None
    if field is not None and "[...]" in field:  # of a part that was not read
        field = None
    words = _WHERE.sub("", text)
    if unknown := _UNKNOWN.match(words):
        if field:  # inside a nested object, whose fields are not known here
            return Problem("invalid", f"There is no field `{unknown['name']}`.", field=field)
        return _unknown(what, unknown["name"], known)
    if missing := _MISSING.match(words):
        name = missing["name"]
        return Problem("invalid", f"`{name}` is missing.", field=name)
    if not field:
        return Problem("invalid", f"{words}.")
    name, *items = field.split("[")
    if what == "parameter":
        field = name  # a list is a parameter given several times
    kind = known.get(name)
    if items and isinstance(kind, inspect.ListType):
        kind = _bare(kind.item_type)
    if allowed := _allowed(kind):
        return Problem("invalid", f"`{field}` must be {allowed}.", field=field)
    return Problem("invalid", f"`{field}` is invalid: {words[:1].lower()}{words[1:]}.", field=field)


def _allowed(kind: inspect.Type | None) -> str:
    """What a value of this type may be, in words; empty when that is not one phrase."""
    words = ""
    match kind:
        case inspect.IntType(ge=least, le=most):
            span = _span(least, most)
            words = f"a whole number ({span})" if span else "a whole number"
        case inspect.FloatType(ge=least, le=most):
            span = _span(least, most)
            words = f"a number ({span})" if span else "a number"
        case inspect.BoolType():
            words = "true or false"
        case inspect.DateTimeType():
            words = "a time with its timezone, such as 2026-01-31T12:00:00Z"
        case inspect.LiteralType(values=choices):
            words = f"one of {', '.join(str(choice) for choice in choices)}"
        case inspect.EnumType(cls=cls):
            words = f"one of {', '.join(str(choice.value) for choice in cls)}"
        case inspect.StrType(pattern=pattern) if pattern not in {None, PLAIN}:
            words = f"a text that matches `{pattern}`"
        case inspect.StrType(min_length=least, max_length=most, pattern=pattern):
            span = _span(least, most)
            words = f"a text of {span} characters" if span else "a text"
            words += " without NUL" if pattern else ""
        case inspect.ListType(min_length=least, max_length=most):
            span = _span(least, most)
            words = f"a list of {span} items" if span else "a list"
    return words


def _span(least: float | None, most: float | None) -> str:
    if least is None:
        return "" if most is None else f"at most {_short(most)}"
    return f"at least {_short(least)}" if most is None else f"{_short(least)} to {_short(most)}"


def _short(number: float) -> str:
    return str(int(number) if number == int(number) else number)


def _unknown(what: str, name: str, known: Iterable[str]) -> Problem:
    shown = name[:50].encode(errors="replace").decode()
    near = get_close_matches(name.lower(), known, n=1, cutoff=SLIP_RATIO)
    names = ", ".join(f"`{each}`" for each in known)
    hint = f" Known: {names}." if names else " This call takes none."
    if near:
        hint = f" Did you mean `{near[0]}`?"
    return Problem("invalid", f"There is no {what} `{shown}`.{hint}", field=shown)

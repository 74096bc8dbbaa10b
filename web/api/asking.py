"""What a call asks for: its parameters and its body, checked, or a Problem that names the field."""

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta, inspect
from multidict import MultiMapping

from web.problem import Problem

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")  # what Postgres and UTF-8 cannot hold
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)
_WHERE = re.compile(r" - at `\$\.?(?P<field>[^`]*)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<name>\w+)`")
_LARGEST = 2**63 - 1

Shape = TypeVar("Shape", bound=msgspec.Struct)
Moment = Annotated[datetime, Meta(tz=True)]
RowNumber = Annotated[int, Meta(ge=1, le=_LARGEST)]


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call that takes no parameters."""


def parameters(request: web.Request, shape: type[Shape]) -> Shape:
    """What stands behind the question mark; times that no tweet can have become the nearest."""
    return read(request.query, shape)


def read(said: MultiMapping[str], shape: type[Shape]) -> Shape:
    """The same of an address or of a form."""
    fields = _fields(shape)
    given: dict[str, object] = {}
    for name in said:
        if name not in fields:
            raise _unknown("parameter", name, fields)
        texts = said.getall(name)
        if any(_NO_TEXT.search(text) for text in texts):
            raise Problem("invalid", f"`{name}` holds a character that is none.", field=name)
        field = fields[name]
        if isinstance(field, inspect.ListType):
            given[name] = [_read(text, field.item_type) for text in texts]
        elif len(texts) > 1:
            raise Problem("invalid", f"`{name}` stands there {len(texts)} times.", field=name)
        else:
            given[name] = _read(texts[0], field)
    try:
        found = msgspec.convert(given, shape)
    except msgspec.ValidationError as error:
        raise _wrong(error, fields) from error
    return msgspec.structs.replace(found, **_within(found))


async def body(request: web.Request, shape: type[Shape]) -> Shape:
    """The JSON that was sent."""
    if request.content_type != "application/json":
        raise Problem("bad_request", "Send JSON, with Content-Type: application/json.")
    try:
        return msgspec.convert(_whole(_decoded(await request.read())), shape)
    except msgspec.ValidationError as error:
        raise _wrong(error, _fields(shape)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("bad_request", f"The body is no JSON: {error}.") from error


def _decoded(text: bytes) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.ValidationError:  # a number too large to be one: it does not say which
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(text)  # as infinite, which the shape refuses by its name
        raise


def _whole(found: object) -> object:
    """To JSON 1.0 is the same number as 1."""
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


def row_number(request: web.Request, name: str = "id") -> int:
    """The number in the path. Problem for what cannot be that of a row."""
    number = int(request.match_info[name])
    if not 0 < number <= _LARGEST:
        raise Problem("not_found", "There is nothing with this number.")
    return number


@lru_cache(maxsize=100)
def _fields(shape: type[msgspec.Struct]) -> Mapping[str, inspect.Type]:
    info = inspect.type_info(shape)
    assert isinstance(info, inspect.StructType)
    return {field.encode_name: _bare(field.type) for field in info.fields}


def _bare(kind: inspect.Type) -> inspect.Type:
    """`int | None` → `int`; what a field was annotated with does not matter here."""
    if isinstance(kind, inspect.Metadata):
        return _bare(kind.type)
    if isinstance(kind, inspect.UnionType):
        return _bare(next(t for t in kind.types if not isinstance(t, inspect.NoneType)))
    return kind


def _read(text: str, kind: inspect.Type) -> object:
    """A number or a word for yes and no, where one is asked for; else the text for msgspec."""
    if isinstance(_bare(kind), inspect.IntType) and _NUMBER.fullmatch(text):
        return int(text)
    if isinstance(_bare(kind), inspect.BoolType):
        return {"true": True, "false": False}.get(text, text)
    return text


def _within(found: msgspec.Struct) -> dict[str, datetime]:
    times = {name: getattr(found, name) for name in found.__struct_fields__}
    return {name: _utc(time) for name, time in times.items() if isinstance(time, datetime)}


def _utc(time: datetime) -> datetime:
    if not EARLIEST.year < time.year < LATEST.year:  # elsewhere UTC may not have such a year
        return EARLIEST if time.year <= EARLIEST.year else LATEST
    return time.astimezone(UTC)


def _wrong(error: msgspec.ValidationError, known: Iterable[str]) -> Problem:
    said = str(error)
    field = found["field"] if (found := _WHERE.search(said)) else None
    if field is not None and "[...]" in field:  # of what was not even read
        field = None
    words = _WHERE.sub("", said)
    if unknown := _UNKNOWN.match(words):
        if field:  # inside of something: what is known there is not known here
            return Problem("invalid", f"There is no field `{unknown['name']}`.", field=field)
        return _unknown("field", unknown["name"], known)
    if missing := _MISSING.match(words):
        name = missing["name"]
        return Problem("invalid", f"`{name}` is missing.", field=name)
    if not field:
        return Problem("invalid", f"{words}.")
    return Problem(
        "invalid", f"`{field}` will not do: {words[:1].lower()}{words[1:]}.", field=field
    )


def _unknown(what: str, name: str, known: Iterable[str]) -> Problem:
    shown = name[:50].encode(errors="replace").decode()
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.0)
    hint = f" Do you mean `{near[0]}`?" if near else " There are none here."
    return Problem("invalid", f"There is no {what} `{shown}`.{hint}", field=shown)

"""The OpenAPI document, generated from the calls, their Structs and docstrings."""

import inspect
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, get_args

import msgspec
import yaml

from web.api import (
    cities,
    deletions,
    exports,
    legacy,
    look_backs,
    reach,
    stats,
    stream,
    system,
    tracks,
    tweets,
    webhooks,
)
from web.api.operations import JSON, Operation, Tag
from web.problem import STATUS, Code
from web.routing import ROW_ID_MAX

OPERATIONS: tuple[Operation, ...] = (
    *tweets.OPERATIONS,
    *stream.OPERATIONS,
    *tracks.OPERATIONS,
    *look_backs.OPERATIONS,
    *reach.OPERATIONS,
    *cities.OPERATIONS,
    *deletions.OPERATIONS,
    *stats.OPERATIONS,
    *webhooks.OPERATIONS,
    *exports.OPERATIONS,
    *system.OPERATIONS,
    *legacy.OPERATIONS,
)
PATH = "/api/v1/openapi.yaml"
KIND = "application/yaml"
_SCHEMA = "#/components/schemas/{name}"
_DESCRIPTION = """\
**Authentication.** Create a token on the page *My account* and send it with every call:
`Authorization: Bearer ts_…`. Its scopes are `read`, `write` and `admin`. A browser's session on
the pages works, too; then calls that change something need the header `X-CSRF-Token`.

**Permissions.** You see your own tracks and those shared with you; admins see all. A query
searches all stored tweets; for viewers, the tweets of tracks shared with them.

**Errors** are `{"error": {"code", "message", "field"}}`: a code that never changes, a sentence for
people, and the wrong field, if any. Unknown parameters and fields are errors.

**Rate limit.** Each user may make `web.requests_per_minute` calls at once (default: 600). Calls
come back evenly: 600 per minute are 10 per second. The headers show how many may be made at once
(`RateLimit-Limit`), how many are left now (`RateLimit-Remaining`), and in how many seconds all are
back (`RateLimit-Reset`). Beyond that you get 429 with `Retry-After`.

**Cursors** are opaque and never expire. Each belongs to the order and the filters it was made
with. With `order=oldest`, a program that polls with its newest cursor gets every tweet, however
long it was away; also those that were stored late.

GET answers carry an `ETag`; with `If-None-Match` unchanged ones are answered with 304. Times are
RFC 3339 with a zone.

**Ids** are numbers, but strings in tweets and deletions, as JavaScript would round those of tweets:
`id`, `matches[].track` and `tracks`. A list `tracks` in a body takes either.
"""
_TAGS: Mapping[Tag, str] = {
    "Tweets": "",
    "Tracks": "",
    "Statistics": "",
    "Webhooks": "Addresses of yours that stored tweets are sent to, signed and in batches.",
    "Exports": "Files of all tweets of some tracks, written in the background.",
    "Collector": "",
    "Simple calls": (
        "For scripts, as in older services. The token may be in the address, but not in a form."
    ),
}
_ERRORS: Mapping[int, str] = {
    400: "The call cannot be parsed. An address may have 16,384 bytes.",
    401: "No token, or no valid one.",
    403: "This user or this token may not do this.",
    404: "This does not exist, or you cannot see it.",
    409: "It conflicts with a later change, an existing entry or a limit.",
    413: "The body is longer than web.max_body_bytes.",
    422: "A parameter or a field is invalid; the message says why.",
    429: "More calls than the rate limit allows, or too many downloads or streams at once.",
    503: "The database is unavailable. Nothing is lost: try again in a moment.",
}
_RETRY = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}


class ErrorDetail(msgspec.Struct, frozen=True):
    """`code` never changes, `message` is for people, `field` is the wrong one, if any."""

    code: Code
    message: str
    field: str | None


class Error(msgspec.Struct, frozen=True):
    """The answer to a call that fails."""

    error: ErrorDetail


@lru_cache(maxsize=1)
def text() -> bytes:
    """The document as YAML."""
    return yaml.dump(
        document(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    ).encode()


class _Dumper(yaml.SafeDumper):
    """Without references between equal parts; texts of several lines stay readable."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - of none of them
        return True


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The whole document."""
    structs = {each for op in OPERATIONS for each in (op.query, op.body, op.result) if each}
    _, components = msgspec.json.schema_components([*structs, Error], ref_template=_SCHEMA)
    schemas = {name: _cleaned(schema) for name, schema in sorted(components.items())}
    paths: dict[str, dict[str, Any]] = {}
    for op in OPERATIONS:
        paths.setdefault(op.path, {})[op.route.method.lower()] = _operation(op, schemas)
    paths[PATH] = {"get": _this_document()}
    for op in OPERATIONS:
        schemas.pop(op.query.__name__, None)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "twitterstream",
            "version": "1",
            "summary": "Tracks, stored tweets, statistics and live streams of the collector.",
            "description": _DESCRIPTION,
        },
        "servers": [{"url": ".", "description": f"This document's address, without {PATH}."}],
        "security": [{"token": []}, {"session": []}],
        "tags": [
            {"name": name, **({"description": _TAGS[name]} if _TAGS[name] else {})}
            for name in get_args(Tag)
        ],
        "paths": paths,
        "components": {"securitySchemes": _SECURITY, "responses": _responses(), "schemas": schemas},
    }


_SECURITY = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A personal token, from the page My account.",
    },
    "tokenInAddress": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "The same for simple calls and streams. Our logs never contain it.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "twitterstream_session",
        "description": "A logged-in browser; changes also need the header X-CSRF-Token.",
    },
}


def _responses() -> dict[str, Any]:
    found: dict[str, Any] = {
        "NotModified": {"description": "Nothing has changed since the answer with this ETag."}
    }
    for status, description in _ERRORS.items():
        content: dict[str, Any] = {JSON: {"schema": {"$ref": _SCHEMA.format(name="Error")}}}
        if status == 400:
            content["text/plain"] = {
                "schema": {"type": "string", "description": "The request is not valid HTTP."}
            }
        headers = {"headers": _RETRY} if status in (429, 503) else {}
        found[_error_name(status)] = {"description": description, **headers, "content": content}
    return found


def _error_name(status: int) -> str:
    """`422` → `Invalid`: after the code of the error."""
    code = next(code for code, each in STATUS.items() if each == status)
    return "".join(part.title() for part in code.split("_"))


def _operation(op: Operation, schemas: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"tags": [op.tag], "operationId": op.id, "summary": op.summary}
    if op.description:
        found["description"] = op.description
    if op.route.in_query:
        found["security"] = [{"token": []}, {"tokenInAddress": []}, {"session": []}]
    if parameters := _parameters(op, schemas):
        found["parameters"] = parameters
    if op.body is not None:
        content = {"schema": {"$ref": _SCHEMA.format(name=op.body.__name__)}}
        found["requestBody"] = {
            "required": True,
            "content": {JSON: content | {"example": op.example}},
        }
    found["responses"] = _answers(op, schemas)
    return found


def _parameters(op: Operation, schemas: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    parameter: dict[str, Any]
    if "{id}" in op.path:
        number = {"type": "integer", "format": "int64", "minimum": 1, "maximum": ROW_ID_MAX}
        parameter = {"name": "id", "in": "path", "required": True, "schema": number}
        found.append(parameter | {"description": op.path_help})
    query = schemas[op.query.__name__]
    for name, written in query.get("properties", {}).items():
        if name == "token":  # a kind of security
            continue
        schema = dict(_without_null(written))
        description, examples = schema.pop("description", ""), schema.pop("examples", [])
        parameter = {"name": name, "in": "query", "schema": schema}
        if description:
            parameter["description"] = description
        if name in query.get("required", ()):
            parameter["required"] = True
        if schema.get("default") == []:
            del schema["default"]
        if examples:
            parameter["example"] = examples[0]
        found.append(parameter)
    if op.accept:
        text_schema = {"type": "string"}
        header = {"name": "Accept", "in": "header", "schema": text_schema}
        found.append(header | {"example": op.accept})
    return found


def _cleaned(part: Any) -> Any:
    """A schema with its docstrings dedented."""
    if isinstance(part, list):
        return [_cleaned(each) for each in part]
    if isinstance(part, dict):
        return {name: _cleaned(each) for name, each in part.items()}
    return inspect.cleandoc(part) if isinstance(part, str) and "\n" in part else part


def _without_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A parameter is left out instead of being null."""
    if "anyOf" not in schema:
        return schema
    kept: list[Mapping[str, Any]] = [each for each in schema["anyOf"] if each.get("type") != "null"]
    return kept[0]


def _answers(op: Operation, schemas: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    description = "Done."
    if op.result is not None:
        name = op.result.__name__
        content[JSON] = {"schema": {"$ref": _SCHEMA.format(name=name)}}
        description = schemas[name].get("description", description)
    content |= {kind: {"schema": schema} for kind, schema in op.files.items()}
    answer: dict[str, Any] = {
        "description": description,
        **({"content": content} if content else {}),
    }
    found = {"200": answer} if op.may_exist else {}
    if op.status == 201:
        answer = answer | {"headers": {"Location": {"schema": {"type": "string"}}}}
    found[str(op.status)] = answer
    if op.accept:
        found["101"] = {"description": "A WebSocket."}
    if op.route.method == "GET":
        found["304"] = {"$ref": "#/components/responses/NotModified"}
    for status in sorted(_possible_errors(op)):
        found[str(status)] = {"$ref": f"#/components/responses/{_error_name(status)}"}
    return found


def _possible_errors(op: Operation) -> set[int]:
    has_id = {404} if "{id}" in op.path else set()
    has_body = {413} if op.body is not None else set()
    return {400, 401, 403, 422, 429, 503, *op.errors} | has_id | has_body


def _this_document() -> dict[str, Any]:
    return {
        "tags": ["Collector"],
        "operationId": "getOpenApi",
        "summary": "This document.",
        "security": [],
        "responses": {
            "200": {
                "description": "OpenAPI 3.1.",
                "content": {KIND: {"schema": {"type": "object"}}},
            },
            "304": {"$ref": "#/components/responses/NotModified"},
        },
    }

"""The OpenAPI document as a page: every call, its parameters, and an example that works."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec
from aiohttp import web
from markupsafe import Markup

from stream.cells.databases import Cells
from stream.db import Executor
from stream.store import exports, look_backs, webhook_deliveries, webhooks
from stream.store.track_list import TrackFilter
from web.api import openapi_file
from web.api.operations import cached_response
from web.api.params import NoParameters, parameters
from web.context import app_context, person, render
from web.person import Person
from web.queries import tweets
from web.queries.tracks import overview
from web.queries.tweets import TweetQuery
from web.routing import Route
from web.templating import with_code
from web.track_editing import service

METHODS = ("get", "post", "put", "patch", "delete")
_BOLD = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
_ITALIC = re.compile(r"(?<!\*)\*([^*]+)\*(?!\*)")


class Field(msgspec.Struct, frozen=True):
    """A parameter, or a field of a body."""

    name: str
    place: str
    kind: str
    required: bool
    words: Markup


class OperationEntry(msgspec.Struct, frozen=True):
    """One call."""

    id: str
    method: str
    path: str
    summary: str
    words: Markup
    fields: Sequence[Field]
    example: str
    answers: Sequence[tuple[str, str]]


class Section(msgspec.Struct, frozen=True):
    """The calls of one tag."""

    name: str
    words: Markup
    operations: Sequence[OperationEntry]


class Description:
    """The document for the page; `numbers`: existing ids, for the examples."""

    def __init__(self, document: Mapping[str, Any], address: str, numbers: Mapping[str, int]):
        self._document = document
        self._address = address
        self._numbers = numbers

    @property
    def words(self) -> Markup:
        return prose(self._document["info"]["description"])

    def sections(self) -> list[Section]:
        found: dict[str, list[OperationEntry]] = {tag["name"]: [] for tag in self._document["tags"]}
        for path, item in self._document["paths"].items():
            for method in METHODS:
                if method in item:
                    found[item[method]["tags"][0]].append(self._operation(path, item, method))
        return [
            Section(tag["name"], prose(tag.get("description", "")), found[tag["name"]])
            for tag in self._document["tags"]
        ]

    def _operation(self, path: str, item: Mapping[str, Any], method: str) -> OperationEntry:
        operation = item[method]
        parameters = [self._resolved(each) for each in operation.get("parameters", [])]
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        answers = [
            (code, self._resolved(answer)["description"])
            for code, answer in operation["responses"].items()
        ]
        return OperationEntry(
            operation["operationId"],
            method.upper(),
            path,
            operation["summary"],
            prose(operation.get("description", "")),
            [*map(self._parameter, parameters), *self._fields(content.get("schema", {}))],
            self._curl(method, path, operation, parameters, content.get("example")),
            answers,
        )

    def _resolved(self, found: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in found:
            target: Any = self._document
            for part in found["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            found = target
        return found

    def _parameter(self, parameter: Mapping[str, Any]) -> Field:
        return Field(
            parameter["name"],
            parameter["in"],
            self._kind(parameter["schema"]),
            parameter.get("required", False),
            prose(parameter.get("description", "")),
        )

    def _fields(self, schema: Mapping[str, Any]) -> Iterable[Field]:
        schema = self._resolved(schema)
        for name, field in schema.get("properties", {}).items():
            parts = [field, *field.get("anyOf", ())]
            described = (each["description"] for each in parts if "description" in each)
            words = prose(next(described, ""))
            yield Field(name, "body", self._kind(field), name in schema.get("required", ()), words)

    def _kind(self, schema: Mapping[str, Any]) -> str:
        """The type of a field, in a few words."""
        schema = self._resolved(schema)
        if "anyOf" in schema:
            words = self._kind(next(each for each in schema["anyOf"] if each.get("type") != "null"))
        elif "enum" in schema:
            words = " · ".join(schema["enum"])
        elif schema.get("type") == "array":
            words = f"several: {self._kind(schema['items'])}"
        else:
            words = _plain(schema)
        default = schema.get("default")
        return words if default in (None, "", False, []) else f"{words} (default: {default})"

    def _curl(
        self,
        method: str,
        path: str,
        operation: Mapping[str, Any],
        parameters: Sequence[Mapping[str, Any]],
        body: object,
    ) -> str:
        """A command that works as shown, once TOKEN is set."""
        query, headers = [], []
        for each in parameters:
            example = each.get("example")
            if each["in"] == "path":
                number = self._numbers.get(operation["operationId"], self._numbers["track"])
                path = path.replace(f"{{{each['name']}}}", str(number))
            elif each["in"] == "header":
                headers.append(f"-H '{each['name']}: {example}'")
            elif each["name"] == "track" and isinstance(example, list):
                query.append((each["name"], self._numbers["track"]))
            elif example is not None:
                query.append((each["name"], example))
        address = f"{self._address}{path}" + (f"?{urlencode(query)}" if query else "")
        words = ["curl", *headers] if method == "get" else ["curl", "-X", method.upper()]
        if operation.get("security") != []:
            words.append('-H "Authorization: Bearer $TOKEN"')
        if body is not None:
            if isinstance(body, dict) and "tracks" in body:
                body = {"tracks": [self._numbers["track"]]}
            words += ["-H 'Content-Type: application/json'", f"-d '{json.dumps(body)}'"]
        return " ".join([*words, f"'{address}'"])


def _plain(schema: Mapping[str, Any]) -> str:
    if schema.get("format") == "date-time":
        return "time"
    kind = schema.get("type", "")
    words: str = {"integer": "number", "string": "text", "boolean": "true · false"}.get(kind, kind)
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None and high < 2**62:
        return f"{words} from {low:,} to {high:,}"
    return words


def prose(text: str) -> Markup:
    """Paragraphs with **strong**, *other* and `code` words; everything else is escaped."""
    paragraphs = []
    for paragraph in text.strip().split("\n\n"):
        safe = _BOLD.sub(r"<strong>\1</strong>", with_code(paragraph))
        safe = _ITALIC.sub(r"<em>\1</em>", safe)
        paragraphs.append(f"<p>{safe}</p>" if safe else "")
    return Markup("\n".join(paragraphs))  # noqa: S704 - escaped above


async def openapi(request: web.Request) -> web.StreamResponse:
    parameters(request, NoParameters)
    return cached_response(request, openapi_file.text(), openapi_file.KIND)


async def page(request: web.Request) -> web.StreamResponse:
    """A page with every call, and examples that work as shown."""
    here = app_context(request)
    async with here.database.acquire() as connection:
        numbers = await _numbers(here.cells, connection, person(request))
    description = Description(openapi_file.document(), here.origin + here.base, numbers)
    return render(request, "api.html", words=description.words, sections=description.sections())


async def _numbers(cells: Cells, connection: Executor, who: Person) -> dict[str, int]:
    """Ids of what exists, for the examples: track, look-back, tweet, webhook, history entry."""
    lines = (await overview(cells, connection, who, TrackFilter(limit=1))).value
    found = await look_backs.of_track(connection, lines[0].id, 1) if lines else []
    look_back = found[0].id if found else 1
    page = await tweets.page(cells, connection, TweetQuery(person=who), "newest", None, 1)
    entries = await service.history_entries(connection, who, None, 1)
    hooks = await webhooks.get_all(connection, who.id)
    hook = hooks[0].id if hooks else 1
    deliveries = await webhook_deliveries.newest(connection, hook, 1, "delivered")
    of_webhooks = [each.id for each in openapi_file.OPERATIONS if "/webhooks/{id" in each.path]
    of_exports = [each.id for each in openapi_file.OPERATIONS if "/exports/{id" in each.path]
    exported = await exports.newest(connection, who.id, 1)
    return {
        **dict.fromkeys(of_exports, exported[0].id if exported else 1),
        **dict.fromkeys(of_webhooks, hook),
        "sendWebhookDeliveryAgain": deliveries[0].id if deliveries else 1,
        "track": lines[0].id if lines else 1,
        "getTweet": int(page.tweets[0].id) if page.tweets else 1,
        "undo": entries[0].id if entries else 1,
        "getLookBack": look_back,
        "cancelLookBack": look_back,
    }


ROUTES = (
    Route("GET", "/api", page, "viewer"),
    Route("GET", openapi_file.PATH, openapi, "public"),
    *(each.route for each in openapi_file.OPERATIONS),
)

"""openapi.yaml made ready for a page: what each call takes, and an example that works."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec
from markupsafe import Markup, escape

METHODS = ("get", "post", "put", "patch", "delete")
_BOLD = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
_ITALIC = re.compile(r"(?<!\*)\*([^*]+)\*(?!\*)")
_CODE = re.compile(r"`([^`]+)`")


class Field(msgspec.Struct, frozen=True):
    """A parameter, or a field of a body."""

    name: str
    place: str
    kind: str
    required: bool
    words: Markup


class Operation(msgspec.Struct, frozen=True):
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
    operations: Sequence[Operation]


class Description:
    """The whole file; `address`: where it is served, `numbers`: what exists, for the examples."""

    def __init__(self, document: Mapping[str, Any], address: str, numbers: Mapping[str, int]):
        self._document = document
        self._address = address
        self._numbers = numbers

    @property
    def words(self) -> Markup:
        return prose(self._document["info"]["description"])

    def sections(self) -> list[Section]:
        found: dict[str, list[Operation]] = {tag["name"]: [] for tag in self._document["tags"]}
        for path, item in self._document["paths"].items():
            for method in METHODS:
                if method in item:
                    found[item[method]["tags"][0]].append(self._operation(path, item, method))
        return [
            Section(tag["name"], prose(tag.get("description", "")), found[tag["name"]])
            for tag in self._document["tags"]
        ]

    def _operation(self, path: str, item: Mapping[str, Any], method: str) -> Operation:
        said = item[method]
        given = [*item.get("parameters", []), *said.get("parameters", [])]
        parameters = [self._resolved(each) for each in given]
        content = said.get("requestBody", {}).get("content", {}).get("application/json", {})
        answers = [
            (code, self._resolved(answer)["description"])
            for code, answer in said["responses"].items()
        ]
        return Operation(
            said["operationId"],
            method.upper(),
            path,
            said["summary"],
            prose(said.get("description", "")),
            [*map(self._parameter, parameters), *self._fields(content.get("schema", {}))],
            self._curl(method, path, said, parameters, content.get("example")),
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
            words = prose(self._resolved(field).get("description", ""))
            yield Field(name, "body", self._kind(field), name in schema.get("required", ()), words)

    def _kind(self, schema: Mapping[str, Any]) -> str:
        """What may stand there, in a few words."""
        schema = self._resolved(schema)
        if "allOf" in schema:
            words = self._kind(schema["allOf"][0])
        elif "enum" in schema:
            words = " · ".join(schema["enum"])
        elif "array" in schema.get("type", ""):
            words = f"several: {self._kind(schema['items'])}"
        else:
            words = _plain(schema)
        default = schema.get("default")
        return words if default in (None, "", False) else f"{words} ({default} if left out)"

    def _curl(
        self,
        method: str,
        path: str,
        said: Mapping[str, Any],
        parameters: Sequence[Mapping[str, Any]],
        body: object,
    ) -> str:
        """A command that works as it stands, once TOKEN is set."""
        query, headers = [], []
        for each in parameters:
            example = each.get("example")
            if each["in"] == "path":
                number = self._numbers.get(said["operationId"], self._numbers["track"])
                path = path.replace(f"{{{each['name']}}}", str(number))
            elif each["in"] == "header":
                headers.append(f"-H '{each['name']}: {example}'")
            elif each["name"] == "track" and isinstance(example, list):
                query.append((each["name"], self._numbers["track"]))
            elif example is not None:
                query.append((each["name"], example))
        address = f"{self._address}{path}" + (f"?{urlencode(query)}" if query else "")
        words = ["curl", *headers] if method == "get" else ["curl", "-X", method.upper()]
        if said.get("security") != []:
            words.append('-H "Authorization: Bearer $TOKEN"')
        if body is not None:
            if isinstance(body, dict) and "tracks" in body:
                body = {"tracks": [self._numbers["track"]]}
            words += ["-H 'Content-Type: application/json'", f"-d '{json.dumps(body)}'"]
        return " ".join([*words, f"'{address}'"])


def _plain(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "")
    named = kind if isinstance(kind, str) else next(each for each in kind if each != "null")
    if schema.get("format") == "date-time":
        return "time"
    words = {"integer": "number", "string": "text", "boolean": "true · false"}.get(named, named)
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None and high < 2**62:
        return f"{words} from {low:,} to {high:,}"
    return words


def prose(text: str) -> Markup:
    """Paragraphs with **strong**, *other* and `code` words; everything else is escaped."""
    paragraphs = []
    for paragraph in text.strip().split("\n\n"):
        safe = str(escape(paragraph))
        safe = _BOLD.sub(r"<strong>\1</strong>", safe)
        safe = _ITALIC.sub(r"<em>\1</em>", safe)
        safe = _CODE.sub(r"<code>\1</code>", safe)
        paragraphs.append(f"<p>{safe}</p>" if safe else "")
    return Markup("\n".join(paragraphs))  # noqa: S704 - escaped above

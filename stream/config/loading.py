"""config.yaml and the environment → Settings.

A variable TWITTERSTREAM_KEY replaces the key of that name; two underscores stand for the dot, so
TWITTERSTREAM_JOURNAL__MAX_BYTES is journal.max_bytes. Its value is read as YAML would read it.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

import msgspec
import yaml

from stream.config import units
from stream.config.fields import LEAVES, SECTIONS
from stream.config.settings import Settings
from stream.errors import ConfigError

PREFIX = "TWITTERSTREAM_"
_MESSAGE = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<key>[^`]*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
# Their values hold passwords, also when they are misspelt.
_SECRET = frozenset(
    {"database", "alerts.channels", "alerts.fallback", "alerts.heartbeat_url", "archive.url"}
)

Tree = dict[str, "object"]


class _Given:
    """Values as they were given, and where each of them stands."""

    def __init__(self) -> None:
        self.tree: Tree = {}
        self.places: dict[str, str] = {}

    def put(self, key: str, value: object) -> None:
        leaf = LEAVES.get(key)
        if leaf is not None and leaf.is_list and isinstance(value, str):
            value = value.split()
        if leaf is not None and leaf.unit and isinstance(value, str):
            quantity = units.number(value, leaf.unit)
            value = value if quantity is None else quantity
        section, name = _split(key)
        inner = self.tree.setdefault(section, {}) if section else self.tree
        if isinstance(
            inner, dict
        ):  # otherwise the file has a plain value there, and msgspec says so
            inner[name] = value

    def place(self, key: str) -> str:
        return self.places.get(key, "the settings")

    def find(self, key: str) -> object:
        section, name = _split(key)
        inner = self.tree.get(section) if section else self.tree
        return inner.get(name) if isinstance(inner, dict) else None


def _split(key: str) -> tuple[str, str]:
    """Section and name; a dot in a key that we do not know belongs to its name."""
    section, _, name = key.rpartition(".")
    return (section, name) if section in SECTIONS else ("", key)


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the file, if there is one, then the environment, which wins.

    Raises ConfigError: one sentence with the place, the key, and what is right instead.
    """
    given = _Given()
    if path is not None:
        _read_file(path, given)
    for name in sorted(environ):
        if name.startswith(PREFIX):
            _read_variable(name, environ[name], given)
    try:
        return msgspec.convert(given.tree, Settings)
    except msgspec.ValidationError as error:
        _explain(str(error), given)


def _read_file(path: Path, given: _Given) -> None:
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: byte {error.start} is damaged") from error
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise ConfigError(f"{where}: this is not YAML: {problem}") from error
    if root is None or _is_nothing(root):
        return
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path} must consist of lines `key: value`")
    _read_mapping(root, "", str(path), given)


def _read_mapping(node: yaml.MappingNode, above: str, file: str, given: _Given) -> None:
    for key_node, value_node in node.value:
        name = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
        key, place = above + name, f"{file}, line {key_node.start_mark.line + 1}"
        if key in given.places:
            raise ConfigError(f"{place}: {key} is there already, at {given.places[key]}")
        given.places[key] = place
        if isinstance(value_node, yaml.MappingNode) and key in SECTIONS:
            _read_mapping(value_node, f"{key}.", file, given)
        elif not (_is_nothing(value_node) and (key in LEAVES or key in SECTIONS)):
            given.put(key, _value(value_node))


def _is_nothing(node: yaml.Node) -> bool:
    """`key:` without a value: the default holds."""
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _value(node: yaml.Node | None) -> object:
    if isinstance(node, yaml.SequenceNode):
        return [_value(each) for each in node.value]
    if not isinstance(node, yaml.ScalarNode):
        return {}  # no setting is a mapping of its own
    try:
        return yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError):  # as the 31st of June
        return node.value


def _read_variable(name: str, text: str, given: _Given) -> None:
    key = name.removeprefix(PREFIX).lower().replace("__", ".")
    if key not in LEAVES:
        known = [PREFIX + leaf.upper().replace(".", "__") for leaf in LEAVES]
        raise ConfigError(f"the variable {name} sets nothing that exists{_nearest(name, known)}")
    value: object = text
    if not LEAVES[key].is_text:
        try:
            value = _value(yaml.compose(text, Loader=yaml.SafeLoader))
        except yaml.YAMLError:
            value = text  # then msgspec says what it must be
    given.places[key] = f"the variable {name}"
    given.put(key, value)


def _explain(message: str, given: _Given) -> NoReturn:
    """Say with the words of the file what msgspec says with those of the types."""
    parts = _MESSAGE.fullmatch(message)
    assert parts is not None
    key = (parts["key"] or "").partition("[")[0]  # of a list: the whole of it
    if unknown := _UNKNOWN.fullmatch(parts["what"]):
        full = f"{key}.{unknown[1]}".removeprefix(".")
        nearest = _nearest(full, [*LEAVES, *SECTIONS])
        raise ConfigError(f"{given.place(full)}: there is no setting {full}{nearest}")
    if parts["what"].startswith("disk_"):  # of AlertSettings, about several keys together
        raise ConfigError(f"{given.place(key)}: {key}: {parts['what']}")
    if key in SECTIONS:
        raise ConfigError(f"{given.place(key)}: {key} takes settings of its own, indented below it")
    value = given.find(key)
    raise ConfigError(f"{given.place(key)}: {key} takes {LEAVES[key].takes}{_shown(key, value)}")


def _shown(key: str, value: object) -> str:
    """What stands there instead, unless it is a secret."""
    if key in _SECRET:
        return ""
    for kind, name in ((list, "a list"), (dict, "settings of its own")):
        if isinstance(value, kind):
            return f", not {name}"
    return f", not {value!r}"


def _nearest(name: str, known: list[str]) -> str:
    """The name that was probably meant, also when only its section is wrong or missing."""
    last = {key.rpartition(".")[2]: key for key in known}
    word = name.rpartition(".")[2]
    close = [last[word]] if word in last else get_close_matches(name, known, 1)
    close = close or [last[found] for found in get_close_matches(word, last, 1)]
    return f"; did you mean {close[0]}?" if close else ""

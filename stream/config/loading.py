"""config.yaml and the environment → Settings.

A variable TWITTERSTREAM_KEY replaces the key of that name; two underscores are the dot, so
TWITTERSTREAM_JOURNAL__MAX_BYTES is journal.max_bytes. Its value is read as YAML would read it.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

import msgspec
import yaml

from stream import database_url
from stream.config.fields import ACCEPTED, LEAVES, SECTIONS, quantity
from stream.config.settings import SettingError, Settings
from stream.errors import ConfigError
from stream.text import decoded

PREFIX = "TWITTERSTREAM_"
_DECIMAL = re.compile(
    r"[-+]?\d{1,30}(?:_\d{1,30})*(?P<fraction>\.\d{0,30})?(?P<exponent>[eE][-+]?\d{1,3})?"
)
# Their values hold passwords, also when they are misspelt.
_SECRET = frozenset(
    {
        "database",
        "cells",
        "alerts.channels",
        "alerts.fallback",
        "alerts.heartbeat_url",
        "archive.url",
        "sinks.redis.url",
        "web.replica",
    }
)

# Old names of settings: each is an error that gives the new name.
RENAMED = {
    "save_every": "flush_interval",
    "reload_every": "poll_interval",
    "count_every": "status_interval",
    "retry_failed_every": "retry_failed_interval",
    "journal.keep": "journal.keep_hours",
    "monitor.probe_every": "monitor.sample_interval",
    "monitor.minutes_days": "monitor.machine_minutes_days",
    "monitor.hours_days": "monitor.machine_hours_days",
    "alerts.repeat_every": "alerts.repeat_interval",
    "alerts.heartbeat_every": "alerts.heartbeat_interval",
    "retention.minutes_days": "retention.track_minutes_days",
    "web.calls_per_minute": "web.requests_per_minute",
    "web.viewers": "web.max_live_connections",
    "web.live_per_user": "web.max_live_per_user",
    "web.body_bytes": "web.max_body_bytes",
    "web.excel_temp_bytes": "web.max_excel_temp_bytes",
    "x_v2.rule_length": "x_v2.max_rule_length",
    "x_v2.box_parts": "x_v2.max_box_parts",
    "x_v2.attempts": "x_v2.connect_attempts",
    "x_v2.rule_changes": "x_v2.max_rule_changes",
    "x_v2.silence": "x_v2.silence_timeout",
    "x_v1.phrase_bytes": "x_v1.max_phrase_bytes",
    "x_v1.attempts": "x_v1.connect_attempts",
    "x_v1.silence": "x_v1.silence_timeout",
    "x_v1.settle": "x_v1.debounce",
    "x_v1.settle_max": "x_v1.debounce_max",
}

Tree = dict[str, "object"]


class _Given:
    """Values as given, each with its file and line."""

    def __init__(self) -> None:
        self.tree: Tree = {}
        self.places: dict[str, str] = {}
        self.renamed: list[str] = []  # a sentence for each old name

    def put(self, key: str, value: object) -> None:
        leaf = LEAVES.get(key)
        if leaf is not None and leaf.is_list and isinstance(value, str):
            value = value.split()
        if leaf is not None and leaf.unit and isinstance(value, str):
            number = quantity(value, leaf.unit)
            value = value if number is None else number
        section, name = _split(key)
        inner = self.tree
        for part in section.split(".") if section else ():
            inner = inner.setdefault(part, {})  # type: ignore[assignment]  # sections are dicts
        inner[name] = value

    def place(self, key: str) -> str:
        return self.places.get(key, "the settings")

    def find(self, key: str) -> object:
        section, name = _split(key)
        return self.section(section).get(name)

    def section(self, name: str) -> Tree:
        """What is given in this section; with an empty name, outside of all."""
        inner = self.tree
        for part in name.split(".") if name else ():
            inner = inner.get(part, {})  # type: ignore[assignment]  # sections are dicts
        return inner


def _split(key: str) -> tuple[str, str]:
    """Section and name; a dot in an unknown key is part of its name."""
    section, _, name = key.rpartition(".")
    return (section, name) if section in SECTIONS else ("", key)


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the file, if there is one, then the environment, which wins.

    Raises ConfigError: one sentence with the place, the key, and what is right instead; of old
    names a sentence each.
    """
    given = _Given()
    if path is not None:
        _read_file(path, given)
    for name in sorted(environ):
        if name.startswith(PREFIX):
            _read_variable(name, environ[name], given)
    if given.renamed:
        raise ConfigError("\n".join(given.renamed))
    _validate(given)
    settings = msgspec.convert(given.tree, Settings)
    _check_addresses(given, settings)
    return settings


def _check_addresses(given: _Given, settings: Settings) -> None:
    """ConfigError for an address that cannot be read, or two cells with the same database."""
    addresses = {"database": settings.database} if settings.database else {}
    addresses |= {f"cells.{name}": url for name, url in settings.cells.items()}
    if settings.web.replica:
        addresses["web.replica"] = settings.web.replica
    cell_by_place: dict[object, str] = {}
    for key, url in addresses.items():
        where = given.place(key if key in LEAVES else key.partition(".")[0])
        try:
            place = database_url.parse(url).place
        except ConfigError as error:
            raise ConfigError(f"{where}: {key} {error}") from None
        if key == "web.replica":
            continue
        if place in cell_by_place:
            raise ConfigError(
                f"{where}: {key} has the address of {cell_by_place[place]}: each cell needs a"
                " database of its own"
            )
        cell_by_place[place] = key


def _read_file(path: Path, given: _Given) -> None:
    try:
        text = decoded(path.read_bytes())
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
    try:
        _read_mapping(root, "", str(path), given)
    except RecursionError as error:  # an alias that contains itself
        raise ConfigError(f"{path}: this is not YAML: a value contains itself") from error


def _read_mapping(node: yaml.MappingNode, above: str, file: str, given: _Given) -> None:
    for key_node, value_node in node.value:
        name = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
        key, place = above + name, f"{file}, line {key_node.start_mark.line + 1}"
        if key in given.places:
            raise ConfigError(f"{place}: {key} is given twice, first at {given.places[key]}")
        given.places[key] = place
        if key in RENAMED:
            given.renamed.append(f"{place}: {key} is now {RENAMED[key]}")
            continue
        is_section = isinstance(value_node, yaml.MappingNode) or _is_nothing(value_node)
        _check_name(key, place, is_section=is_section)
        if isinstance(value_node, yaml.MappingNode) and key in SECTIONS:
            _read_mapping(value_node, f"{key}.", file, given)
        elif not _is_nothing(value_node):
            given.put(key, _value(value_node, key, place))


def _is_nothing(node: yaml.Node) -> bool:
    """Whether a key has no value, so that the default applies."""
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _value(node: yaml.Node | None, key: str, place: str) -> object:
    """Read a value by its setting's type: YAML 1.1 reads 18:30 as 1110, 010 as 8, no as false."""
    if isinstance(node, yaml.SequenceNode):
        return [_value(each, "", place) for each in node.value]
    leaf = LEAVES.get(key)
    if isinstance(node, yaml.MappingNode) and leaf is not None and leaf.is_mapping:
        return {name.value: _value(each, "", place) for name, each in node.value}
    if not isinstance(node, yaml.ScalarNode):
        return {}  # no other setting is a mapping of its own
    is_bool = node.style is None and node.tag == "tag:yaml.org,2002:bool"
    if leaf is None or node.style is not None:
        return node.value
    if leaf.is_text and is_bool:
        raise ConfigError(f"{place}: {key} takes {leaf.takes}, not {node.value}")
    if isinstance(leaf.type, msgspec.inspect.BoolType):
        return yaml.SafeLoader("").construct_object(node) if is_bool else node.value
    return _number(node.value) if leaf.is_number else node.value


def _number(text: str) -> object:
    """Read a decimal number, also with leading zeros; other text stays text."""
    found = _DECIMAL.fullmatch(text)
    if found is None:
        return text
    return float(text) if found["fraction"] or found["exponent"] else int(text)


def _variable(key: str) -> str:
    return PREFIX + key.upper().replace(".", "__")


def _read_variable(name: str, text: str, given: _Given) -> None:
    key = name.removeprefix(PREFIX).lower().replace("__", ".")
    if key in RENAMED:
        given.renamed.append(f"the variable {name} is now {_variable(RENAMED[key])}")
        return
    if key not in LEAVES:
        known = [_variable(leaf) for leaf in LEAVES]
        raise ConfigError(f"the variable {name} matches no setting{_nearest(name, known)}")
    value: object = text
    place = f"the variable {name}"
    if not LEAVES[key].is_text:
        try:
            value = _value(yaml.compose(text, Loader=yaml.SafeLoader), key, place)
        except yaml.YAMLError:
            value = text  # it will be rejected
    given.places[key] = place
    given.put(key, value)


def _check_name(key: str, place: str, *, is_section: bool) -> None:
    """ConfigError for a key of the file that is not a setting, or a section without settings."""
    if key not in LEAVES and key not in SECTIONS:
        nearest = _nearest(key, [*LEAVES, *SECTIONS])
        raise ConfigError(f"{place}: there is no setting {key}{nearest}")
    if key in SECTIONS and not is_section:
        raise ConfigError(f"{place}: {key} is a section: indent its settings below it")


def _validate(given: _Given) -> None:
    """ConfigError for the first value, or combination of values, that is not accepted."""
    for key, leaf in LEAVES.items():
        value = given.find(key)
        if value is not None and (rejected := leaf.rejected_part(value)) is not ACCEPTED:
            shown = _shown(key, rejected)
            raise ConfigError(f"{given.place(key)}: {key} takes {leaf.takes}{shown}")
    sections = sorted(SECTIONS.items(), key=lambda each: -each[0].count("."))
    for name, section in [*sections, ("", Settings)]:
        try:
            msgspec.convert(given.section(name), section)
        except msgspec.ValidationError as error:  # of the section's own __post_init__
            raise ConfigError(_of_section(given, name, error.__cause__)) from None


def _of_section(given: _Given, section: str, error: BaseException | None) -> str:
    """An error of settings of a section, with the place of each that is given."""
    assert isinstance(error, SettingError)
    keys = [f"{section}.{name}" if section else name for name in error.names]
    places = dict.fromkeys(given.place(key) for key in keys if given.find(key) is not None)
    subject = "" if not section else f"{section}." if len(keys) == 1 else f"{section}: "
    return f"{' and '.join(places)}: {subject}{error}"


def _shown(key: str, value: object) -> str:
    """The rejected value for an error, unless it is a secret."""
    if key in _SECRET:
        return ""
    for kind, name in ((list, "a list"), (dict, "a section")):
        if isinstance(value, kind):
            return f", not {name}"
    return f", not {value!r}"


def _nearest(name: str, known: list[str]) -> str:
    """Suggest the nearest setting, also when only the section is wrong or missing."""
    last = {key.rpartition(".")[2]: key for key in known}
    word = name.rpartition(".")[2]
    close = [last[word]] if word in last else get_close_matches(name, known, 1)
    close = close or [last[found] for found in get_close_matches(word, last, 1)]
    return f"; did you mean {close[0]}?" if close else ""

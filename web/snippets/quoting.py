"""Texts as literals of other languages: what a reader typed stays one text, and never becomes code.

Characters that are invisible or move others (line breaks, marks of direction) are written as
escapes where the language has them, so that a reader sees what they paste.
"""

import shlex
from collections.abc import Callable


def shell(text: str) -> str:
    """A word of sh, bash and zsh."""
    return shlex.quote(text)


def python(text: str) -> str:
    """A text of Python."""
    return repr(text)


def r(text: str) -> str:
    """A text of R."""
    return '"' + _escaped(text, {'"': '\\"', "\\": "\\\\"}, _backslash) + '"'


def power_query(text: str) -> str:
    """A text of M, the language of Power Query."""
    plain = text.replace("#(", "#(#)(")  # begins an escape
    return '"' + _escaped(plain, {'"': '""'}, lambda code: f"#({_hex(code)})") + '"'


def sql(text: str) -> str:
    """A text of Postgres, whatever `standard_conforming_strings` is."""
    return _sql(text, {})


def grafana_sql(text: str) -> str:
    """The same for a panel of Grafana, which replaces `$name`, `${name}` and `[[name]]` first."""
    return _sql(text, {"$": "\\x24", "[": "\\x5B"})


def _sql(text: str, also: dict[str, str]) -> str:
    escaped = _escaped(text, {"'": "''", "\\": "\\\\"} | also, _backslash)
    return ("E'" if "\\" in escaped else "'") + escaped + "'"


def _escaped(text: str, replaced: dict[str, str], escape: Callable[[int], str]) -> str:
    return "".join(
        replaced.get(each) or (each if each.isprintable() else escape(ord(each))) for each in text
    )


def _backslash(code: int) -> str:
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


def _hex(code: int) -> str:
    return f"{code:04X}" if code <= 0xFFFF else f"{code:08X}"

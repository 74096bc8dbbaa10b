"""Every SQL statement is in stream/store, and each table is written to by one module of it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
STORE = "stream/store/"

# The tables that each module of stream/store writes to.
TABLES = {
    "accounts": ("accounts", "tracked_accounts"),
    "alerts": ("alert_mutes", "alerts"),
    "archives": ("archive_changes", "archives", "partially_expired_days", "raw_archives"),
    "author_tombstones": ("author_tombstones",),
    "cells": ("cell_identity",),
    "consumer_cursors": ("consumer_cursors",),
    "daemons": ("daemons",),
    "deletion_log": ("deletion_log",),
    "events": ("events",),
    "exports": ("export_parts", "exports"),
    "gaps": ("gaps", "track_gaps"),
    "ingest_log": ("ingest_runs", "positions", "rejects"),
    "lanes": ("lanes",),
    "jobs": ("jobs",),
    "look_backs": ("look_backs",),
    "machine_history": ("machine_minutes",),
    "migrations": ("schema_migrations",),
    "restored_days": ("restoring_matches", "restoring_tweets"),
    "rollups": ("source_hours", "source_minutes", "track_days", "track_hours", "track_minutes"),
    "sessions": ("sessions", "tokens"),
    "sharing": ("track_shares",),
    "sinks": ("sinks",),
    "sources": ("sources",),
    "top_items": ("track_top_items",),
    "sql_roles": ("sql_roles",),
    "track_history": ("track_history",),
    "tracks": ("tracks",),
    "tweet_ids": ("tweet_ids",),
    "tweets": ("matches", "tweets"),
    "users": ("invites", "users"),
    "webhook_deliveries": ("webhook_deliveries",),
    "webhooks": ("webhooks",),
}
HOMES = {table: module for module, tables in TABLES.items() for table in tables}
# Of those, what the schema does not create.
MADE_AT_RUN_TIME = {"restoring_matches", "restoring_tweets", "schema_migrations"}
# Modules that write to tables of another home as well, and why.
ALSO = {
    "day_deletion": {"tweets", "matches"},  # those of a day that are archived or have expired
    "tweet_versions": {"tweets", "matches"},  # replaces a tweet and its matches
    "look_back_queue": {"look_backs"},  # for the process that runs them
    "look_back_rows": {"matches"},  # of tweets that are stored already
    "deletions": {"tweets", "matches", "tweet_ids"},  # one place for what a deletion does
    "archived_deletions": {"tweet_ids"},  # the tombstones of what it takes out of an archive
    # A day comes back with its native ids and counts.
    "restored_days": {"tweet_ids", "track_minutes", "track_hours", "track_days"},
    "cells": {"sources"},  # copies of the home database's
    "backups": set(HOMES),  # a backup is restored into all of them
}
# SQL that is not run on our tables by the product.
NOT_OURS = {
    "stream/commands/prove.py": "asks psql what is stored, independently",
    "stream/db.py": "asks whether a connection is alive",
    "stream/driver.py": "asks what a connection leads to, and limits its transactions",
    "monitor/archive/query.py": "DuckDB's, on the files of an archive",
    "monitor/export/graph.py": "DuckDB's, on the files of an export",
    "web/snippets/api_lines.py": "shown to users, for DuckDB",
    "web/snippets/sql_lines.py": "shown to users, for their own login",
}
_SQL = re.compile(
    r"\b(?:SELECT|WHERE|JOIN|ORDER BY|GROUP BY|RETURNING|ON CONFLICT|IS (?:NOT )?NULL|SET LOCAL"
    r"|INSERT INTO|DELETE FROM|UPDATE \S+ (?:AS \w+ )?SET|TRUNCATE|LOCK TABLE|VACUUM|ANALYZE"
    r"|CREATE (?:TABLE|TEMP|UNLOGGED|INDEX|VIEW|DATABASE|ROLE|SCHEMA|EXTENSION)"
    r"|ALTER (?:TABLE|ROLE|DATABASE|SYSTEM)|DROP (?:TABLE|INDEX|VIEW|DATABASE|ROLE))\b"
    r"|\bCOPY \S+ (?:FROM|TO)\b|\b(?:LISTEN|NOTIFY) [a-z]|[=<>] ?\$\d|ANY \(\$\d"
)
_WRITE = re.compile(
    r"\b(?:INSERT INTO|DELETE FROM(?: ONLY)?|UPDATE(?: ONLY)?|TRUNCATE(?: TABLE)?|ALTER TABLE"
    r"|LOCK TABLE|COPY|MERGE INTO)\s+(\w+)"
)
_COPIERS = {"copy", "copy_records_to_table"}  # functions that write to the table they are given


class Text(NamedTuple):
    file: str
    line: int
    text: str


def test_every_table_has_a_home() -> None:
    made = set(re.findall(r"^CREATE TABLE (?:IF NOT EXISTS )?(\w+)", schema(), re.MULTILINE))
    made -= set(re.findall(r"^CREATE TABLE (\w+)\s+PARTITION OF", schema(), re.MULTILINE))
    homes = [table for tables in TABLES.values() for table in tables]
    assert sorted(homes) == sorted(made | MADE_AT_RUN_TIME)


def test_sql_is_only_in_the_store() -> None:
    found = {
        each.file: f"{each.file}:{each.line}: {' '.join(each.text.split())[:60]}"
        for each in texts()
        if not each.file.startswith(STORE) and each.file not in NOT_OURS and _SQL.search(each.text)
    }
    assert list(found.values()) == []


def test_a_table_is_written_to_by_its_home_alone() -> None:
    found = {}
    for file, line, table in writes():
        module = file.removeprefix(STORE).removesuffix(".py")
        if HOMES.get(table, module) != module and table not in ALSO.get(module, ()):
            found[module, table] = f"{file}:{line}: {table} is written to by {HOMES[table]}"
    assert list(found.values()) == []


def test_each_exception_is_needed() -> None:
    with_sql = {each.file for each in texts() if _SQL.search(each.text)}
    assert sorted(NOT_OURS.keys() - with_sql) == []
    written = {(file.removeprefix(STORE).removesuffix(".py"), table) for file, _, table in writes()}
    # A restored backup names its tables at run time.
    also = {(module, table) for module in ALSO.keys() - {"backups"} for table in ALSO[module]}
    assert sorted(also - written) == []


def writes() -> Iterator[tuple[str, int, str]]:
    """Of each write to a table in the store: file, line, table."""
    for each in texts():
        if each.file.startswith(STORE):
            for table in _WRITE.findall(each.text):
                yield each.file, each.line, table
    for file in files():
        if file.startswith(STORE):
            for node in ast.walk(tree(file)):
                if isinstance(node, ast.Call) and called(node) in _COPIERS:
                    for argument in node.args:
                        if isinstance(argument, ast.Constant) and argument.value in HOMES:
                            yield file, node.lineno, argument.value


def called(node: ast.Call) -> str:
    match node.func:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name
    return ""


@cache
def texts() -> list[Text]:
    """All texts of the product, without docstrings; `{}` where an f-string has a value."""
    found = []
    for file in files():
        inner = set()
        for node in ast.walk(tree(file)):
            text, line = None, getattr(node, "lineno", 0)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                inner.add(id(node.value))  # a docstring
            elif isinstance(node, ast.JoinedStr):
                inner |= {id(part) for part in node.values}
                parts = (
                    str(part.value) if isinstance(part, ast.Constant) else "{}"
                    for part in node.values
                )
                text = "".join(parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value if id(node) not in inner else None
            if text is not None:
                found.append(Text(file, line, text))
    return found


@cache
def files() -> tuple[str, ...]:
    found = ["twitterstream.py"]
    for package in ("stream", "monitor", "web", "simulator"):
        found += (
            str(path.relative_to(ROOT))
            for path in sorted((ROOT / package).rglob("*.py"))
            if "node_modules" not in path.parts
        )
    return tuple(found)


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text())


@cache
def schema() -> str:
    return (ROOT / "sql" / "schema" / "tables.sql").read_text()

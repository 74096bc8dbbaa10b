"""The tables of an archive: their columns in Postgres and in Parquet, and the queries for them."""

from typing import Literal

import msgspec

Kind = Literal["bigint", "integer", "smallint", "boolean", "time", "text", "texts"]


class Column(msgspec.Struct, frozen=True):
    """One column. `wide` ones hold long values, `few` ones the same few again and again."""

    name: str
    kind: Kind
    wide: bool = False
    few: bool = False

    @property
    def copied(self) -> str:
        """How COPY shall write it: lists as JSON."""
        return f"to_json({self.name})" if self.kind == "texts" else self.name


class Table(msgspec.Struct, frozen=True):
    """A table of the archive, its rows in the order of `key`."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    daily: bool = True  # one day of it, and not all

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def narrow(self) -> list[str]:
        """Columns whose least and greatest values are worth a note in the file."""
        return [column.name for column in self.columns if not column.wide]

    @property
    def few(self) -> list[str]:
        """Columns that a dictionary makes small."""
        return [column.name for column in self.columns if column.few]

    def _select(self, what: str) -> str:
        where = " WHERE received_at >= $1 AND received_at < $2" if self.daily else ""
        return f"SELECT {what} FROM {self.name}{where}"  # noqa: S608 - all of it is in this file

    @property
    def copied(self) -> str:
        """The rows for COPY, in order."""
        what = ", ".join(column.copied for column in self.columns)
        return f"{self._select(what)} ORDER BY {', '.join(self.key)}"

    @property
    def fetched(self) -> str:
        """The rows for the driver, in order."""
        return f"{self._select(', '.join(self.names))} ORDER BY {', '.join(self.key)}"

    @property
    def digested(self) -> str:
        """Number and digest of the rows: a sum, so that parts add up to the whole."""
        row = f"hash_record_extended(ROW({', '.join(self.names)}), 0)"
        return self._select(f"count(*) AS rows, coalesce(sum({row}), 0)::text AS digest")


TWEETS = Table(
    "tweets",
    ("id",),
    (
        Column("id", "bigint"),
        Column("received_at", "time"),
        Column("created_at", "time"),
        Column("deleted_at", "time"),
        Column("network", "text", few=True),
        Column("native_id", "text", wide=True),
        Column("kind", "text", few=True),
        Column("lang", "text", few=True),
        Column("author_id", "text", wide=True),
        Column("author", "text", wide=True),
        Column("url", "text", wide=True),
        Column("withheld", "texts", wide=True),
        Column("text", "text", wide=True),
        Column("doc", "text", wide=True),
    ),
)
MATCHES = Table(
    "matches",
    ("tweet_id", "track_id"),
    (
        Column("tweet_id", "bigint"),
        Column("track_id", "bigint", few=True),
        Column("received_at", "time"),
        Column("term", "text", few=True),
        Column("field", "text", few=True),
        Column("part", "text", few=True),
    ),
)
TRACKS = Table(
    "tracks",
    ("id",),
    (
        Column("id", "bigint"),
        Column("owner", "text", few=True),
        Column("kind", "text", few=True),
        Column("value", "text", wide=True),
        Column("networks", "texts", wide=True),
        Column("enabled", "boolean"),
        Column("starts_at", "time"),
        Column("ends_at", "time"),
        Column("created_at", "time"),
        Column("state", "text", few=True),
        Column("reason", "text", wide=True),
        Column("state_at", "time"),
        Column("priority", "smallint"),
        Column("keep_days", "integer"),
    ),
    daily=False,
)
TABLES = {table.name: table for table in (TWEETS, MATCHES, TRACKS)}

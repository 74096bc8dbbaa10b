"""The columns of exports: for each its name, its type, and the SQL that reads it.

The SQL is over a tweet (`tweets`), what its message has (`message`: message_columns of
sql/schema/flat.sql), and its matches of the exported tracks (`own`).
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from stream.store.exports import ColumnSet

Kind = Literal["text", "integer", "number", "time", "texts", "integers"]


class ExportColumn(msgspec.Struct, frozen=True):
    """A column of an export."""

    name: str
    kind: Kind
    about: str
    sql: str = ""  # of the tweet's own column of this name, if empty

    @property
    def value(self) -> str:
        """SQL for the value."""
        return self.sql or f"tweets.{self.name}"


class ExportTable(msgspec.Struct, frozen=True):
    """The columns of a file, with a row for each tweet, or for each item of it."""

    name: str
    columns: Sequence[ExportColumn]
    # SQL for the items of a tweet, with their `position`: `item` in the columns' SQL.
    items: str = ""


def _of_doc(name: str, kind: Kind, about: str) -> ExportColumn:
    return ExportColumn(name, kind, about, f"message.{name}")


def pseudonym(value: str) -> str:
    """SQL: a name or id of an account, or what stands for it in this export."""
    hashed = (
        f"encode(substring(sha256(export.key || convert_to(lower({value}), 'UTF8')) FOR 8), 'hex')"
    )
    return f"CASE WHEN export.key IS NULL THEN {value} ELSE {hashed} END"


def _pseudonyms(values: str) -> str:
    """SQL: a list of these."""
    hashed = f"SELECT {pseudonym('each')} FROM unnest({values}) AS each"  # noqa: S608 - constants
    return f"CASE WHEN export.key IS NULL THEN {values} ELSE ARRAY({hashed}) END"


def unless_pseudonyms(value: str) -> str:
    """SQL: what would name the account; null where pseudonyms are used."""
    return f"CASE WHEN export.key IS NULL THEN {value} END"


def _joined(values: str, by: str) -> str:
    return f"array_to_string({values}, '{by}')"


# Handles in a text, where pseudonyms are used.
_HANDLES = "@[[:alnum:]_][[:alnum:]_.-]*(@[[:alnum:].-]+)?"
_TEXT = (
    "CASE WHEN export.key IS NULL THEN tweets.text"
    f" ELSE regexp_replace(tweets.text, '{_HANDLES}', '@…', 'g') END"
)
_URL = unless_pseudonyms("CASE WHEN tweets.url ~ '^https?://' THEN tweets.url END")
# Where pseudonyms are used, the key stands for the network's id, which would lead to the author.
_TWEET_ID = "CASE WHEN export.key IS NULL THEN tweets.native_id ELSE tweets.id::text END"
_NATIVE_ID = unless_pseudonyms("tweets.native_id")
AUTHOR, AUTHOR_ID = pseudonym("tweets.author"), pseudonym("tweets.author_id")
_NAME = unless_pseudonyms("message.display_name")
_MENTIONS = _pseudonyms("message.mentions")
_MENTION_IDS = _pseudonyms("message.mention_ids")
TIME = "coalesce(tweets.created_at, tweets.received_at)"
# The addresses of pictures and videos, as far as the network sends them.
_MEDIA_LINKS = "ARRAY(SELECT jsonb_array_elements_text(message.media_links))"
_CONVERSATION = "json_id(message.conversation)"

EVERYTHING = (
    ExportColumn(
        "id", "integer", "The tweet's key in this program; it rises with the time of receiving."
    ),
    ExportColumn("network", "text", "x_v2, x_v1, bluesky or mastodon."),
    ExportColumn("native_id", "text", "The network's own id.", _NATIVE_ID),
    ExportColumn("url", "text", "The address of the tweet.", _URL),
    ExportColumn("kind", "text", "original, reply, repost or quote."),
    ExportColumn("lang", "text", "The language, as the network says."),
    ExportColumn("author", "text", "The author's handle.", AUTHOR),
    ExportColumn("display_name", "text", "The author's name; Bluesky sends none.", _NAME),
    ExportColumn("author_id", "text", "The network's id of the author.", AUTHOR_ID),
    ExportColumn("text", "text", "The text; of a repost, that of the reposted tweet.", _TEXT),
    ExportColumn("created_at", "time", "When it was written, as the network says."),
    ExportColumn("received_at", "time", "When it was received."),
    ExportColumn("edited_at", "time", "When the newest version was received, if it was edited."),
    _of_doc("hashtags", "texts", "Hashtags without their sign."),
    _of_doc("links", "texts", "Links: where they lead to, as far as the network says."),
    ExportColumn("mentions", "texts", "Handles of mentioned accounts.", _MENTIONS),
    ExportColumn(
        "mention_ids", "texts", "Ids of mentioned accounts; Mastodon sends none.", _MENTION_IDS
    ),
    _of_doc("media", "texts", "photo, video, animated_gif or audio: one for each."),
    _of_doc("likes", "integer", "Likes when it was received; Bluesky sends none."),
    _of_doc("reposts", "integer", "Reposts when it was received; Bluesky sends none."),
    _of_doc("replies", "integer", "Replies when it was received; Bluesky sends none."),
    _of_doc("quotes", "integer", "Quotes when it was received; Bluesky sends none."),
    _of_doc("place", "text", "The place it names; only X sends places."),
    _of_doc("country", "text", "The country of that place: two letters of ISO 3166."),
    _of_doc("longitude", "number", "Where it was written; only X sends points."),
    _of_doc("latitude", "number", "As longitude."),
    ExportColumn("tracks", "integers", "Ids of the exported tracks that it matches.", "own.tracks"),
    ExportColumn("terms", "texts", "The words of each of these tracks that matched.", "own.terms"),
    ExportColumn(
        "look_back",
        "integers",
        "Ids of the exported tracks for which a look-back found it, not the stream.",
        "own.look_back",
    ),
)
SIMPLE = (
    ExportColumn("author", "text", "The author's handle.", AUTHOR),
    ExportColumn("display_name", "text", "The author's name; Bluesky sends none.", _NAME),
    ExportColumn("text", "text", "The text; of a repost, that of the reposted tweet.", _TEXT),
    ExportColumn(
        "local_time",
        "text",
        "When it was written, in the time zone of the export.",
        f"to_char({TIME} AT TIME ZONE export.zone, 'YYYY-MM-DD HH24:MI:SS')",
    ),
    ExportColumn("likes", "integer", "Their number when it was received.", "message.likes"),
    ExportColumn("reposts", "integer", "Their number when it was received.", "message.reposts"),
    ExportColumn("replies", "integer", "Their number when it was received.", "message.replies"),
    ExportColumn("link", "text", "The address of the tweet.", _URL),
    ExportColumn(
        "media_links",
        "text",
        "Addresses of its pictures and videos, with spaces between them.",
        unless_pseudonyms(_joined(_MEDIA_LINKS, " ")),  # some have the id of the account
    ),
    ExportColumn("place", "text", "The place it names; only X sends places.", "message.place"),
    ExportColumn(
        "matched_term",
        "text",
        "The words that matched, with semicolons between them.",
        _joined("ARRAY(SELECT term FROM each_once(own.terms) AS term)", "; "),
    ),
)
# The names of twarc-csv, for what all networks have.
TWARC = (
    ExportColumn(
        "id", "text", "The network's own id; with pseudonyms, the tweet's key here.", _TWEET_ID
    ),
    ExportColumn(
        "conversation_id", "text", "Only X v2 sends one.", unless_pseudonyms(_CONVERSATION)
    ),
    ExportColumn("created_at", "time", "When it was written.", "tweets.created_at"),
    ExportColumn("author_id", "text", "The network's id of the author.", AUTHOR_ID),
    ExportColumn("author.username", "text", "The author's handle.", AUTHOR),
    ExportColumn("author.name", "text", "The author's display name.", _NAME),
    ExportColumn("text", "text", "The text; of a repost, that of the reposted tweet.", _TEXT),
    ExportColumn("lang", "text", "The language, as the network says."),
    ExportColumn("public_metrics.like_count", "integer", "Likes.", "message.likes"),
    ExportColumn("public_metrics.retweet_count", "integer", "Reposts.", "message.reposts"),
    ExportColumn("public_metrics.reply_count", "integer", "Replies.", "message.replies"),
    ExportColumn("public_metrics.quote_count", "integer", "Quotes.", "message.quotes"),
    ExportColumn("entities.hashtags", "texts", "Hashtags without their sign.", "message.hashtags"),
    ExportColumn("entities.mentions", "texts", "Handles of mentioned accounts.", _MENTIONS),
    ExportColumn("entities.urls", "texts", "Links.", "message.links"),
    ExportColumn("geo.full_name", "text", "The place it names.", "message.place"),
    ExportColumn("geo.country_code", "text", "Two letters of ISO 3166.", "message.country"),
    ExportColumn("__twarc.retrieved_at", "time", "When it was received.", "tweets.received_at"),
)
# What 4CAT's import of CSV files asks for, and what it takes besides.
FOUR_CAT = (
    ExportColumn("id", "text", "The key of the tweet here.", "tweets.id::text"),
    ExportColumn(
        "thread_id",
        "text",
        "The id of the conversation, else of the tweet.",
        f"coalesce({unless_pseudonyms(_CONVERSATION)}, tweets.id::text)",
    ),
    ExportColumn(
        "author", "text", "The author's handle or id.", f"coalesce({AUTHOR}, {AUTHOR_ID}, '')"
    ),
    ExportColumn("body", "text", "The text.", _TEXT),
    ExportColumn("subject", "text", "Always empty.", "''"),
    ExportColumn(
        "timestamp",
        "text",
        "When it was written (UTC).",
        f"to_char({TIME} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')",
    ),
    ExportColumn(
        "hashtags",
        "text",
        "Hashtags without their sign, with commas between them.",
        _joined("message.hashtags", ","),
    ),
    ExportColumn(
        "mentions",
        "text",
        "Handles of mentioned accounts, with commas between them.",
        _joined(_MENTIONS, ","),
    ),
    ExportColumn("urls", "text", "Links, with commas between them.", _joined("message.links", ",")),
    ExportColumn("likes", "integer", "Their number when it was received.", "message.likes"),
    ExportColumn("retweets", "integer", "Their number when it was received.", "message.reposts"),
    ExportColumn("url", "text", "The address of the tweet.", _URL),
    ExportColumn("platform", "text", "The network.", "tweets.network"),
)
COLUMN_SETS: dict[ColumnSet, tuple[ExportColumn, ...]] = {
    "simple": SIMPLE,
    "everything": EVERYTHING,
    "twarc": TWARC,
    "4cat": FOUR_CAT,
}
IDS = (ExportColumn("native_id", "text", "The network's own id.", "tweets.native_id"),)
# Without our rules that matched: they are of all users' tracks. Each operator would decompress the
# message again.
_RECEIVED = """(SELECT CASE WHEN doc ? 'gnip'
    THEN doc - 'matching_rules' #- '{gnip,matching_rules}' ELSE doc - 'matching_rules' END
    FROM (SELECT tweets.doc #> '{}' AS doc OFFSET 0) AS decompressed)"""
RECEIVED = (ExportColumn("message", "text", "The message as received.", _RECEIVED),)

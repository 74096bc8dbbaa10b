"""The tables of an export as a graph: what each tweet links with what, for programs to add up.

An account has the key of its id, which a handle can be changed for; on Mastodon that of its handle,
since mentions have no ids there. X is one network, whatever version of its API a tweet came by.
"""

from stream.store.export_columns import (
    TIME,
    ExportColumn,
    ExportTable,
    pseudonym,
    unless_pseudonyms,
)
from stream.store.export_relations import MENTIONS
from stream.store.exports import Graph

ITEMS_MAX = 50  # hashtags, links or mentions of a tweet: each is linked with all others


def _clean(value: str) -> str:
    """SQL: a name in one line, without characters that XML does not have."""
    forbidden = r"[\u0001-\u0020\u007f-\u009f\u2028\u2029\ufffe\uffff]+"
    return f"nullif(btrim(regexp_replace({value}, '{forbidden}', ' ', 'g')), '')"


def _account(account_id: str, handle: str) -> str:
    """SQL: key, label and type of an account; no key: it is not known."""
    account_id, handle = _clean(account_id), _clean(handle)
    by_id, by_handle = pseudonym(account_id), f"'@' || {pseudonym(f'lower({handle})')}"
    return f"""
    SELECT CASE tweets.network WHEN 'bluesky' THEN 'bluesky:' WHEN 'mastodon' THEN 'mastodon:'
            ELSE 'x:' END
        || CASE tweets.network WHEN 'mastodon' THEN coalesce({by_handle}, {by_id})
            ELSE coalesce({by_id}, {by_handle}) END AS key,
        {unless_pseudonyms(handle)} AS label, 'account' AS type"""


_AUTHOR = _account("tweets.author_id", "tweets.author")
_MENTIONED = f"""{_account("mention.account_id", "mention.handle")}
    FROM ({MENTIONS} ORDER BY 1 LIMIT {ITEMS_MAX}) AS mention
    WHERE tweets.kind <> 'repost'"""
# Networks name by an id whom a reply is to. X may name the account, too, and Mastodon mentions it.
_ANSWERED = f"""{_account("reply.account_id", "reply.handle")}
    FROM (
        SELECT json_id(post -> 'in_reply_to_user_id') AS account_id, (
            SELECT json_text(account -> 'username')
            FROM jsonb_array_elements(json_list(tweets.doc #> '{{includes,users}}')) AS account
            WHERE account -> 'id' = post -> 'in_reply_to_user_id' LIMIT 1) AS handle
        FROM (VALUES (message.shown)) AS own (post) WHERE tweets.network = 'x_v2'
        UNION ALL
        SELECT coalesce(json_id(tweets.doc -> 'in_reply_to_user_id_str'),
                json_id(tweets.doc -> 'in_reply_to_user_id')),
            json_text(tweets.doc -> 'in_reply_to_screen_name')
        WHERE tweets.network = 'x_v1'
        UNION ALL
        SELECT substring(coalesce(json_text(parent -> 'uri'), json_text(parent #> '{{record,uri}}'))
            FROM '^at://(did:[a-z]+:[A-Za-z0-9._:%-]+)/'), NULL
        FROM (VALUES (message.shown #> '{{reply,parent}}')) AS post (parent)
        WHERE tweets.network = 'bluesky'
        UNION ALL
        SELECT NULL, mastodon_handle(mention)
        FROM jsonb_array_elements(json_list(message.shown -> 'mentions')) AS mention
        WHERE tweets.network = 'mastodon'
          AND mention -> 'id' = message.shown -> 'in_reply_to_account_id'
    ) AS reply
    WHERE tweets.kind <> 'repost'"""  # noqa: S608 - constants
_TAGS = f"""
    SELECT '#' || {_clean("lower(hashtag)")} AS key, '#' || {_clean("lower(hashtag)")} AS label,
        'hashtag' AS type
    FROM unnest(message.hashtags[:{ITEMS_MAX}]) AS hashtag"""  # noqa: S608 - constants
_HOSTS = f"""
    SELECT {_clean("host_of(link)")} AS key, {_clean("host_of(link)")} AS label, 'host' AS type
    FROM unnest(message.links[:{ITEMS_MAX}]) AS link"""  # noqa: S608 - constants
# What is linked with what. Hashtags with hashtags have no direction.
_ENDS: dict[Graph, tuple[str, str]] = {
    "co-hashtag": (_TAGS, _TAGS),
    "mention": (_AUTHOR, _MENTIONED),
    "reply": (_AUTHOR, _ANSWERED),
    "author-hashtag": (_AUTHOR, _TAGS),
    "host-hashtag": (_HOSTS, _TAGS),
}
DIRECTED: tuple[Graph, ...] = ("mention", "reply")


def _nodes(source: str, target: str) -> str:
    every = source if source == target else f"{source}\nUNION ALL {target}"
    return f"""
SELECT row_number() OVER (ORDER BY key COLLATE "C") AS position, key, max(label) AS label, type
FROM ({every}) AS ends WHERE key IS NOT NULL GROUP BY key, type"""  # noqa: S608 - constants


def _edges(source: str, target: str) -> str:
    once = "<" if source == target else "<>"
    return f"""
SELECT row_number() OVER (ORDER BY source.key COLLATE "C", target.key COLLATE "C") AS position,
    source.key AS source, target.key AS target
FROM (SELECT DISTINCT key FROM ({source}) AS ends) AS source
CROSS JOIN (SELECT DISTINCT key FROM ({target}) AS ends) AS target
WHERE source.key COLLATE "C" {once} target.key COLLATE "C\""""  # noqa: S608 - constants


def _table(name: str, items: str, *own: ExportColumn) -> ExportTable:
    columns = (
        ExportColumn("tweet_id", "integer", "The tweet's key here.", "tweets.id"),
        *own,
        ExportColumn("network", "text", "x_v2, x_v1, bluesky or mastodon."),
        ExportColumn("time", "time", "When the tweet was written, or else received.", TIME),
    )
    return ExportTable(name, columns, items)


def graph_tables(graph: Graph) -> tuple[ExportTable, ExportTable]:
    """What the tweets contribute to a graph: a row for each node, and for each link between two."""
    ends = _ENDS[graph]
    return (
        _table(
            "nodes",
            _nodes(*ends),
            ExportColumn("node", "text", "Its key: #hashtag, host, or an account.", "item.key"),
            ExportColumn("label", "text", "Its name, if it is known.", "item.label"),
            ExportColumn("type", "text", "hashtag, host or account.", "item.type"),
        ),
        _table(
            "edges",
            _edges(*ends),
            ExportColumn("source", "text", "The key of a node.", "item.source"),
            ExportColumn("target", "text", "The key of the other one.", "item.target"),
        ),
    )

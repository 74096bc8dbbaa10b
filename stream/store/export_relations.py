"""The tables of an export of relations: tweets, and their hashtags, mentions, links and media.

The views of sql/schema/flat.sql have the same items; here they have also what belongs to them.
"""

from stream.store.export_columns import (
    AUTHOR,
    AUTHOR_ID,
    EVERYTHING,
    TIME,
    ExportColumn,
    ExportTable,
    pseudonym,
    unless_pseudonyms,
)

_HASHTAGS = """
SELECT position, hashtag
FROM unnest(message.hashtags) WITH ORDINALITY AS found (hashtag, position)
"""
# X names account and id together, Bluesky at a part of the text. What X has not listed is found in
# the text, and Mastodon sends no ids.
MENTIONS = """
SELECT row_number() OVER (ORDER BY min(place)) AS position, handle, account_id
FROM (SELECT json_list(message.entities -> CASE tweets.network WHEN 'x_v2' THEN 'mentions'
        ELSE 'user_mentions' END) AS listed OFFSET 0) AS x
CROSS JOIN LATERAL (
    SELECT place, json_text(each -> CASE tweets.network WHEN 'x_v2' THEN 'username'
            ELSE 'screen_name' END) AS handle,
        coalesce(json_id(each -> 'id_str'), json_id(each -> 'id')) AS account_id
    FROM jsonb_array_elements(listed) WITH ORDINALITY AS mentions (each, place)
    UNION ALL
    SELECT place, bluesky_name(
        convert_to(coalesce(json_text(message.shown -> 'text'), ''), 'UTF8'), span), did
    FROM bluesky_features(message.shown)
    WHERE tweets.network = 'bluesky' AND link IS NULL AND coalesce(tag, '') = '' AND did IS NOT NULL
    UNION ALL
    SELECT place, handle, NULL
    FROM unnest(message.mentions) WITH ORDINALITY AS found (handle, place)
    WHERE tweets.network <> 'bluesky' AND listed = '[]') AS named
WHERE handle <> '' OR account_id IS NOT NULL
GROUP BY handle, account_id
"""
_LINKS = """
SELECT found.position, found.url, known.written, known.title
FROM unnest(message.links) WITH ORDINALITY AS found (url, position)
CROSS JOIN LATERAL (
    SELECT min(written) AS written, min(title) AS title FROM (
        SELECT coalesce(json_text(each -> 'unwound_url'), json_text(each -> 'expanded_url')),
            json_text(each -> 'url'), json_text(each -> 'title')
        FROM jsonb_array_elements(json_list(message.entities -> 'urls')) AS each
        WHERE tweets.network = 'x_v2'
        UNION ALL
        SELECT coalesce(json_text(each #> '{unwound,url}'), json_text(each -> 'expanded_url')),
            json_text(each -> 'url'), json_text(each #> '{unwound,title}')
        FROM jsonb_array_elements(json_list(message.entities -> 'urls')) AS each
        WHERE tweets.network = 'x_v1'
        UNION ALL
        SELECT json_text(external -> 'uri'), NULL, json_text(external -> 'title')
        FROM (VALUES (message.shown #> '{embed,external}'),
            (message.shown #> '{embed,media,external}')) AS cards (external)
        WHERE tweets.network = 'bluesky'
        UNION ALL
        SELECT link, words, NULL
        FROM html_links(message.anchors)
        WHERE tweets.network = 'mastodon'
        UNION ALL
        SELECT json_text(card -> 'url'), NULL, json_text(card -> 'title')
        FROM (VALUES (message.shown -> 'card')) AS shown (card)
        WHERE tweets.network = 'mastodon'
    ) AS links (url, written, title)
    WHERE links.url = found.url) AS known
"""
# The best film of a video of X.
_FILM = """(SELECT json_text(film -> 'url') FROM jsonb_array_elements(json_list({})) AS film
    WHERE film ->> 'content_type' = 'video/mp4'
    ORDER BY coalesce(json_count(film -> 'bit_rate'), json_count(film -> 'bitrate'), 0) DESC
    LIMIT 1)"""
_CDN, _VIDEO = "https://cdn.bsky.app/img", "https://video.bsky.app/watch"
_MEDIA = f"""
SELECT row_number() OVER (ORDER BY list, place) AS position, type, url, preview_url, alt_text
FROM (
    SELECT 1 AS list, place, media_kind(json_text(each -> 'type')) AS type,
        coalesce({_FILM.format("each -> 'variants'")}, json_text(each -> 'url')) AS url,
        json_text(each -> 'preview_image_url') AS preview_url,
        json_text(each -> 'alt_text') AS alt_text
    FROM (
        SELECT each, place
        FROM jsonb_array_elements(json_list(message.media_post #> '{{attachments,media}}'))
            WITH ORDINALITY AS given (each, place)
        UNION ALL
        SELECT each, place FROM jsonb_array_elements(json_list(tweets.doc #> '{{includes,media}}'))
            WITH ORDINALITY AS included (each, place)
        WHERE json_list(message.media_post #> '{{attachments,media}}') = '[]'
          AND json_list(message.media_post #> '{{attachments,media_keys}}')
              ? (each ->> 'media_key')) AS media
    WHERE tweets.network = 'x_v2'
    UNION ALL
    SELECT 1, place, media_kind(json_text(each -> 'type')),
        coalesce({_FILM.format("each #> '{video_info,variants}'")},
            json_text(each -> 'media_url_https')),
        CASE WHEN each ->> 'type' <> 'photo' THEN json_text(each -> 'media_url_https') END,
        json_text(each -> 'ext_alt_text')
    FROM jsonb_array_elements(x_v1_media_list(message.media_post))
        WITH ORDINALITY AS media (each, place)
    WHERE tweets.network = 'x_v1'
    UNION ALL
    SELECT embeds.list, place, type,
        CASE type WHEN 'photo' THEN '{_CDN}/feed_fullsize/plain/' || address || '@jpeg'
            ELSE '{_VIDEO}/' || address || '/playlist.m3u8' END,
        CASE type WHEN 'photo' THEN '{_CDN}/feed_thumbnail/plain/' || address || '@jpeg'
            ELSE '{_VIDEO}/' || address || '/thumbnail.jpg' END,
        alt
    FROM (VALUES (1, message.shown -> 'embed'), (2, message.shown #> '{{embed,media}}'))
        AS embeds (list, embed)
    CROSS JOIN LATERAL (
        SELECT place, 'photo' AS type, image -> 'image' AS blob, json_text(image -> 'alt') AS alt
        FROM jsonb_array_elements(json_list(embed -> 'images') || json_list(embed -> 'items'))
            WITH ORDINALITY AS images (image, place)
        WHERE jsonb_typeof(image) = 'object'
        UNION ALL
        SELECT 1e6, CASE embed ->> 'presentation' WHEN 'gif' THEN 'animated_gif' ELSE 'video' END,
            embed -> 'video', json_text(embed -> 'alt')
        WHERE jsonb_typeof(embed -> 'video') = 'object') AS media
    CROSS JOIN LATERAL (
        SELECT tweets.author_id || '/' || json_text(blob #> '{{ref,$link}}') AS address) AS stored
    WHERE tweets.network = 'bluesky'
    UNION ALL
    SELECT 1, place, CASE each ->> 'type' WHEN 'image' THEN 'photo' WHEN 'gifv' THEN 'animated_gif'
            WHEN 'video' THEN 'video' WHEN 'audio' THEN 'audio' END,
        coalesce(json_text(each -> 'url'), json_text(each -> 'remote_url')),
        json_text(each -> 'preview_url'), json_text(each -> 'description')
    FROM jsonb_array_elements(json_list(message.shown -> 'media_attachments'))
        WITH ORDINALITY AS media (each, place)
    WHERE tweets.network = 'mastodon') AS every
WHERE type IS NOT NULL
"""  # noqa: S608 - constants


def _columns(*own: ExportColumn) -> tuple[ExportColumn, ...]:
    """The columns of a relation: those that all of them have, and its own."""
    return (
        ExportColumn("tweet_id", "integer", "`id` of the tweet in tweets.", "tweets.id"),
        ExportColumn("position", "integer", "Its place in the tweet, from 1.", "item.position"),
        *own,
        ExportColumn("network", "text", "x_v2, x_v1, bluesky or mastodon."),
        ExportColumn("kind", "text", "Of the tweet: original, reply, repost or quote."),
        ExportColumn("author", "text", "The handle of the tweet's author.", AUTHOR),
        ExportColumn("author_id", "text", "The network's id of the tweet's author.", AUTHOR_ID),
        ExportColumn("time", "time", "When the tweet was written, or else received.", TIME),
    )


RELATIONS = (
    ExportTable("tweets", EVERYTHING),
    ExportTable(
        "hashtags",
        _columns(
            ExportColumn("hashtag", "text", "As written, without its sign.", "item.hashtag"),
            ExportColumn(
                "hashtag_lower", "text", "In lower case, to compare.", "lower(item.hashtag)"
            ),
        ),
        _HASHTAGS,
    ),
    ExportTable(
        "mentions",
        _columns(
            ExportColumn(
                "mention", "text", "The mentioned account's handle.", pseudonym("item.handle")
            ),
            ExportColumn(
                "mention_id",
                "text",
                "The network's id of it; Mastodon sends none.",
                pseudonym("item.account_id"),
            ),
        ),
        MENTIONS,
    ),
    ExportTable(
        "links",
        _columns(
            ExportColumn("link", "text", "Where it leads to, as far as known.", "item.url"),
            ExportColumn("host", "text", "The host of that address.", "host_of(item.url)"),
            ExportColumn(
                "written",
                "text",
                "What the text has in its place: X shortens it; Bluesky sends nothing else.",
                "item.written",
            ),
            ExportColumn("title", "text", "The page's title, as sent with it.", "item.title"),
        ),
        _LINKS,
    ),
    ExportTable(
        "media",
        _columns(
            ExportColumn("type", "text", "photo, video, animated_gif or audio.", "item.type"),
            ExportColumn("url", "text", "Its address.", unless_pseudonyms("item.url")),
            ExportColumn(
                "preview_url", "text", "A picture of it.", unless_pseudonyms("item.preview_url")
            ),
            ExportColumn("alt_text", "text", "Its description by the author.", "item.alt_text"),
        ),
        _MEDIA,
    ),
)

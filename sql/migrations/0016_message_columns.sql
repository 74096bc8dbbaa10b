-- What the flat views read from messages, once for all columns: tweets_flat is ten times as fast and more.

CREATE FUNCTION json_list_or_null(value jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE jsonb_typeof(value) WHEN 'array' THEN value END;

CREATE TYPE message_columns AS (
    display_name text,
    hashtags     text[],            -- as sent: with duplicates and nulls
    links        text[],
    mentions     text[],
    mention_ids  text[],
    media        text[],
    likes        bigint,
    reposts      bigint,
    replies      bigint,
    quotes       bigint,
    area         jsonb,             -- the place that it names
    point        jsonb,             -- longitude, latitude
    media_links  jsonb,             -- addresses of pictures and videos
    conversation jsonb,
    shown        jsonb,             -- the post whose text is shown
    entities     jsonb,             -- X: of that text
    media_post   jsonb,             -- X: the post whose media are shown
    anchors      text[]             -- Mastodon: the links of the text, as html_anchors
);

-- The same, for the few texts that may have any.
CREATE FUNCTION x_links_of(text text) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN strpos(text, '://') > 0 THEN x_found_links(text) ELSE '{}' END;

CREATE FUNCTION x_hashtags_of(text text) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN text ~ '[#＃]' THEN x_found_hashtags(text) ELSE '{}' END;

CREATE FUNCTION x_mentions_of(text text) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN text ~ '[@＠]' THEN x_found_mentions(text) ELSE '{}' END;

-- The list that names all media: `entities.media` has only the first, as a photo.
CREATE FUNCTION x_v1_media_list(status jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(
        nullif(json_list(status #> '{extended_tweet,extended_entities,media}'), '[]'),
        nullif(json_list(status #> '{extended_entities,media}'), '[]'),
        nullif(json_list(status #> '{extended_tweet,entities,media}'), '[]'),
        json_list(status #> '{entities,media}'));

CREATE FUNCTION x_v1_media_kinds(list jsonb) RETURNS SETOF text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    BEGIN ATOMIC
        SELECT media_kind(json_text(each -> 'type'))
        FROM jsonb_array_elements(list) WITH ORDINALITY AS media (each, place)
        WHERE media_kind(json_text(each -> 'type')) IS NOT NULL ORDER BY place;
    END;

CREATE FUNCTION x_v1_columns(doc jsonb) RETURNS SETOF message_columns
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
    BEGIN ATOMIC
        SELECT json_text(doc #> '{user,name}'),
            CASE WHEN tags IS NULL THEN x_hashtags_of(text) WHEN tags = '[]' THEN '{}'
                ELSE ARRAY(SELECT json_text(each -> 'text') FROM jsonb_array_elements(tags) AS each) END,
            CASE WHEN urls IS NULL THEN x_links_of(text) WHEN urls = '[]' THEN '{}' ELSE ARRAY(
                SELECT coalesce(json_text(each #> '{unwound,url}'), json_text(each -> 'expanded_url'))
                FROM jsonb_array_elements(urls) AS each) END,
            CASE WHEN users IS NULL THEN x_mentions_of(text) WHEN users = '[]' THEN '{}' ELSE ARRAY(
                SELECT json_text(each -> 'screen_name') FROM jsonb_array_elements(users) AS each) END,
            CASE WHEN users <> '[]' THEN ARRAY(
                SELECT coalesce(json_id(each -> 'id_str'), json_id(each -> 'id'))
                FROM jsonb_array_elements(users) AS each) END,
            media,
            json_count(shown -> 'favorite_count'), json_count(shown -> 'retweet_count'),
            json_count(shown -> 'reply_count'), json_count(shown -> 'quote_count'),
            doc -> 'place',
            coalesce(nullif(doc #> '{coordinates,coordinates}', 'null'),
                jsonb_build_array(doc #> '{geo,coordinates,1}', doc #> '{geo,coordinates,0}')),
            coalesce(
                nullif(jsonb_path_query_array(shown,
                    '$.extended_tweet.extended_entities.media[*].media_url_https'), '[]'),
                jsonb_path_query_array(shown, '$.extended_entities.media[*].media_url_https')),
            NULL::jsonb, shown, entities, media_post, NULL::text[]
        FROM (
            SELECT *, json_list_or_null(entities -> 'hashtags') AS tags,
                json_list_or_null(entities -> 'urls') AS urls,
                json_list_or_null(entities -> 'user_mentions') AS users
        FROM (
            -- The longest text and its entities.
            SELECT *, x_unescaped(CASE WHEN is_extended THEN shown #> '{extended_tweet,full_text}'
                    WHEN jsonb_typeof(shown -> 'full_text') = 'string' THEN shown -> 'full_text'
                    ELSE shown -> 'text' END) AS text,
                CASE WHEN is_extended THEN shown #> '{extended_tweet,entities}'
                    ELSE shown -> 'entities' END AS entities
        FROM (
            SELECT *, CASE WHEN own_media IS NULL THEN shown ELSE doc END AS media_post,
                coalesce(own_media,
                    ARRAY(SELECT kind FROM x_v1_media_kinds(x_v1_media_list(shown)) AS kind)) AS media
        FROM (
            SELECT *, jsonb_typeof(shown #> '{extended_tweet,full_text}') IS NOT DISTINCT FROM 'string'
                    AS is_extended,
                nullif(ARRAY(SELECT kind FROM x_v1_media_kinds(x_v1_media_list(doc)) AS kind), '{}')
                    AS own_media
        FROM (
            SELECT *, coalesce(json_object_or_null(doc -> 'retweeted_status'), doc) AS shown
        FROM (
            SELECT doc #> '{}' AS doc OFFSET 0
        ) AS whole OFFSET 0) AS part OFFSET 0) AS known OFFSET 0) AS attached OFFSET 0) AS content OFFSET 0) AS lists;
    END;

-- The reposted post, or the reference to it when X has omitted it.
CREATE FUNCTION x_v2_reposted(refers jsonb, included jsonb) RETURNS SETOF jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    BEGIN ATOMIC
        SELECT CASE WHEN jsonb_typeof(reference -> 'text') = 'string' THEN reference ELSE coalesce((
            SELECT candidate FROM jsonb_array_elements(coalesce(
                nullif(json_list(included -> 'tweets'), '[]'),
                json_list(included -> 'posts'))) AS candidate
            WHERE candidate -> 'id' = reference -> 'id' LIMIT 1), reference) END
        FROM jsonb_array_elements(refers) AS reference
        WHERE reference ->> 'type' = 'retweeted' LIMIT 1;
    END;

-- The media that a post names, of those included.
CREATE FUNCTION x_v2_media_kinds(attached jsonb, included jsonb) RETURNS SETOF text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    BEGIN ATOMIC
        SELECT kind FROM (
            SELECT each, place
            FROM jsonb_array_elements(json_list(attached -> 'media')) WITH ORDINALITY AS given (each, place)
            UNION ALL
            SELECT each, place
            FROM jsonb_array_elements(json_list(included)) WITH ORDINALITY AS included (each, place)
            WHERE json_list(attached -> 'media') = '[]'
              AND json_list(attached -> 'media_keys') ? (each ->> 'media_key')
        ) AS media
        CROSS JOIN LATERAL (SELECT media_kind(json_text(each -> 'type')) AS kind) AS known
        WHERE kind IS NOT NULL ORDER BY place;
    END;

CREATE FUNCTION x_v2_columns(doc jsonb) RETURNS SETOF message_columns
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
    BEGIN ATOMIC
        SELECT
            coalesce(
                (SELECT json_text(author -> 'name')
                 FROM jsonb_array_elements(json_list(included -> 'users')) AS author
                 WHERE author -> 'id' = post -> 'author_id' LIMIT 1),
                json_text(post #> '{author,name}')),
            coalesce(
                CASE WHEN NOT marked THEN nullif(x_hashtags_of(text), '{}') END,
                CASE WHEN tags <> '[]' THEN ARRAY(
                    SELECT json_text(each -> 'tag') FROM jsonb_array_elements(tags) AS each) END),
            -- The addresses of photos and videos of the post itself are left out.
            CASE WHEN urls <> '[]' THEN ARRAY(
                    SELECT coalesce(json_text(each -> 'unwound_url'), json_text(each -> 'expanded_url'))
                    FROM jsonb_array_elements(urls) AS each
                    WHERE json_text(each -> 'expanded_url') ~*
                        '^https?://([a-z]+\.)?(twitter|x)\.com/[^/]+/status/\d+/(photo|video)/' IS NOT TRUE)
                WHEN NOT marked THEN x_links_of(text) END,
            CASE WHEN users <> '[]' THEN ARRAY(
                    SELECT json_text(each -> 'username') FROM jsonb_array_elements(users) AS each)
                WHEN NOT marked THEN x_mentions_of(text) END,
            CASE WHEN users <> '[]' THEN ARRAY(
                SELECT json_id(each -> 'id') FROM jsonb_array_elements(users) AS each) END,
            media,
            json_count(counts -> 'like_count'), json_count(counts -> 'retweet_count'),
            json_count(counts -> 'reply_count'), json_count(counts -> 'quote_count'),
            CASE WHEN jsonb_typeof(geo -> 'place_id') = 'string' THEN coalesce(
                (SELECT area FROM jsonb_array_elements(json_list(included -> 'places')) AS area
                 WHERE area -> 'id' = geo -> 'place_id' LIMIT 1), geo) END,
            geo #> '{coordinates,coordinates}',
            jsonb_path_query_array(included, '$.media[*].url')
                || jsonb_path_query_array(included, '$.media[*].preview_image_url'),
            doc #> '{data,conversation_id}', shown, entities, media_post, NULL::text[]
        FROM (
            SELECT *, json_list(entities -> 'hashtags') AS tags, json_list(entities -> 'urls') AS urls,
                json_list(entities -> 'mentions') AS users
        FROM (
            -- The longest text and its entities. A long post without any has those of its beginning;
            -- `marked` is whether X has found any in the text itself.
            SELECT *, x_unescaped(coalesce(long_note -> 'text', shown -> 'text')) AS text,
                coalesce(own_entities, shown -> 'entities') AS entities,
                coalesce(jsonb_path_exists(
                    own_entities, 'strict $.*.type() ? (@ == "array")', silent => true), false) AS marked
        FROM (
            SELECT *, json_object_or_null(
                CASE WHEN long_note IS NULL THEN shown ELSE long_note END -> 'entities') AS own_entities
        FROM (
            SELECT *, CASE jsonb_typeof(note -> 'text') WHEN 'string' THEN note END AS long_note
        FROM (
            SELECT *, x_v2_note(shown) AS note, shown -> 'public_metrics' AS counts
        FROM (
            SELECT *, CASE WHEN jsonb_typeof(reposted -> 'text') = 'string' OR x_v2_note(reposted) IS NOT NULL
                THEN reposted ELSE post END AS shown
        FROM (
            SELECT *, CASE WHEN own_media IS NULL THEN reposted ELSE post END AS media_post,
                CASE WHEN own_media IS NOT NULL THEN own_media WHEN reposted ? 'attachments' THEN ARRAY(
                    SELECT kind FROM x_v2_media_kinds(reposted -> 'attachments', included -> 'media') AS kind)
                END AS media
        FROM (
            SELECT *, CASE WHEN post ? 'attachments' THEN nullif(ARRAY(
                SELECT kind FROM x_v2_media_kinds(post -> 'attachments', included -> 'media') AS kind), '{}')
                END AS own_media
        FROM (
            SELECT *, CASE WHEN refers <> '[]' THEN (
                SELECT reposted FROM x_v2_reposted(refers, included) AS reposted) END AS reposted
        FROM (
            SELECT *, post -> 'geo' AS geo, coalesce(
                nullif(json_list(post -> 'referenced_tweets'), '[]'),
                json_list(post -> 'referenced_posts')) AS refers
        FROM (
            SELECT *, coalesce(json_object_or_null(doc -> 'data'), doc) AS post, doc -> 'includes' AS included
        FROM (
            SELECT doc #> '{}' AS doc OFFSET 0
        ) AS whole OFFSET 0) AS sent OFFSET 0) AS own OFFSET 0) AS other OFFSET 0) AS given OFFSET 0) AS attached OFFSET 0
        ) AS part OFFSET 0) AS parts OFFSET 0) AS longest OFFSET 0) AS found OFFSET 0) AS content OFFSET 0
        ) AS lists;
    END;

CREATE FUNCTION bluesky_media_kinds(embed jsonb) RETURNS SETOF text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    BEGIN ATOMIC
        SELECT kind
        FROM (VALUES (1, embed), (2, embed -> 'media')) AS embeds (place, part)
        CROSS JOIN LATERAL (
            SELECT 1 AS list, 'photo' AS kind FROM jsonb_array_elements(json_list(part -> 'images')) AS image
            WHERE jsonb_typeof(image) = 'object'
            UNION ALL
            SELECT 2, 'photo' FROM jsonb_array_elements(json_list(part -> 'items')) AS image
            WHERE jsonb_typeof(image) = 'object'
            UNION ALL
            SELECT 3, CASE part ->> 'presentation' WHEN 'gif' THEN 'animated_gif' ELSE 'video' END
            WHERE jsonb_typeof(part -> 'video') = 'object'
        ) AS media
        ORDER BY place, list;
    END;

CREATE FUNCTION bluesky_columns(doc jsonb) RETURNS SETOF message_columns
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
    BEGIN ATOMIC
        SELECT NULL::text,
            CASE WHEN facets <> '[]' THEN
                ARRAY(SELECT tag FROM bluesky_features(record) WHERE link IS NULL ORDER BY place) END
            || CASE WHEN tags <> '[]' THEN ARRAY(
                SELECT ltrim(json_text(each), '#＃') FROM jsonb_array_elements(tags) AS each) END,
            CASE WHEN facets <> '[]' THEN
                ARRAY(SELECT link FROM bluesky_features(record) WHERE link IS NOT NULL ORDER BY place) END
            || ARRAY[json_text(embed #> '{external,uri}'), json_text(embed #> '{media,external,uri}')],
            CASE WHEN facets <> '[]' THEN ARRAY(
                SELECT bluesky_name(convert_to(coalesce(json_text(record -> 'text'), ''), 'UTF8'), span)
                FROM bluesky_features(record)
                WHERE link IS NULL AND coalesce(tag, '') = '' AND did IS NOT NULL ORDER BY place) END,
            CASE WHEN facets <> '[]' THEN ARRAY(
                SELECT did FROM bluesky_features(record)
                WHERE link IS NULL AND coalesce(tag, '') = '' AND did IS NOT NULL ORDER BY place) END,
            CASE WHEN embed IS NOT NULL THEN ARRAY(SELECT kind FROM bluesky_media_kinds(embed) AS kind) END,
            NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::jsonb, NULL::jsonb, NULL::jsonb,
            NULL::jsonb, record, NULL::jsonb, NULL::jsonb, NULL::text[]
        FROM (
            SELECT *, json_list(record -> 'facets') AS facets, json_list(record -> 'tags') AS tags,
                record -> 'embed' AS embed
        FROM (
            SELECT coalesce(doc #> '{payload,record}', doc #> '{commit,record}') AS record
        FROM (
            SELECT doc #> '{}' AS doc OFFSET 0
        ) AS whole OFFSET 0) AS sent OFFSET 0) AS parts;
    END;

-- The status in an event, as text: JSON that jsonb has not checked. What it refuses, and `decode`
-- repairs, is repaired here, too. Most have nothing of this but whole surrogate pairs.
CREATE FUNCTION mastodon_payload(payload text) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (CASE
        WHEN payload !~ '^\s*\{' THEN NULL
        WHEN payload ~ '\\u(0000|[dD][89a-fA-F])|[:,\[]\s*-?\d[\d.]*[eE][+-]?\d{4}' THEN CASE
            WHEN regexp_replace(payload,
                '([^\\])(?:\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})+', '\1', 'g')
                ~ '\\u(0000|[dD][89a-fA-F])|[:,\[]\s*-?\d[\d.]*[eE][+-]?\d{4}'
            THEN repaired_json(payload) ELSE payload END
        ELSE payload END)::jsonb;

-- The links of a status's HTML, as servers write it: sanitized, with double quotes. That of a quoted
-- post, for servers without quotes, is left out. Attributes and content of each. ({1,1}? makes the
-- whole expression find the shortest.)
CREATE FUNCTION html_anchors(html text) RETURNS SETOF text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    BEGIN ATOMIC
        SELECT found FROM regexp_matches(
            CASE WHEN html ~* 'quote-inline' THEN regexp_replace(html,
                '<p\s[^<>]*\yquote-inline\y[^<>]*>(?:(?!</p>).)*</p>'
                '|<span\s[^<>]*\yquote-inline\y[^<>]*>(?:(?!</span>).)*</span>', '', 'gi') ELSE html END,
            '<a\s{1,1}?([^<>]*)>(.*?)</a>', 'gi') AS found;
    END;

CREATE FUNCTION html_links(anchors text[], OUT place integer, OUT classes text[], OUT link text,
                                OUT words text) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    BEGIN ATOMIC
        SELECT number,
            string_to_array(substring(anchors[number][1] FROM 'class="([^"]*)"'), ' '),
            btrim(html_unescaped(substring(anchors[number][1] FROM 'href="([^"]*)"'))),
            btrim(html_unescaped(regexp_replace(anchors[number][2], '<[^>]*>', '', 'g')))
        FROM generate_subscripts(anchors, 1) AS number;
    END;

-- name@host; a server leaves the host out for its own accounts.
CREATE FUNCTION name_at_host(name text, address text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN name LIKE '%@%' THEN name WHEN name IS NOT NULL THEN concat_ws('@', name, lower(
        substring(address FROM '^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#]*@)?([^/?#@]+)'))) END;

CREATE FUNCTION mastodon_handle(mention jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN name_at_host(coalesce(json_text(mention -> 'acct'), json_text(mention -> 'username')),
        json_text(mention -> 'url'));

CREATE FUNCTION mastodon_columns(doc jsonb) RETURNS SETOF message_columns
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
    BEGIN ATOMIC
        SELECT json_text(status #> '{account,display_name}'),
            -- As the author wrote them, then those that only the server lists.
            tagged || CASE WHEN tags <> '[]' THEN ARRAY(
                SELECT json_text(tag -> 'name') FROM jsonb_array_elements(tags) AS tag
                WHERE mastodon_tag_key(json_text(tag -> 'name'))
                    <> ALL (ARRAY(SELECT mastodon_tag_key(each) FROM unnest(tagged) AS each))) END,
            CASE WHEN anchors <> '{}' THEN ARRAY(
                SELECT link FROM html_links(anchors)
                WHERE (classes && ARRAY['hashtag', 'mention']) IS NOT TRUE
                  AND link <> ALL (ARRAY(
                      SELECT coalesce(json_text(mention -> 'url'), '')
                      FROM jsonb_array_elements(mentions) AS mention))
                ORDER BY place) END || json_text(shown #> '{card,url}'),
            CASE WHEN mentions <> '[]' THEN ARRAY(
                SELECT mastodon_handle(mention) FROM jsonb_array_elements(mentions) AS mention) END,
            NULL::text[],
            CASE WHEN media <> '[]' THEN ARRAY(
                SELECT kind FROM jsonb_array_elements(media) WITH ORDINALITY AS media (each, place)
                CROSS JOIN LATERAL (SELECT CASE each ->> 'type' WHEN 'image' THEN 'photo'
                    WHEN 'gifv' THEN 'animated_gif' WHEN 'video' THEN 'video' WHEN 'audio' THEN 'audio'
                    END AS kind) AS known
                WHERE kind IS NOT NULL ORDER BY place) END,
            json_count(shown -> 'favourites_count'), json_count(shown -> 'reblogs_count'),
            json_count(shown -> 'replies_count'), json_count(shown -> 'quotes_count'),
            NULL::jsonb, NULL::jsonb,
            jsonb_path_query_array(shown, '$.media_attachments[*].url'),
            NULL::jsonb, shown, NULL::jsonb, NULL::jsonb, anchors
        FROM (
            SELECT *, CASE WHEN anchors <> '{}' THEN ARRAY(
                SELECT ltrim(words, '#＃') FROM html_links(anchors)
                WHERE 'hashtag' = ANY (classes) ORDER BY place) END AS tagged
        FROM (
            SELECT *, CASE WHEN content ~* '<a\s' THEN
                ARRAY(SELECT found FROM html_anchors(content) AS found) END AS anchors
        FROM (
            SELECT *, json_text(shown -> 'content') AS content, json_list(shown -> 'tags') AS tags,
                json_list(shown -> 'mentions') AS mentions,
                json_list(shown -> 'media_attachments') AS media
        FROM (
            SELECT *, coalesce(json_object_or_null(status -> 'reblog'), status) AS shown
        FROM (
            SELECT *, CASE jsonb_typeof(payload) WHEN 'object' THEN payload
                WHEN 'string' THEN mastodon_payload(written) ELSE doc END AS status
        FROM (
            -- The status as such, in an event, or as text in one.
            SELECT *, doc -> 'payload' AS payload, json_text(doc -> 'payload') AS written
        FROM (
            SELECT doc #> '{}' AS doc OFFSET 0
        ) AS whole OFFSET 0) AS sent OFFSET 0) AS own OFFSET 0) AS part OFFSET 0) AS parts OFFSET 0) AS marked OFFSET 0
        ) AS found;
    END;

-- Without duplicates, nulls and empty texts, in the order of the first ones.
CREATE FUNCTION each_once(texts text[]) RETURNS SETOF text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    BEGIN ATOMIC
        SELECT each FROM unnest(texts) WITH ORDINALITY AS given (each, place)
        WHERE each <> '' GROUP BY each ORDER BY min(place);
    END;

-- What the columns of tweets do not have: one row for each message.
CREATE FUNCTION message_columns(network text, doc jsonb,
        OUT display_name text,
        OUT hashtags text[],            -- without their sign, as written
        OUT links text[],               -- the address that each leads to, as far as the network says
        OUT mentions text[],            -- handles without @
        OUT mention_ids text[],         -- as in author_id; Mastodon sends none
        OUT media text[],               -- photo, video, animated_gif or audio: one for each
        OUT likes bigint,               -- these four: as sent with the tweet; Bluesky sends none
        OUT reposts bigint,
        OUT replies bigint,
        OUT quotes bigint,
        OUT place text,                 -- only X sends places
        OUT country text,               -- two letters of ISO 3166
        OUT longitude double precision, -- where it was written
        OUT latitude double precision,
        OUT media_links jsonb,          -- these six: as message_columns
        OUT conversation jsonb,
        OUT shown jsonb,
        OUT entities jsonb,
        OUT media_post jsonb,
        OUT anchors text[])
    RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
    BEGIN ATOMIC
        SELECT sent.display_name,
            CASE WHEN cardinality(sent.hashtags) > 0 THEN
                ARRAY(SELECT each FROM each_once(sent.hashtags) AS each) ELSE '{}' END,
            CASE WHEN cardinality(sent.links) > 0 THEN
                ARRAY(SELECT each FROM each_once(sent.links) AS each) ELSE '{}' END,
            CASE WHEN cardinality(sent.mentions) > 0 THEN
                ARRAY(SELECT each FROM each_once(sent.mentions) AS each) ELSE '{}' END,
            CASE WHEN cardinality(sent.mention_ids) > 0 THEN
                ARRAY(SELECT each FROM each_once(sent.mention_ids) AS each) ELSE '{}' END,
            coalesce(sent.media, '{}'), sent.likes, sent.reposts, sent.replies, sent.quotes,
            coalesce(json_text(area -> 'full_name'), json_text(area -> 'name'),
                json_text(area -> 'place_id'), json_text(area -> 'id')),
            upper(json_text(area -> 'country_code')),
            CASE WHEN latitude_sent BETWEEN -90 AND 90 AND longitude_sent BETWEEN -180 AND 180
                THEN longitude_sent END,
            CASE WHEN latitude_sent BETWEEN -90 AND 90 AND longitude_sent BETWEEN -180 AND 180
                THEN latitude_sent END,
            coalesce(sent.media_links, '[]'), sent.conversation, sent.shown, sent.entities,
            sent.media_post, sent.anchors
        FROM (
            SELECT *, json_number(point -> 0) AS longitude_sent, json_number(point -> 1) AS latitude_sent
        FROM (
            SELECT * FROM x_v2_columns(doc) WHERE network = 'x_v2'
            UNION ALL
            SELECT * FROM x_v1_columns(doc) WHERE network = 'x_v1'
            UNION ALL
            SELECT * FROM bluesky_columns(doc) WHERE network = 'bluesky'
            UNION ALL
            SELECT * FROM mastodon_columns(doc) WHERE network = 'mastodon'
        ) AS found OFFSET 0) AS sent;
    END;

-- One row for each tweet that is shown: as SHOWN in stream/store/feed.py, without deleted tweets and
-- those withheld everywhere.
CREATE OR REPLACE VIEW tweets_flat AS
    SELECT id, tweets.network, native_id, received_at, created_at, edited_at, author, author_id,
        display_name, text, lang, kind,
        CASE WHEN url ~ '^https?://' THEN url END AS url,
        hashtags, links, mentions, mention_ids, media,
        likes, reposts, replies, quotes,    -- when it was received
        place, country, longitude, latitude
    FROM tweets CROSS JOIN LATERAL message_columns(tweets.network, tweets.doc)
    WHERE deleted_at IS NULL AND NOT ('XX' = ANY (coalesce(withheld, '{}')))
      AND (coalesce(author_id <> ALL (
              ARRAY(SELECT author_id FROM author_tombstones WHERE pending <> '{}')), true)
          OR NOT EXISTS (
              SELECT FROM author_tombstones AS lost
              WHERE lost.network = tweets.network AND lost.author_id = tweets.author_id
                AND ('deleted' = ANY (lost.pending)
                     AND lost.deleted_at IS NOT NULL
                     AND coalesce(tweets.created_at <= lost.deleted_at, true)
                  OR 'withheld' = ANY (lost.pending) AND 'XX' = ANY (lost.withheld))));

-- What was called for each column.
DROP FUNCTION tweet_point(text, jsonb);
DROP FUNCTION tweet_country(text, jsonb);
DROP FUNCTION tweet_place(text, jsonb);
DROP FUNCTION tweet_area(text, jsonb);
DROP FUNCTION tweet_quotes(text, jsonb);
DROP FUNCTION tweet_replies(text, jsonb);
DROP FUNCTION tweet_reposts(text, jsonb);
DROP FUNCTION tweet_likes(text, jsonb);
DROP FUNCTION tweet_media(text, jsonb);
DROP FUNCTION tweet_mention_ids(text, jsonb);
DROP FUNCTION tweet_mentions(text, jsonb);
DROP FUNCTION tweet_links(text, jsonb);
DROP FUNCTION tweet_hashtags(text, jsonb);
DROP FUNCTION tweet_display_name(text, jsonb);
DROP FUNCTION mastodon_media(jsonb);
DROP FUNCTION mastodon_mentions(jsonb);
DROP FUNCTION mastodon_handle(jsonb, text);
DROP FUNCTION mastodon_links(jsonb);
DROP FUNCTION mastodon_hashtags(jsonb);
DROP FUNCTION html_links(text);
DROP FUNCTION mastodon_shown(jsonb);
DROP FUNCTION mastodon_status(jsonb);
DROP FUNCTION bluesky_media(jsonb);
DROP FUNCTION bluesky_mentions(jsonb);
DROP FUNCTION bluesky_mention_ids(jsonb);
DROP FUNCTION bluesky_links(jsonb);
DROP FUNCTION bluesky_hashtags(jsonb);
DROP FUNCTION bluesky_record(jsonb);
DROP FUNCTION x_v2_place(jsonb);
DROP FUNCTION x_v2_display_name(jsonb);
DROP FUNCTION x_v2_media(jsonb, jsonb);
DROP FUNCTION x_v2_mention_ids(jsonb);
DROP FUNCTION x_v2_links(jsonb);
DROP FUNCTION x_v2_mentions(jsonb);
DROP FUNCTION x_v2_hashtags(jsonb);
DROP FUNCTION x_v2_content(jsonb);
DROP FUNCTION x_v2_shown(jsonb);
DROP FUNCTION x_v2_reposted(jsonb);
DROP FUNCTION x_v2_post(jsonb);
DROP FUNCTION x_v1_media(jsonb);
DROP FUNCTION x_v1_mention_ids(jsonb);
DROP FUNCTION x_v1_links(jsonb);
DROP FUNCTION x_v1_mentions(jsonb);
DROP FUNCTION x_v1_hashtags(jsonb);
DROP FUNCTION x_v1_content(jsonb);
DROP FUNCTION x_v1_shown(jsonb);
DROP FUNCTION x_names(jsonb, text, text);
DROP FUNCTION distinct_texts(text[]);

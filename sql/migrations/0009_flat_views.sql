-- Tweets of all networks in the same columns (tweets_flat, hashtags, links, mentions), and the same views
-- for users who read their tweets with a role of their own (schema sql_access).

-- Logins to Postgres that users have for reading their tweets by SQL (sql_access.sql). The name alone
-- would not do: the role of another database may have had it before.
CREATE TABLE sql_roles (
    user_id  bigint PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    role     name NOT NULL,
    role_oid oid NOT NULL,

    CONSTRAINT sql_roles_role_unique UNIQUE (role)
);
COMMENT ON TABLE sql_roles IS 'Bound: at most one row for each user; deleted with the user';

-- Which tracks a user sees, and which of these they may change: the only definition of that. Tracks
-- without an owner (added by psql) are for admins. Its tables are bound when it is created, so that a SQL
-- role (sql_access.sql) cannot put others in their place.
CREATE OR REPLACE FUNCTION tracks_seen_by(who bigint) RETURNS TABLE (track_id bigint, may_change boolean)
    LANGUAGE sql STABLE PARALLEL SAFE
    BEGIN ATOMIC
        SELECT tracks.id, users.role = 'admin' OR users.role = 'user' AND owned
        FROM users
        CROSS JOIN tracks
        CROSS JOIN LATERAL (SELECT tracks.owner IS NOT DISTINCT FROM users.name AS owned) AS own
        WHERE users.id = who AND users.enabled
          AND (users.role = 'admin' OR owned
               OR EXISTS (SELECT FROM track_shares
                          WHERE track_shares.track_id = tracks.id AND track_shares.user_id = who));
    END;

------------------------------------------------------------------------------------------------
-- Tweets of all networks in the same columns, for SQL, dashboards and statistics: views for
-- administrators, and the same views for the SQL roles of users, in a schema of their own.
--
-- What the columns of tweets do not hold is read from the message as received, as its network's
-- decode.py reads it, and only for columns that a query asks for. A repost has the hashtags, links,
-- mentions, media and counts of the reposted tweet, as it has its text. Bodies are bound when they are
-- created (RETURN): whoever runs them, with whatever search_path, gets these tables and functions.

------------------------------------------------------------------------------------------------
-- Parts of messages, whatever types a network sends.

CREATE FUNCTION json_list(value jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE jsonb_typeof(value) WHEN 'array' THEN value ELSE '[]' END;

CREATE FUNCTION json_object_or_null(value jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE jsonb_typeof(value) WHEN 'object' THEN value END;

CREATE FUNCTION json_text(value jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE jsonb_typeof(value) WHEN 'string' THEN nullif(value #>> '{}', '') END;

CREATE FUNCTION json_count(value jsonb) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN jsonb_typeof(value) = 'number' AND value #>> '{}' ~ '^\d{1,18}$'
        THEN (value #>> '{}')::bigint END;

CREATE FUNCTION json_number(value jsonb) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN jsonb_typeof(value) = 'number' AND abs(value::numeric) < 1e9
        THEN value::double precision END;

-- An id of X: a positive whole number below 2^63, which tools may have written as a number.
CREATE FUNCTION json_id(value jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN jsonb_typeof(value) IN ('string', 'number') AND value #>> '{}' ~ '^[1-9]\d{0,18}$'
        AND (value #>> '{}')::numeric < 9223372036854775808 THEN value #>> '{}' END;

-- Without duplicates, nulls and empty texts, in the order of the first ones.
CREATE FUNCTION distinct_texts(texts text[]) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(
        SELECT each FROM unnest(texts) WITH ORDINALITY AS given (each, place)
        WHERE each <> '' GROUP BY each ORDER BY min(place));

CREATE FUNCTION media_kind(type text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN type IN ('photo', 'video', 'animated_gif') THEN type END;

------------------------------------------------------------------------------------------------
-- X: a post with the entities that X has found in it. Messages that were recorded without its lists are
-- searched, as stream/entities does: exactly in ASCII, nearly so in other scripts.

CREATE FUNCTION x_unescaped(text jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN replace(replace(replace(json_text(text), '&lt;', '<'), '&gt;', '>'), '&amp;', '&');

CREATE FUNCTION x_found_links(text text) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(SELECT found[1] FROM regexp_matches(text,
        '(?<![A-Za-z0-9@＠$#＃])(https?://[^\s<>"]*[^\s<>"!*'';:,.?$%()\[\]~@|&…])', 'gi') AS found);

CREATE FUNCTION x_found_names(text text, pattern text) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(SELECT found[1] FROM regexp_matches(
        regexp_replace(text, 'https?://\S+', ' ', 'gi'), pattern, 'g') AS found);

CREATE FUNCTION x_found_hashtags(text text) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN x_found_names(text,
        '(?<![&[:alnum:]_])[#＃](?=[[:alnum:]_·]*[[:alpha:]])([[:alnum:]_·]+)');

CREATE FUNCTION x_found_mentions(text text) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN x_found_names(text,
        '(?<![A-Za-z0-9_!#$%&*@＠])[@＠]([A-Za-z0-9_]{1,20})(?![A-Za-z0-9_@＠]|/[A-Za-z]|://)');

-- One name of each entity in a list.
CREATE FUNCTION x_names(entities jsonb, list text, name text) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(
        SELECT json_text(each -> name) FROM jsonb_array_elements(json_list(entities -> list)) AS each);

------------------------------------------------------------------------------------------------
-- X v1.1

CREATE FUNCTION x_v1_shown(doc jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(json_object_or_null(doc -> 'retweeted_status'), doc);

-- The longest text and its entities.
CREATE FUNCTION x_v1_content(doc jsonb, OUT text text, OUT entities jsonb) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    BEGIN ATOMIC
        SELECT x_unescaped(CASE WHEN is_extended THEN shown #> '{extended_tweet,full_text}'
                WHEN jsonb_typeof(shown -> 'full_text') = 'string' THEN shown -> 'full_text'
                ELSE shown -> 'text' END),
            CASE WHEN is_extended THEN shown #> '{extended_tweet,entities}' ELSE shown -> 'entities' END
        FROM (SELECT x_v1_shown(doc) AS shown OFFSET 0) AS part
        CROSS JOIN LATERAL (
            SELECT jsonb_typeof(shown #> '{extended_tweet,full_text}') IS NOT DISTINCT FROM 'string'
                AS is_extended) AS known;
    END;

CREATE FUNCTION x_v1_hashtags(doc jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT CASE jsonb_typeof(entities -> 'hashtags') WHEN 'array' THEN x_names(entities, 'hashtags', 'text')
            ELSE x_found_hashtags(text) END
        FROM x_v1_content(doc));

CREATE FUNCTION x_v1_mentions(doc jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT CASE jsonb_typeof(entities -> 'user_mentions')
            WHEN 'array' THEN x_names(entities, 'user_mentions', 'screen_name') ELSE x_found_mentions(text) END
        FROM x_v1_content(doc));

CREATE FUNCTION x_v1_links(doc jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT CASE jsonb_typeof(entities -> 'urls') WHEN 'array' THEN ARRAY(
                SELECT coalesce(json_text(each #> '{unwound,url}'), json_text(each -> 'expanded_url'))
                FROM jsonb_array_elements(entities -> 'urls') AS each)
            ELSE x_found_links(text) END
        FROM x_v1_content(doc));

CREATE FUNCTION x_v1_mention_ids(doc jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT ARRAY(
            SELECT coalesce(json_id(each -> 'id_str'), json_id(each -> 'id'))
            FROM jsonb_array_elements(json_list(entities -> 'user_mentions')) AS each)
        FROM x_v1_content(doc));

-- The list that names all media: `entities.media` has only the first, as a photo.
CREATE FUNCTION x_v1_media(status jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(
        SELECT kind FROM jsonb_array_elements(coalesce(
            nullif(json_list(status #> '{extended_tweet,extended_entities,media}'), '[]'),
            nullif(json_list(status #> '{extended_entities,media}'), '[]'),
            nullif(json_list(status #> '{extended_tweet,entities,media}'), '[]'),
            json_list(status #> '{entities,media}'))) WITH ORDINALITY AS media (each, place)
        CROSS JOIN LATERAL (SELECT media_kind(json_text(each -> 'type')) AS kind) AS known
        WHERE kind IS NOT NULL ORDER BY place);

------------------------------------------------------------------------------------------------
-- X v2: a post with what it refers to in `includes`, or flattened by twarc.

CREATE FUNCTION x_v2_post(doc jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(json_object_or_null(doc -> 'data'), doc);

-- The reposted post, or the reference to it when X has omitted it.
CREATE FUNCTION x_v2_reposted(doc jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT CASE WHEN jsonb_typeof(reference -> 'text') = 'string' THEN reference ELSE coalesce((
            SELECT candidate FROM jsonb_array_elements(coalesce(
                nullif(json_list(doc #> '{includes,tweets}'), '[]'),
                json_list(doc #> '{includes,posts}'))) AS candidate
            WHERE candidate -> 'id' = reference -> 'id' LIMIT 1), reference) END
        FROM (SELECT x_v2_post(doc) AS post) AS own,
            jsonb_array_elements(coalesce(
                nullif(json_list(post -> 'referenced_tweets'), '[]'),
                json_list(post -> 'referenced_posts'))) AS reference
        WHERE reference ->> 'type' = 'retweeted' LIMIT 1);

CREATE FUNCTION x_v2_note(post jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(json_object_or_null(post -> 'note_tweet'), json_object_or_null(post -> 'note_post'));

CREATE FUNCTION x_v2_shown(doc jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT CASE WHEN jsonb_typeof(reposted -> 'text') = 'string' OR x_v2_note(reposted) IS NOT NULL
            THEN reposted ELSE x_v2_post(doc) END
        FROM (SELECT x_v2_reposted(doc) AS reposted) AS found);

-- The longest text and its entities. A long post without any has those of its beginning; `marked` is
-- whether X has found any in the text itself.
CREATE FUNCTION x_v2_content(doc jsonb, OUT text text, OUT entities jsonb, OUT marked boolean)
    RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    BEGIN ATOMIC
        SELECT x_unescaped(coalesce(note -> 'text', shown -> 'text')),
            coalesce(own, shown -> 'entities'),
            coalesce(jsonb_path_exists(own, 'strict $.*.type() ? (@ == "array")', silent => true), false)
        FROM (SELECT x_v2_shown(doc) AS shown OFFSET 0) AS part
        CROSS JOIN LATERAL (
            SELECT CASE jsonb_typeof(x_v2_note(shown) -> 'text') WHEN 'string' THEN x_v2_note(shown) END AS note
        ) AS longest
        CROSS JOIN LATERAL (
            SELECT json_object_or_null(CASE WHEN note IS NULL THEN shown ELSE note END -> 'entities') AS own
        ) AS found;
    END;

CREATE FUNCTION x_v2_hashtags(doc jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT coalesce(CASE WHEN NOT marked THEN nullif(x_found_hashtags(text), '{}') END,
            x_names(entities, 'hashtags', 'tag'))
        FROM x_v2_content(doc));

CREATE FUNCTION x_v2_mentions(doc jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT CASE WHEN marked OR json_list(entities -> 'mentions') <> '[]'
            THEN x_names(entities, 'mentions', 'username') ELSE x_found_mentions(text) END
        FROM x_v2_content(doc));

-- The addresses of photos and videos of the post itself are left out.
CREATE FUNCTION x_v2_links(doc jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT CASE WHEN marked OR json_list(entities -> 'urls') <> '[]' THEN ARRAY(
                SELECT coalesce(json_text(each -> 'unwound_url'), json_text(each -> 'expanded_url'))
                FROM jsonb_array_elements(json_list(entities -> 'urls')) AS each
                WHERE json_text(each -> 'expanded_url') ~*
                    '^https?://([a-z]+\.)?(twitter|x)\.com/[^/]+/status/\d+/(photo|video)/' IS NOT TRUE)
            ELSE x_found_links(text) END
        FROM x_v2_content(doc));

CREATE FUNCTION x_v2_mention_ids(doc jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT ARRAY(
            SELECT json_id(each -> 'id')
            FROM jsonb_array_elements(json_list(entities -> 'mentions')) AS each)
        FROM x_v2_content(doc));

CREATE FUNCTION x_v2_media(doc jsonb, post jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(
        SELECT kind FROM (
            SELECT each, place
            FROM jsonb_array_elements(json_list(post #> '{attachments,media}'))
                WITH ORDINALITY AS given (each, place)
            UNION ALL
            SELECT each, place
            FROM jsonb_array_elements(json_list(doc #> '{includes,media}'))
                WITH ORDINALITY AS included (each, place)
            WHERE json_list(post #> '{attachments,media}') = '[]'
              AND json_list(post #> '{attachments,media_keys}') ? (each ->> 'media_key')
        ) AS media
        CROSS JOIN LATERAL (SELECT media_kind(json_text(each -> 'type')) AS kind) AS known
        WHERE kind IS NOT NULL ORDER BY place);

CREATE FUNCTION x_v2_display_name(doc jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT coalesce(
            (SELECT json_text(author -> 'name')
             FROM jsonb_array_elements(json_list(doc #> '{includes,users}')) AS author
             WHERE author -> 'id' = post -> 'author_id' LIMIT 1),
            json_text(post #> '{author,name}'))
        FROM (SELECT x_v2_post(doc) AS post) AS own);

-- The place that a post names: from `includes`, or what is in the post itself.
CREATE FUNCTION x_v2_place(doc jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT coalesce(
            (SELECT area FROM jsonb_array_elements(json_list(doc #> '{includes,places}')) AS area
             WHERE area -> 'id' = geo -> 'place_id' LIMIT 1), geo)
        FROM (SELECT x_v2_post(doc) -> 'geo' AS geo) AS own
        WHERE jsonb_typeof(geo -> 'place_id') = 'string');

------------------------------------------------------------------------------------------------
-- Bluesky

CREATE FUNCTION bluesky_record(doc jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(doc #> '{payload,record}', doc #> '{commit,record}');

-- Each feature of a post's facets, with the part of the text it is about, in bytes of UTF-8.
CREATE FUNCTION bluesky_features(record jsonb, OUT place bigint, OUT span jsonb, OUT link text,
                                 OUT tag text, OUT did text) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    BEGIN ATOMIC
        SELECT row_number() OVER (), facet -> 'index', json_text(feature -> 'uri'),
            ltrim(json_text(feature -> 'tag'), '#＃'), json_text(feature -> 'did')
        FROM jsonb_array_elements(json_list(record -> 'facets')) AS facet,
            jsonb_array_elements(json_list(facet -> 'features')) AS feature;
    END;

CREATE FUNCTION bluesky_hashtags(record jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(SELECT tag FROM bluesky_features(record) WHERE link IS NULL ORDER BY place)
        || ARRAY(SELECT ltrim(json_text(each), '#＃')
                 FROM jsonb_array_elements(json_list(record -> 'tags')) AS each);

CREATE FUNCTION bluesky_links(record jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(SELECT link FROM bluesky_features(record) WHERE link IS NOT NULL ORDER BY place)
        || json_text(record #> '{embed,external,uri}') || json_text(record #> '{embed,media,external,uri}');

CREATE FUNCTION bluesky_mention_ids(record jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(
        SELECT did FROM bluesky_features(record)
        WHERE link IS NULL AND coalesce(tag, '') = '' AND did IS NOT NULL ORDER BY place);

-- Whether a text goes on with a letter or digit of a script with spaces between words.
CREATE FUNCTION continues_word(text text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN text ~ '^[[:alnum:]_]' AND (ascii(text) < x'e01'::integer
        OR ascii(text) BETWEEN x'10a0'::integer AND x'10ff'::integer
        OR ascii(text) BETWEEN x'1200'::integer AND x'177f'::integer
        OR ascii(text) BETWEEN x'1e00'::integer AND x'1fff'::integer);

-- The name that is written where a facet is: an @ and whole words; null for any other text.
CREATE FUNCTION bluesky_name(text bytea, span jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT CASE WHEN name IS NULL OR coalesce(continues_word(convert_from(
            substring(text FROM stop + 1), 'UTF8')), false) THEN NULL ELSE name END
        FROM (
            SELECT greatest(coalesce(json_number(span -> 'byteStart'), 0), 0)::integer AS start,
                least(greatest(coalesce(json_number(span -> 'byteEnd'), 0), 0),
                      octet_length(text))::integer AS stop
        ) AS given
        -- Bytes that are not ASCII are octal numbers here; half a character at the start is left out.
        CROSS JOIN LATERAL (SELECT substring(
            encode(substring(text FROM start + 1 FOR greatest(stop - start, 0)), 'escape')
            FROM '^(?:\\2\d\d)*(?:@|\\357\\274\\240)([A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?)$'
        ) AS name) AS written);

CREATE FUNCTION bluesky_mentions(record jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(
        SELECT bluesky_name(convert_to(coalesce(json_text(record -> 'text'), ''), 'UTF8'), span)
        FROM bluesky_features(record)
        WHERE link IS NULL AND coalesce(tag, '') = '' AND did IS NOT NULL ORDER BY place);

CREATE FUNCTION bluesky_media(record jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(
        SELECT kind
        FROM (VALUES (1, record -> 'embed'), (2, record #> '{embed,media}')) AS embeds (place, embed)
        CROSS JOIN LATERAL (
            SELECT 1 AS list, 'photo' AS kind FROM jsonb_array_elements(json_list(embed -> 'images')) AS image
            WHERE jsonb_typeof(image) = 'object'
            UNION ALL
            SELECT 2, 'photo' FROM jsonb_array_elements(json_list(embed -> 'items')) AS image
            WHERE jsonb_typeof(image) = 'object'
            UNION ALL
            SELECT 3, CASE embed ->> 'presentation' WHEN 'gif' THEN 'animated_gif' ELSE 'video' END
            WHERE jsonb_typeof(embed -> 'video') = 'object'
        ) AS media
        ORDER BY place, list);

------------------------------------------------------------------------------------------------
-- Mastodon

-- JSON with what jsonb refuses replaced: the character 0, halves of surrogate pairs, huge numbers.
CREATE FUNCTION repaired_json(broken text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN regexp_replace(regexp_replace(regexp_replace(regexp_replace(broken,
        '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g'),
        '(?<!\\)((?:\\\\)*)\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])', '\1\\ufffd', 'g'),
        '(?<!\\|\\u[dD][89abAB][0-9a-fA-F]{2})((?:\\\\)*)\\u[dD][c-fC-F][0-9a-fA-F]{2}', '\1\\ufffd', 'g'),
        '([:,\[]\s*-?\d[\d.]*)[eE][+-]?\d{4,}', '\1', 'g');

-- A message's status: as such, in an event, or as text in one. The text is JSON that jsonb has not
-- checked: what it refuses, and `decode` repairs, is repaired here, too.
CREATE FUNCTION mastodon_status(doc jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE jsonb_typeof(doc -> 'payload')
        WHEN 'object' THEN doc -> 'payload'
        WHEN 'string' THEN (CASE
            WHEN doc ->> 'payload' !~ '^\s*\{' THEN NULL
            WHEN doc ->> 'payload' ~ '\\u(0000|[dD][89a-fA-F])|[eE][+-]?\d{4}'
                THEN repaired_json(doc ->> 'payload')
            ELSE doc ->> 'payload' END)::jsonb
        ELSE doc END;

CREATE FUNCTION mastodon_shown(doc jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT coalesce(json_object_or_null(status -> 'reblog'), status)
        FROM (SELECT mastodon_status(doc) AS status) AS own);

CREATE FUNCTION html_unescaped(html text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN replace(replace(replace(replace(replace(replace(
        html, '&lt;', '<'), '&gt;', '>'), '&quot;', '"'), '&#39;', ''''), '&apos;', ''''), '&amp;', '&');

-- The links of a status's HTML, as servers write it: sanitized, with double quotes. That of a quoted
-- post, for servers without quotes, is left out.
CREATE FUNCTION html_links(html text, OUT place bigint, OUT classes text[], OUT link text, OUT words text)
    RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    BEGIN ATOMIC
        SELECT row_number() OVER (),
            string_to_array(substring(found[1] FROM 'class="([^"]*)"'), ' '),
            btrim(html_unescaped(substring(found[1] FROM 'href="([^"]*)"'))),
            btrim(html_unescaped(regexp_replace(found[2], '<[^>]*>', '', 'g')))
        FROM regexp_matches(
            regexp_replace(html,
                '<p\s[^<>]*\yquote-inline\y[^<>]*>(?:(?!</p>).)*</p>'
                '|<span\s[^<>]*\yquote-inline\y[^<>]*>(?:(?!</span>).)*</span>', '', 'gi'),
            '<a\s([^<>]*)>((?:(?!</a>).)*)</a>', 'gi') AS found;
    END;

-- What a server takes for the same hashtag.
CREATE FUNCTION mastodon_tag_key(tag text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN translate(
        regexp_replace(normalize(lower(normalize(tag, NFKC)), NFD), '[\u0300-\u036f]', '', 'g'),
        'đðħıĸłŀŉŋøŧ', 'ddhikllnnot');

-- As the author wrote them, then those that only the server lists.
CREATE FUNCTION mastodon_hashtags(shown jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT written || ARRAY(
            SELECT json_text(tag -> 'name') FROM jsonb_array_elements(json_list(shown -> 'tags')) AS tag
            WHERE mastodon_tag_key(json_text(tag -> 'name'))
                <> ALL (ARRAY(SELECT mastodon_tag_key(each) FROM unnest(written) AS each)))
        FROM (SELECT ARRAY(
            SELECT ltrim(words, '#＃') FROM html_links(json_text(shown -> 'content'))
            WHERE 'hashtag' = ANY (classes) ORDER BY place) AS written) AS found);

CREATE FUNCTION mastodon_links(shown jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(
        SELECT link FROM html_links(json_text(shown -> 'content'))
        WHERE (classes && ARRAY['hashtag', 'mention']) IS NOT TRUE
          AND link <> ALL (ARRAY(
              SELECT coalesce(json_text(mention -> 'url'), '')
              FROM jsonb_array_elements(json_list(shown -> 'mentions')) AS mention))
        ORDER BY place) || json_text(shown #> '{card,url}');

-- name@host; a server leaves the host out for its own accounts.
CREATE FUNCTION mastodon_handle(account jsonb, address text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT CASE WHEN name LIKE '%@%' THEN name ELSE concat_ws('@', name, lower(
            substring(address FROM '^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#]*@)?([^/?#@]+)'))) END
        FROM (SELECT coalesce(json_text(account -> 'acct'), json_text(account -> 'username')) AS name) AS known
        WHERE name IS NOT NULL);

CREATE FUNCTION mastodon_mentions(shown jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(
        SELECT mastodon_handle(mention, json_text(mention -> 'url'))
        FROM jsonb_array_elements(json_list(shown -> 'mentions')) AS mention);

CREATE FUNCTION mastodon_media(shown jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(
        SELECT kind FROM jsonb_array_elements(json_list(shown -> 'media_attachments'))
            WITH ORDINALITY AS media (each, place)
        CROSS JOIN LATERAL (SELECT CASE each ->> 'type' WHEN 'image' THEN 'photo'
            WHEN 'gifv' THEN 'animated_gif' WHEN 'video' THEN 'video' WHEN 'audio' THEN 'audio' END AS kind
        ) AS known
        WHERE kind IS NOT NULL ORDER BY place);

------------------------------------------------------------------------------------------------
-- A column of all networks each.

CREATE FUNCTION tweet_display_name(network text, doc jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE network
        WHEN 'x_v2' THEN x_v2_display_name(doc)
        WHEN 'x_v1' THEN json_text(doc #> '{user,name}')
        WHEN 'mastodon' THEN json_text(mastodon_status(doc) #> '{account,display_name}') END;

-- Without their sign, as written.
CREATE FUNCTION tweet_hashtags(network text, doc jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN distinct_texts(CASE network
        WHEN 'x_v2' THEN x_v2_hashtags(doc)
        WHEN 'x_v1' THEN x_v1_hashtags(doc)
        WHEN 'bluesky' THEN bluesky_hashtags(bluesky_record(doc))
        WHEN 'mastodon' THEN mastodon_hashtags(mastodon_shown(doc)) END);

-- The address that each link leads to, as far as the network says.
CREATE FUNCTION tweet_links(network text, doc jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN distinct_texts(CASE network
        WHEN 'x_v2' THEN x_v2_links(doc)
        WHEN 'x_v1' THEN x_v1_links(doc)
        WHEN 'bluesky' THEN bluesky_links(bluesky_record(doc))
        WHEN 'mastodon' THEN mastodon_links(mastodon_shown(doc)) END);

-- Handles without @.
CREATE FUNCTION tweet_mentions(network text, doc jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN distinct_texts(CASE network
        WHEN 'x_v2' THEN x_v2_mentions(doc)
        WHEN 'x_v1' THEN x_v1_mentions(doc)
        WHEN 'bluesky' THEN bluesky_mentions(bluesky_record(doc))
        WHEN 'mastodon' THEN mastodon_mentions(mastodon_shown(doc)) END);

-- The ids of mentioned accounts, as in author_id. Mastodon sends none.
CREATE FUNCTION tweet_mention_ids(network text, doc jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN distinct_texts(CASE network
        WHEN 'x_v2' THEN x_v2_mention_ids(doc)
        WHEN 'x_v1' THEN x_v1_mention_ids(doc)
        WHEN 'bluesky' THEN bluesky_mention_ids(bluesky_record(doc)) END);

CREATE FUNCTION host_of(link text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN lower(substring(link FROM '^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#]*@)?([^/?#:@]+)'));

-- photo, video, animated_gif or audio: one for each.
CREATE FUNCTION tweet_media(network text, doc jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(CASE network
        WHEN 'x_v2' THEN coalesce(
            nullif(x_v2_media(doc, x_v2_post(doc)), '{}'), x_v2_media(doc, x_v2_reposted(doc)))
        WHEN 'x_v1' THEN coalesce(nullif(x_v1_media(doc), '{}'), x_v1_media(x_v1_shown(doc)))
        WHEN 'bluesky' THEN bluesky_media(bluesky_record(doc))
        WHEN 'mastodon' THEN mastodon_media(mastodon_shown(doc)) END, '{}');

-- A number that was sent with the tweet; null: the network sends none, as Bluesky.
CREATE FUNCTION tweet_likes(network text, doc jsonb) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE network
        WHEN 'x_v2' THEN json_count(x_v2_shown(doc) #> '{public_metrics,like_count}')
        WHEN 'x_v1' THEN json_count(x_v1_shown(doc) -> 'favorite_count')
        WHEN 'mastodon' THEN json_count(mastodon_shown(doc) -> 'favourites_count') END;

CREATE FUNCTION tweet_reposts(network text, doc jsonb) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE network
        WHEN 'x_v2' THEN json_count(x_v2_shown(doc) #> '{public_metrics,retweet_count}')
        WHEN 'x_v1' THEN json_count(x_v1_shown(doc) -> 'retweet_count')
        WHEN 'mastodon' THEN json_count(mastodon_shown(doc) -> 'reblogs_count') END;

CREATE FUNCTION tweet_replies(network text, doc jsonb) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE network
        WHEN 'x_v2' THEN json_count(x_v2_shown(doc) #> '{public_metrics,reply_count}')
        WHEN 'x_v1' THEN json_count(x_v1_shown(doc) -> 'reply_count')
        WHEN 'mastodon' THEN json_count(mastodon_shown(doc) -> 'replies_count') END;

CREATE FUNCTION tweet_quotes(network text, doc jsonb) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE network
        WHEN 'x_v2' THEN json_count(x_v2_shown(doc) #> '{public_metrics,quote_count}')
        WHEN 'x_v1' THEN json_count(x_v1_shown(doc) -> 'quote_count')
        WHEN 'mastodon' THEN json_count(mastodon_shown(doc) -> 'quotes_count') END;

-- The place that a tweet names; only X sends places.
CREATE FUNCTION tweet_area(network text, doc jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE network WHEN 'x_v2' THEN x_v2_place(doc) WHEN 'x_v1' THEN doc -> 'place' END;

CREATE FUNCTION tweet_place(network text, doc jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT coalesce(json_text(area -> 'full_name'), json_text(area -> 'name'),
            json_text(area -> 'place_id'), json_text(area -> 'id'))
        FROM (SELECT tweet_area(network, doc) AS area) AS found);

-- Two letters of ISO 3166.
CREATE FUNCTION tweet_country(network text, doc jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN upper(json_text(tweet_area(network, doc) -> 'country_code'));

-- The point where a tweet was written: longitude, latitude.
CREATE FUNCTION tweet_point(network text, doc jsonb) RETURNS double precision[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT ARRAY[longitude, latitude]
        FROM (
            SELECT CASE network
                WHEN 'x_v2' THEN x_v2_post(doc) #> '{geo,coordinates,coordinates}'
                WHEN 'x_v1' THEN coalesce(nullif(doc #> '{coordinates,coordinates}', 'null'),
                    jsonb_build_array(doc #> '{geo,coordinates,1}', doc #> '{geo,coordinates,0}'))
                END AS pair
        ) AS found
        CROSS JOIN LATERAL (
            SELECT json_number(pair -> 0) AS longitude, json_number(pair -> 1) AS latitude) AS point
        WHERE longitude BETWEEN -180 AND 180 AND latitude BETWEEN -90 AND 90);

------------------------------------------------------------------------------------------------
-- Views for administrators. Give a time, and only its days are read:
-- SELECT … FROM tweets_flat WHERE received_at >= now() - interval '1 day'

-- One row for each tweet that is shown: as SHOWN in stream/store/feed.py, without deleted tweets and
-- those withheld everywhere.
CREATE VIEW tweets_flat AS
    SELECT id, network, native_id, received_at, created_at, edited_at, author, author_id,
        tweet_display_name(network, doc) AS display_name,
        text, lang, kind,
        CASE WHEN url ~ '^https?://' THEN url END AS url,
        tweet_hashtags(network, doc) AS hashtags,
        tweet_links(network, doc) AS links,
        tweet_mentions(network, doc) AS mentions,
        tweet_mention_ids(network, doc) AS mention_ids,
        tweet_media(network, doc) AS media,
        tweet_likes(network, doc) AS likes,     -- these four: when it was received
        tweet_reposts(network, doc) AS reposts,
        tweet_replies(network, doc) AS replies,
        tweet_quotes(network, doc) AS quotes,
        tweet_place(network, doc) AS place,
        tweet_country(network, doc) AS country,
        (tweet_point(network, doc))[1] AS longitude,
        (tweet_point(network, doc))[2] AS latitude
    FROM tweets
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

-- Which tracks a tweet belongs to, and why.
CREATE VIEW tweet_tracks AS
    SELECT tweet_id, received_at, track_id, term, field, part, look_back FROM matches;

CREATE VIEW hashtags AS
    SELECT id AS tweet_id, received_at, network, author, author_id, kind, hashtag,
        lower(hashtag) AS hashtag_lower
    FROM tweets_flat CROSS JOIN LATERAL unnest(hashtags) AS hashtag;

CREATE VIEW links AS
    SELECT id AS tweet_id, received_at, network, author, author_id, kind, link, host_of(link) AS host
    FROM tweets_flat CROSS JOIN LATERAL unnest(links) AS link;

CREATE VIEW mentions AS
    SELECT id AS tweet_id, received_at, network, author, author_id, kind, mention,
        lower(mention) AS mention_lower
    FROM tweets_flat CROSS JOIN LATERAL unnest(mentions) AS mention;

------------------------------------------------------------------------------------------------
-- What users with a login to Postgres may read: the tweets of the tracks that they see, and nothing else.
--
-- Everyone may read these views. They show the rows of the user whose role is logged in (sql_roles), and
-- none to any other role. security_barrier keeps a function or an operator of a query from seeing a row
-- before this is decided. The views, and sql_tracks, read with the rights of their owner; a role has none
-- on the tables.

-- The tracks that the user who is logged in sees.
CREATE FUNCTION sql_tracks() RETURNS SETOF bigint
    LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 20
    BEGIN ATOMIC
        SELECT seen.track_id
        FROM sql_roles
        JOIN pg_catalog.pg_roles ON pg_roles.rolname = sql_roles.role AND pg_roles.oid = sql_roles.role_oid
        CROSS JOIN LATERAL tracks_seen_by(sql_roles.user_id) AS seen
        WHERE sql_roles.role = SESSION_USER;
    END;

CREATE SCHEMA sql_access;
GRANT USAGE ON SCHEMA sql_access TO PUBLIC;

CREATE VIEW sql_access.tracks WITH (security_barrier) AS
    SELECT id, kind, value, networks, enabled, created_at FROM tracks
    WHERE id = ANY (ARRAY(SELECT sql_tracks()));

-- From matches to tweets, one by one: a user's tweets are few among all. The time is that of the match,
-- so that a condition on it chooses the days of matches; each tweet is then looked up in its own day.
-- In this order a query for the newest tweets reads no more than it needs.
CREATE VIEW sql_access.tweets_flat WITH (security_barrier) AS
    SELECT own.tweet_id AS id, flat.network, flat.native_id, own.received_at, flat.created_at,
        flat.edited_at, flat.author, flat.author_id, flat.display_name, flat.text, flat.lang, flat.kind,
        flat.url, flat.hashtags, flat.links, flat.mentions, flat.mention_ids, flat.media, flat.likes,
        flat.reposts, flat.replies, flat.quotes, flat.place, flat.country, flat.longitude, flat.latitude
    FROM (
        SELECT DISTINCT tweet_id, received_at FROM matches
        WHERE track_id = ANY (ARRAY(SELECT sql_tracks()))
        ORDER BY received_at DESC, tweet_id DESC
    ) AS own
    CROSS JOIN LATERAL (
        SELECT * FROM tweets_flat WHERE id = own.tweet_id AND received_at = own.received_at OFFSET 0
    ) AS flat
    ORDER BY own.received_at DESC, own.tweet_id DESC;

CREATE VIEW sql_access.tweet_tracks WITH (security_barrier) AS
    SELECT own.*
    FROM (SELECT * FROM tweet_tracks WHERE track_id = ANY (ARRAY(SELECT sql_tracks()))) AS own
    CROSS JOIN LATERAL (
        SELECT FROM tweets_flat WHERE id = own.tweet_id AND received_at = own.received_at OFFSET 0
    ) AS flat;

CREATE VIEW sql_access.hashtags WITH (security_barrier) AS
    SELECT id AS tweet_id, received_at, network, author, author_id, kind, hashtag,
        lower(hashtag) AS hashtag_lower
    FROM sql_access.tweets_flat CROSS JOIN LATERAL unnest(hashtags) AS hashtag;

CREATE VIEW sql_access.links WITH (security_barrier) AS
    SELECT id AS tweet_id, received_at, network, author, author_id, kind, link, host_of(link) AS host
    FROM sql_access.tweets_flat CROSS JOIN LATERAL unnest(links) AS link;

CREATE VIEW sql_access.mentions WITH (security_barrier) AS
    SELECT id AS tweet_id, received_at, network, author, author_id, kind, mention,
        lower(mention) AS mention_lower
    FROM sql_access.tweets_flat CROSS JOIN LATERAL unnest(mentions) AS mention;

GRANT SELECT ON ALL TABLES IN SCHEMA sql_access TO PUBLIC;

-- The role goes with its row, and so with the user. One that still owns something, as the temporary
-- tables of an open session, can no longer log in; it sees nothing any more in either case.
CREATE FUNCTION drop_sql_role() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = OLD.role AND oid = OLD.role_oid) THEN
        BEGIN
            EXECUTE format('DROP ROLE %I', OLD.role);
        EXCEPTION WHEN dependent_objects_still_exist THEN
            EXECUTE format('ALTER ROLE %I NOLOGIN', OLD.role);
        END;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER sql_roles_dropped
    AFTER DELETE ON sql_roles
    FOR EACH ROW EXECUTE FUNCTION drop_sql_role();

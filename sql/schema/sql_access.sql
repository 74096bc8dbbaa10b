-- What users with a login to Postgres may read: the tweets of the tracks that they see, and nothing else.
-- After flat.sql.
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

-- What Postgres lets every role do, and the login of a user must not: hold the advisory locks of the
-- program, which stops it, and fill the disk with large objects or temporary tables. Only a superuser can
-- take these functions away from all roles; true when nobody has them.
CREATE FUNCTION restrict_sql_roles() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    denied CONSTANT text := '^(pg_(try_)?advisory_|lo_|loread$|lowrite$)';
    owner CONSTANT name := (SELECT relowner::regrole FROM pg_class WHERE oid = 'sql_roles'::regclass);
    callable record;
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    FOR callable IN
        SELECT oid::regprocedure AS signature FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ denied
          AND has_function_privilege('public', oid, 'EXECUTE')
        ORDER BY oid
    LOOP
        IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = CURRENT_USER) THEN
            RETURN false;
        END IF;
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', callable.signature, owner);
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', callable.signature);
    END LOOP;
    RETURN true;
END
$$;

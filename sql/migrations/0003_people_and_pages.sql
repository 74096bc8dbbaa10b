-- Who uses the web pages and the API, what they did to which track, and what pages read.

CREATE TABLE users (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL,
    role       text NOT NULL DEFAULT 'user',
    password   text,
    enabled    boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz,

    CONSTRAINT users_name_unique UNIQUE (name),
    CONSTRAINT users_name_plain CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    CONSTRAINT users_role_known CHECK (role IN ('admin', 'user', 'viewer')),
    CONSTRAINT users_password_hashed CHECK (password LIKE '$argon2id$%')
);

CREATE TABLE invites (
    hash       bytea PRIMARY KEY,
    user_id    bigint REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,

    CONSTRAINT invites_hash_sha256 CHECK (octet_length(hash) = 32)
);

CREATE TABLE sessions (
    hash       bytea PRIMARY KEY,
    user_id    bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    address    text NOT NULL DEFAULT '',
    agent      text NOT NULL DEFAULT '',

    CONSTRAINT sessions_hash_sha256 CHECK (octet_length(hash) = 32)
);

CREATE INDEX sessions_user ON sessions (user_id);

CREATE TABLE tokens (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    name       text NOT NULL,
    hash       bytea NOT NULL,
    scopes     text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz,
    expires_at timestamptz,

    CONSTRAINT tokens_hash_unique UNIQUE (hash),
    CONSTRAINT tokens_hash_sha256 CHECK (octet_length(hash) = 32),
    CONSTRAINT tokens_name_length CHECK (char_length(name) BETWEEN 1 AND 100),
    CONSTRAINT tokens_scopes_known CHECK (scopes <@ ARRAY['read', 'write', 'admin']),
    CONSTRAINT tokens_scopes_some CHECK (cardinality(scopes) > 0)
);

CREATE INDEX tokens_user ON tokens (user_id);

CREATE TABLE track_shares (
    track_id  bigint NOT NULL REFERENCES tracks ON DELETE CASCADE,
    user_id   bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    shared_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT track_shares_pkey PRIMARY KEY (track_id, user_id)
);

CREATE INDEX track_shares_user ON track_shares (user_id);

ALTER TABLE tracks ADD COLUMN looked_at timestamptz;

CREATE INDEX tracks_owner ON tracks (owner);

CREATE FUNCTION tracks_seen_by(who bigint) RETURNS TABLE (track_id bigint, may_change boolean)
    LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT tracks.id, users.role = 'admin' OR users.role = 'user' AND owned
    FROM users
    CROSS JOIN tracks
    CROSS JOIN LATERAL (SELECT tracks.owner IS NOT DISTINCT FROM users.name AS owned) AS own
    WHERE users.id = who AND users.enabled
      AND (users.role = 'admin' OR owned
           OR EXISTS (SELECT FROM track_shares
                      WHERE track_shares.track_id = tracks.id AND track_shares.user_id = who))
$$;

CREATE TABLE track_history (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    track_id bigint NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    actor    text,
    action   text NOT NULL,
    before   jsonb,
    after    jsonb,

    CONSTRAINT track_history_action_known CHECK (action IN
        ('added', 'changed', 'paused', 'resumed', 'removed', 'shared', 'unshared'))
);

CREATE INDEX track_history_newest ON track_history (track_id, id);

CREATE FUNCTION track_said(track tracks) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT jsonb_build_object('owner', track.owner, 'kind', track.kind, 'value', track.value,
        'networks', track.networks, 'enabled', track.enabled, 'starts_at', track.starts_at,
        'ends_at', track.ends_at, 'priority', track.priority, 'keep_days', track.keep_days)
$$;

CREATE FUNCTION track_history() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before jsonb := CASE WHEN TG_OP <> 'INSERT' THEN track_said(OLD) END;
    after jsonb := CASE WHEN TG_OP <> 'DELETE' THEN track_said(NEW) END;
BEGIN
    IF before IS DISTINCT FROM after THEN
        INSERT INTO track_history (track_id, actor, action, before, after)
        VALUES (CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END,
            nullif(current_setting('twitterstream.actor', true), ''),
            CASE WHEN before IS NULL THEN 'added'
                WHEN after IS NULL THEN 'removed'
                WHEN before - 'enabled' <> after - 'enabled' THEN 'changed'
                WHEN NEW.enabled THEN 'resumed'
                ELSE 'paused' END,
            before, after);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER tracks_history
    AFTER INSERT OR DELETE
        OR UPDATE OF owner, kind, value, networks, enabled, starts_at, ends_at, priority, keep_days
        ON tracks
    FOR EACH ROW WHEN (current_setting('twitterstream.restoring', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION track_history();

CREATE FUNCTION track_shares_history() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    share track_shares := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    named jsonb := (SELECT jsonb_build_object('user', name) FROM users WHERE id = share.user_id);
BEGIN
    IF named IS NOT NULL AND EXISTS (SELECT FROM tracks WHERE id = share.track_id) THEN
        INSERT INTO track_history (track_id, actor, action, before, after)
        VALUES (share.track_id, nullif(current_setting('twitterstream.actor', true), ''),
            CASE TG_OP WHEN 'DELETE' THEN 'unshared' ELSE 'shared' END,
            CASE TG_OP WHEN 'DELETE' THEN named END, CASE TG_OP WHEN 'INSERT' THEN named END);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER track_shares_history
    AFTER INSERT OR DELETE ON track_shares
    FOR EACH ROW WHEN (current_setting('twitterstream.restoring', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION track_shares_history();

CREATE TABLE runs (
    source_id integer NOT NULL,
    run       integer NOT NULL,
    first_id  bigint NOT NULL,
    last_id   bigint NOT NULL,

    CONSTRAINT runs_pkey PRIMARY KEY (source_id, run),
    CONSTRAINT runs_order CHECK (first_id <= last_id)
) WITH (fillfactor = 50);

INSERT INTO runs (source_id, run, first_id, last_id)
SELECT id, 1, 0, tweet_key(now(), id) FROM sources;

CREATE FUNCTION note_run(source integer, first bigint, last bigint) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('twitterstream runs'), source);
    UPDATE runs SET last_id = last
    WHERE source_id = source AND run = (SELECT max(run) FROM runs WHERE source_id = source)
      AND NOT EXISTS (SELECT FROM runs WHERE source_id = source AND last_id >= first);
    IF NOT FOUND THEN
        INSERT INTO runs (source_id, run, first_id, last_id)
        SELECT source, coalesce(max(run), 0) + 1, first, last FROM runs WHERE source_id = source;
    END IF;
END
$$;

CREATE TABLE track_tops (
    track_id bigint NOT NULL,
    hour     timestamptz NOT NULL,
    aspect   text NOT NULL,
    item     text NOT NULL,
    tweets   integer NOT NULL,

    CONSTRAINT track_tops_pkey PRIMARY KEY (track_id, hour, aspect, item),
    CONSTRAINT track_tops_aspect_known CHECK (aspect IN
        ('hashtag', 'author', 'mention', 'link', 'lang', 'kind')),
    CONSTRAINT track_tops_item_length CHECK (char_length(item) BETWEEN 1 AND 500),
    CONSTRAINT track_tops_positive CHECK (tweets > 0)
);

CREATE INDEX track_tops_hour ON track_tops (hour);

CREATE TABLE followers (
    name   text PRIMARY KEY,
    cursor text NOT NULL,
    at     timestamptz NOT NULL DEFAULT now()
);

-- The same numbers in a tenth of the time.
CREATE OR REPLACE VIEW stats_forecast AS
    SELECT newest.host, volume.key AS volume,
        volume.value ->> 'path' AS path,
        newest.at,                                      -- the last look
        (volume.value ->> 'total')::bigint AS total,
        (volume.value ->> 'free')::bigint AS free,
        round(slope.bytes_per_day)::bigint AS bytes_per_day,
        CASE WHEN slope.bytes_per_day > 0
            THEN round(((volume.value ->> 'free')::bigint / slope.bytes_per_day)::numeric, 1)
        END AS days_until_full
    FROM (
        -- Each machine's last look, by the index: one step for each machine.
        WITH RECURSIVE hosts (host) AS (
            (SELECT host FROM machine_minutes ORDER BY host LIMIT 1)
            UNION ALL
            SELECT (SELECT next.host FROM machine_minutes AS next
                    WHERE next.host > hosts.host ORDER BY next.host LIMIT 1)
            FROM hosts WHERE hosts.host IS NOT NULL
        )
        SELECT hosts.host, last.at, last.volumes
        FROM hosts
        CROSS JOIN LATERAL (
            SELECT at, volumes FROM machine_minutes AS m
            WHERE m.host = hosts.host ORDER BY m.host DESC, at DESC LIMIT 1
        ) AS last
        WHERE last.at > now() - interval '1 day'
    ) AS newest
    CROSS JOIN jsonb_each(newest.volumes) AS volume
    LEFT JOIN LATERAL (
        -- One look an hour is enough for a slope over days.
        SELECT CASE WHEN max(at) - min(at) >= interval '6 hours' THEN
                86400 * regr_slope((looked.volumes -> volume.key ->> 'used')::double precision,
                                   extract(epoch FROM at)::double precision)
            END AS bytes_per_day
        FROM generate_series(now() - interval '7 days', now(), interval '1 hour') AS hour
        CROSS JOIN LATERAL (
            SELECT at, volumes FROM machine_minutes AS m
            WHERE m.host = newest.host AND at >= hour AND at < hour + interval '1 hour'
            ORDER BY m.host, at LIMIT 1
        ) AS looked
        WHERE looked.volumes ? volume.key
    ) AS slope ON true;

-- The whole schema of twitterstream, to be read from top to bottom.
-- A test proves it equal to the migrations; change both in the same commit.
-- PostgreSQL 15 or newer; no extension.

------------------------------------------------------------------------------------------------
-- Keys. A tweet's key is made of the time its frame was received and its source: the same after a
-- replay of the journal, in order of time, and without a sequence that a crash could tear.

-- Microseconds since 2020-01-01 UTC in the upper 51 bits, the source in the lower 12: until 2091.
CREATE FUNCTION tweet_key(received_at timestamptz, source_id integer) RETURNS bigint
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ((extract(epoch FROM received_at) * 1000000)::bigint - 1577836800000000) << 12 | source_id;

CREATE FUNCTION tweet_received_at(tweet_id bigint) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN timestamptz 'epoch' + ((tweet_id >> 12) + 1577836800000000) * interval '1 microsecond';

CREATE FUNCTION tweet_source(tweet_id bigint) RETURNS integer
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (tweet_id & 4095)::integer;

------------------------------------------------------------------------------------------------
-- What people say: sources and tracks. The daemon writes state and reason back.

CREATE TABLE sources (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL,
    network    text NOT NULL,
    url        text,                        -- base address; null: the network's own
    proxy      text,
    secrets    bytea,                       -- credentials, encrypted; null: none needed
    enabled    boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- written by the daemon:
    state      text NOT NULL DEFAULT 'idle',
    reason     text NOT NULL DEFAULT '',
    state_at   timestamptz,                 -- in this state since
    retry_at   timestamptz,                 -- waiting or paused until
    last_at    timestamptz,                 -- the last byte came

    CONSTRAINT sources_id_fits_tweet_key CHECK (id BETWEEN 1 AND 4095),
    CONSTRAINT sources_name_unique UNIQUE (name),
    CONSTRAINT sources_name_plain CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'),
    CONSTRAINT sources_network_known CHECK (network IN ('x_v2', 'x_v1')),
    CONSTRAINT sources_url_http CHECK (url ~ '^https?://[^\s]+$'),
    CONSTRAINT sources_proxy_http CHECK (proxy ~ '^https?://[^\s]+$'),
    CONSTRAINT sources_state_known CHECK (state IN
        ('idle', 'connecting', 'proving', 'streaming', 'waiting', 'paused', 'failed', 'disabled',
         'importing'))
);

CREATE TABLE tracks (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner      text,
    kind       text NOT NULL DEFAULT 'keyword',
    value      text NOT NULL,
    networks   text[],                      -- null: all
    enabled    boolean NOT NULL DEFAULT true,
    starts_at  timestamptz,
    ends_at    timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- written by the daemon:
    state      text NOT NULL DEFAULT 'pending',
    reason     text NOT NULL DEFAULT '',
    state_at   timestamptz,
    -- when room is short, and when time is up:
    priority   smallint NOT NULL DEFAULT 0, -- the lowest pause first when a disk fills
    keep_days  integer,                     -- its tweets stay so long; null: retention.tweets_days
    -- written by the pages:
    looked_at  timestamptz,                 -- somebody looked at it, or took its tweets

    CONSTRAINT tracks_kind_known CHECK (kind IN ('keyword', 'user', 'place', 'query')),
    -- What a value means is for the daemon to judge, in `reason`; this only keeps books out.
    CONSTRAINT tracks_value_length CHECK (char_length(value) <= 10000),
    CONSTRAINT tracks_owner_length CHECK (char_length(owner) BETWEEN 1 AND 200),
    CONSTRAINT tracks_networks_known CHECK (networks <@ ARRAY['x_v2', 'x_v1']),
    CONSTRAINT tracks_networks_some CHECK (cardinality(networks) > 0),
    CONSTRAINT tracks_window_order CHECK (ends_at > starts_at),
    CONSTRAINT tracks_keep_days_positive CHECK (keep_days > 0),
    CONSTRAINT tracks_state_known CHECK (state IN
        ('pending', 'active', 'partial', 'refused', 'paused', 'scheduled', 'ended'))
);

CREATE INDEX tracks_owner ON tracks (owner);

-- A bell, not a message: the daemon reads the tables again, so a lost or doubled ring costs at most
-- one reload_every. The columns that the daemon writes do not ring.
CREATE FUNCTION ring_bell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('twitterstream', TG_TABLE_NAME);
    RETURN NULL;
END
$$;

CREATE TRIGGER tracks_bell
    AFTER INSERT OR DELETE OR TRUNCATE
        OR UPDATE OF owner, kind, value, networks, enabled, starts_at, ends_at, priority ON tracks
    FOR EACH STATEMENT EXECUTE FUNCTION ring_bell();

CREATE TRIGGER sources_bell
    AFTER INSERT OR DELETE OR TRUNCATE
        OR UPDATE OF name, network, url, proxy, secrets, enabled ON sources
    FOR EACH STATEMENT EXECUTE FUNCTION ring_bell();

-- After an edit the old verdict no longer speaks of this row.
CREATE FUNCTION tracks_edited() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.state := 'pending';
    NEW.reason := '';
    NEW.state_at := now();
    RETURN NEW;
END
$$;

CREATE TRIGGER tracks_edited
    BEFORE UPDATE OF kind, value, networks, enabled, starts_at, ends_at ON tracks
    FOR EACH ROW EXECUTE FUNCTION tracks_edited();

------------------------------------------------------------------------------------------------
-- Who uses the web pages and the API, and what they did to which track. Secrets of theirs (the keys
-- of links, sessions and tokens) are here as SHA-256 only: 256 random bits need no slow hash.

CREATE TABLE users (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL,              -- what stands in tracks.owner; it never changes
    role       text NOT NULL DEFAULT 'user', -- a viewer only sees what is shared with him
    password   text,                       -- argon2id; null: not chosen yet
    enabled    boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz,                -- the last page or call, to the minute

    CONSTRAINT users_name_unique UNIQUE (name),
    CONSTRAINT users_name_plain CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    CONSTRAINT users_role_known CHECK (role IN ('admin', 'user', 'viewer')),
    CONSTRAINT users_password_hashed CHECK (password LIKE '$argon2id$%')
);

-- Links that work once: to choose a password.
CREATE TABLE invites (
    hash       bytea PRIMARY KEY,
    user_id    bigint REFERENCES users ON DELETE CASCADE,  -- null: whoever comes first, an admin
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

-- Personal tokens for programs.
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

-- Which tracks a person sees, and which of these may be changed: the one place where that is said.
-- The tracks of nobody (added by psql) are for admins.
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

-- Who did what to which track, whatever the way: `actor` comes from the setting
-- twitterstream.actor of the transaction. `before` and `after` hold what people say in the row.
CREATE TABLE track_history (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    track_id bigint NOT NULL,               -- no foreign key: the end of a track is history, too
    at       timestamptz NOT NULL DEFAULT now(),
    actor    text,                          -- a user's name; null: psql or the command line
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

------------------------------------------------------------------------------------------------
-- What was collected. Tweets and matches are cut by day of received_at, so that a day can be
-- archived and dropped as one piece.

CREATE TABLE tweets (
    id          bigint NOT NULL,
    received_at timestamptz NOT NULL,
    created_at  timestamptz,                -- claimed by the network
    deleted_at  timestamptz,                -- deletions: flag
    network     text NOT NULL,
    native_id   text NOT NULL,
    kind        text NOT NULL,
    lang        text,
    author_id   text,
    author      text,
    url         text,
    withheld    text[],                     -- countries; XX everywhere, XY a copyright claim
    text        text NOT NULL,
    doc         jsonb NOT NULL,             -- as received

    CONSTRAINT tweets_pkey PRIMARY KEY (id, received_at),
    CONSTRAINT tweets_kind_known CHECK (kind IN ('original', 'reply', 'repost', 'quote')),
    CONSTRAINT tweets_id_is_time CHECK (received_at = tweet_received_at(id))
) PARTITION BY RANGE (received_at);

CREATE INDEX tweets_author ON tweets (author_id, id);

-- Every native id ever met: a row here is what makes "stored once" true, across midnight,
-- reconnects, restarts and sources. With deleted_at it is a tombstone, which wins over a tweet that
-- comes later; tweet_id is null when the tombstone, or the news that it is withheld, came first.
CREATE TABLE identities (
    network    text NOT NULL,
    native_id  text COLLATE "C" NOT NULL,
    tweet_id   bigint,
    deleted_at timestamptz,
    withheld   text[],

    CONSTRAINT identities_pkey PRIMARY KEY (network, native_id),
    CONSTRAINT identities_say_something
        CHECK (tweet_id IS NOT NULL OR deleted_at IS NOT NULL OR withheld IS NOT NULL)
);

-- The tombstones of a day, for its archive.
CREATE INDEX identities_deleted ON identities (tweet_id) WHERE deleted_at IS NOT NULL;

-- What an author's account has lost; wins over tweets that come later.
CREATE TABLE author_tombstones (
    network       text NOT NULL,
    author_id     text NOT NULL,
    deleted_at    timestamptz,              -- tweets created until then are gone
    scrubbed_to   numeric,                  -- no places on tweets with ids up to this one
    withheld      text[],
    changed_at    timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT author_tombstones_pkey PRIMARY KEY (network, author_id)
);

CREATE TABLE matches (
    tweet_id    bigint NOT NULL,
    track_id    bigint NOT NULL,            -- no foreign key: a match outlives its track
    received_at timestamptz NOT NULL,
    term        text NOT NULL,
    field       text NOT NULL,
    part        text NOT NULL,              -- of which tweet: its own, the reposted, the quoted

    CONSTRAINT matches_pkey PRIMARY KEY (tweet_id, track_id, received_at),
    CONSTRAINT matches_field_known CHECK (field IN
        ('text', 'hashtag', 'mention', 'cashtag', 'link', 'author', 'reply', 'place', 'network')),
    CONSTRAINT matches_part_known CHECK (part IN ('own', 'reposted', 'quoted'))
) PARTITION BY RANGE (received_at);

CREATE INDEX matches_newest ON matches (track_id, received_at);

-- The tweets of tracks, for people: SELECT text FROM track_tweets WHERE track_id = 1
-- ORDER BY received_at DESC LIMIT 20 reads twenty index entries.
CREATE VIEW track_tweets AS
    SELECT matches.track_id, matches.term, matches.field, matches.part, tweets.*
    FROM matches
    JOIN tweets ON tweets.id = matches.tweet_id AND tweets.received_at = matches.received_at;

-- Make the partitions of one day (UTC) if they are missing, and attach them if somebody detached
-- them.
CREATE FUNCTION ensure_day(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    since timestamptz := day::timestamp AT TIME ZONE 'UTC';
    until timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
    parent text;
    child text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['tweets', 'matches'] LOOP
        child := parent || to_char(day, '_YYYYMMDD');
        CONTINUE WHEN EXISTS (SELECT FROM pg_inherits
                              WHERE inhrelid = to_regclass(child) AND NOT inhdetachpending);
        -- Two daemons may meet here at midnight.
        PERFORM pg_advisory_xact_lock(hashtext('twitterstream ensure_day'));
        IF EXISTS (SELECT FROM pg_inherits
                   WHERE inhrelid = to_regclass(child) AND inhdetachpending) THEN
            EXECUTE format('ALTER TABLE %I DETACH PARTITION %I FINALIZE', parent, child);
        END IF;
        CONTINUE WHEN EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(child));
        -- Attaching locks out nobody who reads or writes the parent; making a partition would.
        FOR attempt IN 1..2 LOOP
            IF to_regclass(child) IS NULL THEN
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                               child, parent);
            END IF;
            BEGIN
                EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                               parent, child, since, until);
                EXIT;
            EXCEPTION WHEN syntax_error_or_access_rule_violation OR integrity_constraint_violation
            THEN
                -- Something else has its name: out of the way, so that tweets can be stored.
                EXECUTE format('ALTER TABLE %I RENAME TO %I', child,
                               child || '_not_ours_' || floor(extract(epoch FROM clock_timestamp())));
            END;
        END LOOP;
    END LOOP;
END
$$;

------------------------------------------------------------------------------------------------
-- Roll-ups, kept in the same transaction as the tweets.

CREATE TABLE track_minutes (
    track_id bigint NOT NULL,
    minute   timestamptz NOT NULL,
    tweets   integer NOT NULL,

    CONSTRAINT track_minutes_pkey PRIMARY KEY (track_id, minute),
    CONSTRAINT track_minutes_positive CHECK (tweets >= 0)
) WITH (fillfactor = 70);

-- The same by hour and by day (UTC), with the bytes of the messages as they came: the minutes go
-- after a while (retention.minutes_days), these stay.
CREATE TABLE track_hours (
    track_id bigint NOT NULL,
    hour     timestamptz NOT NULL,
    tweets   integer NOT NULL,
    bytes    bigint NOT NULL,

    CONSTRAINT track_hours_pkey PRIMARY KEY (track_id, hour),
    CONSTRAINT track_hours_positive CHECK (tweets >= 0 AND bytes >= 0)
) WITH (fillfactor = 70);

CREATE INDEX track_hours_hour ON track_hours (hour);

CREATE TABLE track_days (
    track_id bigint NOT NULL,
    day      date NOT NULL,
    tweets   integer NOT NULL,
    bytes    bigint NOT NULL,

    CONSTRAINT track_days_pkey PRIMARY KEY (track_id, day),
    CONSTRAINT track_days_positive CHECK (tweets >= 0 AND bytes >= 0)
) WITH (fillfactor = 70);

CREATE INDEX track_days_day ON track_days (day);

-- What the tweets of a track are about: how many tweets each item is in, by hour and for all time.
-- Long tails are cut, so that the small numbers are lower bounds.
CREATE TABLE track_tops (
    track_id bigint NOT NULL,
    hour     timestamptz NOT NULL,          -- -infinity: all that is older than its hours here
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

-- What became of every frame: for each source and minute the outcomes add up to the frames taken,
-- except `repaired` and `withheld`, which are said beside them.
CREATE TABLE source_minutes (
    source_id integer NOT NULL,
    minute    timestamptz NOT NULL,
    outcome   text NOT NULL,
    frames    bigint NOT NULL,

    CONSTRAINT source_minutes_pkey PRIMARY KEY (source_id, minute, outcome),
    CONSTRAINT source_minutes_outcome_known CHECK (outcome IN
        ('stored',      -- a new tweet, credited to at least one track
         'unmatched',   -- a new tweet that matches no track, kept
         'dropped',     -- a tweet that matches no track, not kept (keep_unmatched: false)
         'duplicate',   -- stored before
         'deleted',     -- a tombstone was there first
         'control',     -- a message of the network that is no tweet
         'rejected',    -- in rejects
         'repaired',    -- of those stored: held characters that jsonb refuses
         'withheld'))   -- not frames: tweets that the network says it did not deliver
) WITH (fillfactor = 70);

CREATE TABLE source_hours (
    source_id integer NOT NULL,
    hour      timestamptz NOT NULL,
    outcome   text NOT NULL,                -- as in source_minutes
    frames    bigint NOT NULL,

    CONSTRAINT source_hours_pkey PRIMARY KEY (source_id, hour, outcome)
) WITH (fillfactor = 70);

------------------------------------------------------------------------------------------------
-- The daemon's own books.

-- How far each journal is stored; committed with the rows. A journal has a name of its own, since a
-- source that moves to another machine gets another journal.
CREATE TABLE positions (
    journal    uuid PRIMARY KEY,
    source_id  integer NOT NULL,
    position   bigint NOT NULL,
    withheld   bigint NOT NULL DEFAULT 0,   -- the network's running count on this connection
    updated_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT positions_position_positive CHECK (position >= 0)
);

-- In which order tweets were stored. A run is a stretch of a source in which keys only rise; another
-- one begins when older keys come late, as with a daemon that brings its journal after another one
-- had taken over. A reader that remembers run and key for each source misses nothing, ever.
CREATE TABLE runs (
    source_id integer NOT NULL,
    run       integer NOT NULL,
    first_id  bigint NOT NULL,
    last_id   bigint NOT NULL,

    CONSTRAINT runs_pkey PRIMARY KEY (source_id, run),
    CONSTRAINT runs_order CHECK (first_id <= last_id)
) WITH (fillfactor = 50);

-- Tweets with keys from `first` to `last` are stored by this transaction. While a daemon takes over
-- from another one, both may store at once: one after the other, here.
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

-- How far those have come that read what is stored (see runs) and keep books of it here.
CREATE TABLE followers (
    name   text PRIMARY KEY,
    cursor text NOT NULL,
    at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE gaps (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id integer NOT NULL,
    began_at  timestamptz NOT NULL,         -- the last byte before it
    ended_at  timestamptz,                  -- the first byte after it; null: still open
    cause     text NOT NULL,
    detail    text NOT NULL DEFAULT '',

    CONSTRAINT gaps_order CHECK (ended_at >= began_at),
    CONSTRAINT gaps_cause_known CHECK (cause IN
        ('network', 'http', 'rate_limit', 'silence', 'quota', 'refused', 'disk', 'filter_change',
         'idle', 'stopped', 'killed'))
);

CREATE UNIQUE INDEX gaps_one_open ON gaps (source_id) WHERE ended_at IS NULL;
CREATE INDEX gaps_newest ON gaps (source_id, began_at);

-- A source that is removed has promised nothing any more.
CREATE FUNCTION close_gap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE gaps SET ended_at = greatest(now(), began_at)
    WHERE source_id = OLD.id AND ended_at IS NULL;
    RETURN NULL;
END
$$;

CREATE TRIGGER sources_removed
    AFTER DELETE ON sources
    FOR EACH ROW EXECUTE FUNCTION close_gap();

CREATE TABLE rejects (
    id          bigint NOT NULL PRIMARY KEY,  -- tweet_key of the frame
    source_id   integer NOT NULL,
    received_at timestamptz NOT NULL,
    reason      text NOT NULL,
    detail      text NOT NULL DEFAULT '',
    body        bytea NOT NULL,             -- as received

    CONSTRAINT rejects_reason_known CHECK (reason IN
        ('too_large', 'not_utf8', 'not_json', 'not_object', 'too_deep', 'no_id', 'bad_shape',
         'refused'))
);

CREATE INDEX rejects_newest ON rejects (source_id, received_at);

-- What the daemon did, and why.
CREATE TABLE events (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT now(),
    source_id integer,
    kind      text NOT NULL,
    text      text NOT NULL,

    CONSTRAINT events_kind_known CHECK (kind IN
        ('state', 'control', 'journal', 'daemon', 'plan'))
);

CREATE INDEX events_newest ON events (source_id, at);

-- The daemons on this database: who collects, who stands by.
CREATE TABLE daemons (
    id         uuid PRIMARY KEY,
    host       text NOT NULL,
    pid        integer NOT NULL,
    role       text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT daemons_role_known CHECK (role IN ('collecting', 'standby'))
);

------------------------------------------------------------------------------------------------
-- What the monitor measures, says and keeps.

-- One row a minute and machine; after monitor.minutes_days one row an hour, which stays for
-- monitor.hours_days. Means over the row's time, unless another word stands there.
CREATE TABLE machine_minutes (
    host                 text NOT NULL,
    at                   timestamptz NOT NULL,      -- when its time began
    minutes              smallint NOT NULL DEFAULT 1,
    cpu_percent          real NOT NULL,
    cpu_percent_max      real NOT NULL,
    load                 real NOT NULL,             -- processes that run or wait, over one minute
    memory_used          bigint NOT NULL,
    memory_total         bigint NOT NULL,
    network_received     bigint NOT NULL,           -- bytes in the row's time
    network_sent         bigint NOT NULL,
    process_memory       bigint NOT NULL,           -- resident, the greatest
    process_files        integer NOT NULL,          -- open, the greatest
    loop_lag_max         real NOT NULL,             -- seconds
    journal_lag_bytes    bigint NOT NULL,           -- the greatest
    journal_lag_seconds  real NOT NULL,             -- the greatest
    commit_p50           real,                      -- seconds from received to committed; null: none
    commit_p99           real,                      -- the greatest
    batch_frames         real,
    database_up          real NOT NULL,             -- share of the time
    database_size        bigint,                    -- bytes, last known
    database_connections integer,                   -- the greatest
    oldest_transaction   real,                      -- seconds, the greatest
    partitions           integer,
    volumes              jsonb NOT NULL,            -- by name: path, total, used, free
    sources              jsonb NOT NULL,            -- by name: what came of it in the row's time
    tables               jsonb NOT NULL,            -- bytes by name, last known

    CONSTRAINT machine_minutes_pkey PRIMARY KEY (host, at),
    CONSTRAINT machine_minutes_minutes_known CHECK (minutes IN (1, 60))
);

CREATE INDEX machine_minutes_at ON machine_minutes (at);

-- Opened once, told at most daily, closed with an all-clear. To acknowledge one:
-- UPDATE alerts SET acknowledged_at = now() WHERE id = …
CREATE TABLE alerts (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule            text NOT NULL,
    subject         text NOT NULL DEFAULT '',       -- a source, a track, a volume, a machine
    host            text NOT NULL DEFAULT '',       -- whose daemon says so, for its own machine
    severity        text NOT NULL,
    text            text NOT NULL,                  -- what is wrong
    remedy          text NOT NULL,                  -- what to do
    opened_at       timestamptz NOT NULL,
    closed_at       timestamptz,
    told_at         timestamptz,                    -- the last message that was delivered
    told            integer NOT NULL DEFAULT 0,     -- messages so far
    told_severity   text,                           -- as it was in the last one
    missed          boolean NOT NULL DEFAULT false, -- a message could not be delivered yet
    all_clear_at    timestamptz,                    -- the end was told
    acknowledged_at timestamptz,                    -- somebody knows: not repeated any more
    acknowledged_by text,

    CONSTRAINT alerts_severity_known CHECK (severity IN ('notice', 'warning', 'critical')),
    CONSTRAINT alerts_order CHECK (closed_at >= opened_at)
);

CREATE UNIQUE INDEX alerts_one_open ON alerts (rule, subject, host) WHERE closed_at IS NULL;
CREATE INDEX alerts_newest ON alerts (opened_at);

-- Not told while a row here fits: INSERT INTO alert_mutes (rule, until) VALUES ('track_silent', …)
CREATE TABLE alert_mutes (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule       text NOT NULL,
    subject    text,                                -- null: every subject
    until      timestamptz,                         -- null: until the row goes
    reason     text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);

-- What the daemon does now and then, and how it went the last time.
CREATE TABLE chores (
    name       text PRIMARY KEY,
    ran_at     timestamptz NOT NULL,
    done_at    timestamptz,                         -- the last time that it went well
    took       real NOT NULL,                       -- seconds
    failed     text                                 -- why the last one did not go well
);

-- The archive of each day; what it holds is in its manifest, which lies beside it, too. A day that
-- got tweets after its partitions were dropped has another part.
CREATE TABLE archives (
    day         date NOT NULL,
    part        smallint NOT NULL DEFAULT 0,
    state       text NOT NULL,
    generation  integer NOT NULL DEFAULT 0,         -- how often it was written
    path        text NOT NULL,                      -- below archive.url
    tweets      bigint NOT NULL DEFAULT 0,
    matches     bigint NOT NULL DEFAULT 0,
    bytes       bigint NOT NULL DEFAULT 0,          -- of all its files
    tombstones  bigint NOT NULL DEFAULT 0,          -- of that day, that its files know of
    manifest    jsonb,
    started_at  timestamptz NOT NULL DEFAULT now(),
    verified_at timestamptz,
    dropped_at  timestamptz,                        -- the day's partitions went
    restored_at timestamptz,                        -- and came back
    authors_at  timestamptz,                        -- author_tombstones until then are heeded
    thinned_at  timestamptz,                        -- rows went one by one: the files are the truth
    problem     text,                               -- why the last attempt did not go well

    CONSTRAINT archives_pkey PRIMARY KEY (day, part),
    CONSTRAINT archives_state_known CHECK (state IN ('writing', 'verified', 'dropped', 'restored'))
);

-- Transactions that changed a day after it had been archived: what makes "unchanged since" cheap to
-- know. Only additions and no key, so that no writer ever waits for another one here.
CREATE TABLE archive_touches (
    day date NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id()
);

CREATE FUNCTION archive_touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM archive_touches
                   WHERE day = TG_ARGV[0]::date AND xid = pg_current_xact_id()) THEN
        INSERT INTO archive_touches (day) VALUES (TG_ARGV[0]::date);
    END IF;
    RETURN NULL;
END
$$;

-- From now on changes of this day are noted, and those of before forgotten: what is committed now
-- is what a snapshot sees that is taken after this transaction.
CREATE FUNCTION archive_watch(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    child text;
BEGIN
    FOREACH child IN ARRAY ARRAY['tweets', 'matches'] LOOP
        child := child || to_char(day, '_YYYYMMDD');
        CONTINUE WHEN to_regclass(child) IS NULL;
        IF NOT EXISTS (SELECT FROM pg_trigger
                       WHERE tgrelid = to_regclass(child) AND tgname = 'archive_touch') THEN
            EXECUTE format('CREATE TRIGGER archive_touch AFTER INSERT OR UPDATE OR DELETE ON %I '
                           'FOR EACH ROW EXECUTE FUNCTION archive_touch(%L)', child, day);
        END IF;
    END LOOP;
    DELETE FROM archive_touches WHERE archive_touches.day = archive_watch.day;
END
$$;

-- Keep everybody out of a day, the parents first, as writers come; whether its changes were noted.
CREATE FUNCTION archive_lock(day date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    child text;
    watched boolean := true;
BEGIN
    LOCK TABLE ONLY tweets, ONLY matches IN ACCESS EXCLUSIVE MODE;
    FOREACH child IN ARRAY ARRAY['tweets', 'matches'] LOOP
        child := child || to_char(day, '_YYYYMMDD');
        CONTINUE WHEN to_regclass(child) IS NULL;
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', child);
        watched := watched AND EXISTS (
            SELECT FROM pg_trigger WHERE tgrelid = to_regclass(child) AND tgname = 'archive_touch');
    END LOOP;
    RETURN watched;
END
$$;

-- The partitions of a day go, with all that is in them.
CREATE FUNCTION archive_drop(day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS %I', 'tweets' || to_char(day, '_YYYYMMDD'));
    EXECUTE format('DROP TABLE IF EXISTS %I', 'matches' || to_char(day, '_YYYYMMDD'));
    DELETE FROM archive_touches WHERE archive_touches.day = archive_drop.day;
END
$$;

-- A restored day is loaded into tables of these names, out of everybody's sight, and becomes the
-- day's partitions only when it is whole; all in one transaction.
CREATE FUNCTION archive_stage() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CREATE TABLE restoring_tweets (LIKE tweets INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
    CREATE TABLE restoring_matches (LIKE matches INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
END
$$;

-- What takes long, while nobody waits for it: the indexes that the parents have, and the proof that
-- all rows are of that day, so that attaching needs no look at them.
CREATE FUNCTION archive_finish(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    since timestamptz := day::timestamp AT TIME ZONE 'UTC';
    until timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
    parent text;
BEGIN
    ALTER TABLE restoring_tweets ADD PRIMARY KEY (id, received_at);
    CREATE INDEX ON restoring_tweets (author_id, id);
    ALTER TABLE restoring_matches ADD PRIMARY KEY (tweet_id, track_id, received_at);
    CREATE INDEX ON restoring_matches (track_id, received_at);
    FOREACH parent IN ARRAY ARRAY['tweets', 'matches'] LOOP
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT restoring CHECK '
                       '(received_at >= %L AND received_at < %L)',
                       'restoring_' || parent, since, until);
    END LOOP;
END
$$;

-- What came for that day meanwhile moves along; whether there was anything.
CREATE FUNCTION archive_attach(day date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    since timestamptz := day::timestamp AT TIME ZONE 'UTC';
    until timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
    parent text;
    child text;
    staged text;
    moved bigint;
    late boolean := false;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('twitterstream ensure_day'));
    FOREACH parent IN ARRAY ARRAY['tweets', 'matches'] LOOP
        child := parent || to_char(day, '_YYYYMMDD');
        staged := 'restoring_' || parent;
        IF to_regclass(child) IS NOT NULL THEN
            EXECUTE format('LOCK TABLE ONLY %I, %I IN ACCESS EXCLUSIVE MODE', parent, child);
            EXECUTE format('INSERT INTO %I SELECT * FROM %I', staged, child);
            GET DIAGNOSTICS moved = ROW_COUNT;
            late := late OR moved > 0;
            EXECUTE format('DROP TABLE %I', child);
        END IF;
        EXECUTE format('ALTER TABLE %I RENAME TO %I', staged, child);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       parent, child, since, until);
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT restoring', child);
    END LOOP;
    RETURN late;
END
$$;

-- Sealed segments of the journal, as they were copied to archive.url.
CREATE TABLE raw_archives (
    path      text PRIMARY KEY,                     -- below archive.url
    source_id integer NOT NULL,
    journal   uuid NOT NULL,
    position  bigint NOT NULL,                      -- of its first byte
    until     bigint NOT NULL,                      -- the position behind its last byte
    bytes     bigint NOT NULL,                      -- compressed
    sha256    bytea NOT NULL,
    began_at  timestamptz NOT NULL,                 -- of its first frame
    stored_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT raw_archives_once UNIQUE (journal, position)
);

CREATE INDEX raw_archives_began ON raw_archives (began_at);

-- Days of which retention took a part, while the rest stays: by which rule it was done the last
-- time, so that it is not done again. Where there is an archive, it is the truth of such a day.
CREATE TABLE thinned_days (
    day        date PRIMARY KEY,
    rule       text NOT NULL,
    thinned_at timestamptz NOT NULL DEFAULT now()
);

------------------------------------------------------------------------------------------------
-- What an administrator looks at. All of it from roll-ups, so that it is quick however much was
-- collected: no view here reads tweets or matches. Days and hours are those of UTC.

-- SELECT * FROM stats_tracks ORDER BY last_hour DESC: what each track brings, against what it
-- usually brings.
CREATE VIEW stats_tracks AS
    SELECT tracks.id, tracks.owner, tracks.kind, tracks.value, tracks.state, tracks.reason,
        coalesce(days.total, 0) AS total,
        coalesce(minutes.last_minute, 0) AS last_minute,    -- the last whole minute
        coalesce(minutes.last_hour, 0) AS last_hour,
        coalesce(hours.last_day, 0) AS last_day,
        usual.per_hour AS usual_hour,   -- mean of the last 7 whole days, or since it exists
        round(coalesce(minutes.last_hour, 0) / nullif(usual.per_hour, 0), 2) AS rate_ratio,
        coalesce(
            (SELECT minute FROM track_minutes
             WHERE track_id = tracks.id AND tweets > 0 ORDER BY minute DESC LIMIT 1),
            (SELECT hour FROM track_hours
             WHERE track_id = tracks.id AND tweets > 0 ORDER BY hour DESC LIMIT 1)) AS last_at
    FROM tracks
    CROSS JOIN (SELECT date_trunc('day', now(), 'UTC') AS midnight,
                    (now() AT TIME ZONE 'UTC')::date AS today) AS clock
    LEFT JOIN (
        SELECT track_id, sum(tweets) AS total,
            sum(tweets) FILTER (WHERE day >= (now() AT TIME ZONE 'UTC')::date - 7) AS recent,
            sum(tweets) FILTER (WHERE day = (now() AT TIME ZONE 'UTC')::date) AS today
        FROM track_days GROUP BY track_id
    ) AS days ON days.track_id = tracks.id
    CROSS JOIN LATERAL (
        SELECT sum(tweets) AS last_hour,
            sum(tweets) FILTER (WHERE minute = date_trunc('minute', now()) - interval '1 minute')
                AS last_minute
        FROM track_minutes
        WHERE track_id = tracks.id AND minute > now() - interval '1 hour'
    ) AS minutes
    CROSS JOIN LATERAL (
        SELECT sum(tweets) AS last_day FROM track_hours
        WHERE track_id = tracks.id AND hour > now() - interval '1 day'
    ) AS hours
    CROSS JOIN LATERAL (
        SELECT round(
            CASE WHEN tracks.created_at <= clock.midnight - interval '7 days'
                THEN (coalesce(days.recent, 0) - coalesce(days.today, 0)) / 168.0
                ELSE coalesce(days.recent, 0)
                    / greatest(extract(epoch FROM now() - tracks.created_at) / 3600, 1)
            END, 2) AS per_hour
    ) AS usual;

-- Each source: how it is, and what became of its frames, by outcome as in source_minutes.
CREATE VIEW stats_sources AS
    SELECT sources.id, sources.name, sources.network, sources.enabled,
        EXISTS (SELECT FROM pg_locks
                WHERE locktype = 'advisory' AND granted AND classid = 29815     -- stream/sources.py
                  AND objid = sources.id::oid
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        ) AS collected,                 -- by some daemon, at this moment
        sources.state, sources.reason, sources.state_at AS since, sources.last_at,
        hour.tweets::bigint AS tweets_last_hour,
        day.tweets::bigint AS tweets_last_day,
        total.tweets::bigint AS tweets_total,
        round(day.rejected / nullif(day.frames, 0), 4) AS reject_share,         -- of the last day
        gap.number AS gaps_last_day,
        gap.seconds::bigint AS gap_seconds_last_day,
        hour.outcomes AS last_hour,
        day.outcomes AS last_day,
        total.outcomes AS total
    FROM sources
    CROSS JOIN LATERAL (
        SELECT coalesce(jsonb_object_agg(outcome, frames), '{}') AS outcomes,
            coalesce(sum(frames) FILTER (WHERE outcome IN ('stored', 'unmatched')), 0) AS tweets
        FROM (SELECT outcome, sum(frames) AS frames FROM source_minutes
              WHERE source_id = sources.id AND minute > now() - interval '1 hour'
              GROUP BY outcome) AS found
    ) AS hour
    CROSS JOIN LATERAL (
        SELECT coalesce(jsonb_object_agg(outcome, frames), '{}') AS outcomes,
            coalesce(sum(frames) FILTER (WHERE outcome IN ('stored', 'unmatched')), 0) AS tweets,
            coalesce(sum(frames) FILTER (WHERE outcome = 'rejected'), 0) AS rejected,
            sum(frames) FILTER (WHERE outcome NOT IN ('repaired', 'withheld')) AS frames
        FROM (SELECT outcome, sum(frames) AS frames FROM source_hours
              WHERE source_id = sources.id AND hour > now() - interval '1 day'
              GROUP BY outcome) AS found
    ) AS day
    CROSS JOIN LATERAL (
        SELECT coalesce(jsonb_object_agg(outcome, frames), '{}') AS outcomes,
            coalesce(sum(frames) FILTER (WHERE outcome IN ('stored', 'unmatched')), 0) AS tweets
        FROM (SELECT outcome, sum(frames) AS frames FROM source_hours
              WHERE source_id = sources.id GROUP BY outcome) AS found
    ) AS total
    CROSS JOIN LATERAL (
        SELECT count(*) AS number,
            coalesce(round(sum(extract(epoch FROM
                coalesce(ended_at, now()) - greatest(began_at, now() - interval '1 day')))), 0)
                AS seconds
        FROM gaps
        WHERE source_id = sources.id AND coalesce(ended_at, now()) > now() - interval '1 day'
    ) AS gap;

-- Each source and hour, also those hours in which nothing came: what became of its frames, and the
-- seconds without delivery.
CREATE VIEW stats_hours AS
    SELECT source_id, sources.name AS source, hour,
        coalesce(frames, 0)::bigint AS frames,
        (coalesce(stored, 0) + coalesce(unmatched, 0))::bigint AS tweets,
        coalesce(stored, 0)::bigint AS stored,
        coalesce(unmatched, 0)::bigint AS unmatched,
        coalesce(dropped, 0)::bigint AS dropped,
        coalesce(duplicates, 0)::bigint AS duplicates,
        coalesce(deleted, 0)::bigint AS deleted,
        coalesce(control, 0)::bigint AS control,
        coalesce(rejected, 0)::bigint AS rejected,
        coalesce(repaired, 0)::bigint AS repaired,
        coalesce(withheld, 0)::bigint AS withheld,
        coalesce(gap_seconds, 0) AS gap_seconds
    FROM (
        SELECT source_id, hour,
            sum(frames) FILTER (WHERE outcome NOT IN ('repaired', 'withheld')) AS frames,
            sum(frames) FILTER (WHERE outcome = 'stored') AS stored,
            sum(frames) FILTER (WHERE outcome = 'unmatched') AS unmatched,
            sum(frames) FILTER (WHERE outcome = 'dropped') AS dropped,
            sum(frames) FILTER (WHERE outcome = 'duplicate') AS duplicates,
            sum(frames) FILTER (WHERE outcome = 'deleted') AS deleted,
            sum(frames) FILTER (WHERE outcome = 'control') AS control,
            sum(frames) FILTER (WHERE outcome = 'rejected') AS rejected,
            sum(frames) FILTER (WHERE outcome = 'repaired') AS repaired,
            sum(frames) FILTER (WHERE outcome = 'withheld') AS withheld
        FROM source_hours GROUP BY source_id, hour
    ) AS counted
    FULL JOIN (
        SELECT source_id, hour,
            round(sum(extract(epoch FROM least(coalesce(ended_at, now()), hour + interval '1 hour')
                                         - greatest(began_at, hour))), 3) AS gap_seconds
        FROM gaps, generate_series(date_trunc('hour', began_at, 'UTC'), coalesce(ended_at, now()),
                                   interval '1 hour') AS hour
        GROUP BY source_id, hour
    ) AS missed USING (source_id, hour)
    LEFT JOIN sources ON sources.id = source_id;

-- Each day: what it takes on disk.
CREATE VIEW stats_storage AS
    SELECT day,
        coalesce(counted.tweets, 0)::bigint AS tweets,  -- that were stored then
        coalesce(credited.matches, 0) AS matches,
        partitions.bytes::bigint AS bytes,              -- of its partitions; null: it has none
        round(partitions.bytes * 1000000 / nullif(counted.tweets, 0))::bigint
            AS bytes_per_million_tweets,
        raw.bytes::bigint AS raw_bytes,                 -- of the copies of its journal
        archived.state AS archive,                      -- null: not archived
        archived.bytes::bigint AS archive_bytes
    FROM (
        SELECT (hour AT TIME ZONE 'UTC')::date AS day, sum(frames) AS tweets
        FROM source_hours WHERE outcome IN ('stored', 'unmatched') GROUP BY 1
    ) AS counted
    FULL JOIN (
        SELECT to_date(right(relname, 8), 'YYYYMMDD') AS day,
            sum(pg_total_relation_size(oid)) AS bytes
        FROM pg_class
        WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
          AND relname ~ '^(tweets|matches)_\d{8}$'
          AND right(relname, 8) <= to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')
        GROUP BY 1
    ) AS partitions USING (day)
    FULL JOIN (
        SELECT day, string_agg(DISTINCT state, ', ') AS state, sum(bytes) AS bytes
        FROM archives GROUP BY day
    ) AS archived USING (day)
    LEFT JOIN (
        SELECT day, sum(tweets) AS matches FROM track_days GROUP BY day
    ) AS credited USING (day)
    LEFT JOIN (
        SELECT (began_at AT TIME ZONE 'UTC')::date AS day, sum(bytes) AS bytes
        FROM raw_archives GROUP BY 1
    ) AS raw USING (day);

-- Each day and track: its tweets, and the bytes of their messages as they came. A tweet of two
-- tracks counts for both.
CREATE VIEW stats_storage_tracks AS
    SELECT day, track_id, tweets, bytes FROM track_days;

-- Each volume of each machine: when it will be full if it fills as in the last 7 days. The speed is
-- null until 6 hours are known; the days are null, too, when it does not fill.
CREATE VIEW stats_forecast AS
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

-- machine_minutes without its jsonb.
CREATE VIEW stats_machine AS
    SELECT host, at, minutes, cpu_percent, cpu_percent_max, load, memory_used, memory_total,
        network_received, network_sent, process_memory, process_files, loop_lag_max,
        journal_lag_bytes, journal_lag_seconds, commit_p50, commit_p99, batch_frames,
        database_up, database_size, database_connections, oldest_transaction, partitions,
        (volumes -> 'data' ->> 'used')::bigint AS data_used,
        (volumes -> 'data' ->> 'free')::bigint AS data_free,
        (volumes -> 'journal' ->> 'used')::bigint AS journal_used,
        (volumes -> 'journal' ->> 'free')::bigint AS journal_free,
        (volumes -> 'postgres' ->> 'used')::bigint AS postgres_used,
        (volumes -> 'postgres' ->> 'free')::bigint AS postgres_free,
        (volumes -> 'archive' ->> 'used')::bigint AS archive_used,
        (volumes -> 'archive' ->> 'free')::bigint AS archive_free,
        came.frames, came.tweets, came.bytes            -- of all sources
    FROM machine_minutes
    CROSS JOIN LATERAL (
        SELECT coalesce(sum((value ->> 'frames')::bigint), 0)::bigint AS frames,
            coalesce(sum((value ->> 'tweets')::bigint), 0)::bigint AS tweets,
            coalesce(sum((value ->> 'bytes')::bigint), 0)::bigint AS bytes
        FROM jsonb_each(sources)
    ) AS came;

-- Whether all is well, in the first row, and below it everything that matters, trouble first.
CREATE VIEW stats_health AS
    WITH live AS (
        SELECT * FROM daemons WHERE seen_at > now() - interval '15 seconds'
    ), followed AS (
        SELECT * FROM stats_sources WHERE enabled
    ), found (thing, subject, ok, since, sentence) AS (
        SELECT 'daemon', '', EXISTS (SELECT FROM live),
            coalesce((SELECT min(started_at) FROM live), (SELECT max(seen_at) FROM daemons)),
            CASE WHEN EXISTS (SELECT FROM live)
                THEN (SELECT string_agg(format('%s:%s is %s', host, pid,
                        CASE role WHEN 'standby' THEN 'standing by' ELSE role END), ', ') FROM live)
                     || '.'
                ELSE 'No daemon runs on this database: start one.'
            END
        UNION ALL
        SELECT 'source', name,
            collected AND (state = 'idle'
                OR state = 'streaming' AND last_at > now() - interval '5 minutes'
                OR state IN ('connecting', 'proving') AND since > now() - interval '5 minutes'),
            CASE WHEN state = 'streaming' AND last_at < now() - interval '5 minutes'
                THEN last_at ELSE since END,
            CASE WHEN NOT collected THEN 'No daemon collects it.'
                WHEN state = 'streaming' AND last_at < now() - interval '5 minutes'
                    THEN 'It is connected, but nothing comes.'
                ELSE state || CASE reason WHEN '' THEN '.' ELSE ': ' || reason END
            END
        FROM followed
        UNION ALL
        SELECT 'tracks', '', count(*) FILTER (WHERE state = 'refused') = 0,
            max(state_at) FILTER (WHERE state = 'refused'),
            format('%s active, %s partial, %s refused, %s others.',
                count(*) FILTER (WHERE state = 'active'), count(*) FILTER (WHERE state = 'partial'),
                count(*) FILTER (WHERE state = 'refused'),
                count(*) FILTER (WHERE state NOT IN ('active', 'partial', 'refused')))
        FROM tracks
        UNION ALL
        SELECT 'rejects', name,
            reject_share <= 0.01 OR coalesce((last_day ->> 'rejected')::bigint, 0) < 10, NULL,
            format('%s %% of the frames of the last day could not be stored.',
                   round(reject_share * 100, 2))
        FROM followed WHERE reject_share IS NOT NULL
        UNION ALL
        SELECT 'partitions', '', count(*) = 2, NULL,
            CASE count(*) WHEN 2 THEN 'Those of tomorrow are there.'
                ELSE 'Those of tomorrow are missing; they are made with the first tweet.' END
        FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE relname ~ '^(tweets|matches)_' AND right(relname, 8)
            = to_char(now() AT TIME ZONE 'UTC' + interval '1 day', 'YYYYMMDD')
        UNION ALL
        SELECT 'volume', volume || ' of ' || host,
            free >= 0.1 * total AND coalesce(days_until_full > 7, true), NULL,
            format('%s GB of %s GB are free%s.', round(free / 1e9, 1), round(total / 1e9, 1),
                   '; it will be full in ' || days_until_full || ' days')
        FROM stats_forecast
        UNION ALL
        SELECT 'measuring', host, measured OR started, since,
            CASE WHEN measured THEN 'It is measured every minute.'
                WHEN started THEN 'It has just begun.'
                ELSE 'Nothing was measured there lately.' END
        FROM (
            SELECT live.host, min(started_at) > now() - interval '5 minutes' AS started,
                coalesce(max(newest.at) > now() - interval '5 minutes', false) AS measured,
                max(newest.at) AS since
            FROM live
            LEFT JOIN LATERAL (
                SELECT at FROM machine_minutes AS m WHERE m.host = live.host
                ORDER BY at DESC LIMIT 1
            ) AS newest ON true
            GROUP BY live.host
        ) AS measuring
        UNION ALL
        SELECT 'archive', to_char(day, 'YYYY-MM-DD'), false, started_at, problem
        FROM archives WHERE problem IS NOT NULL
        UNION ALL
        SELECT 'chore', name, false, ran_at, failed FROM chores WHERE failed IS NOT NULL
        UNION ALL
        SELECT 'alert', concat_ws(' ', rule, nullif(subject, ''), nullif(host, '')),
            severity = 'notice' OR acknowledged_at IS NOT NULL, opened_at,
            concat_ws(' ', text, remedy)
        FROM alerts WHERE closed_at IS NULL
    )
    SELECT thing, subject, ok, since, sentence FROM (
        SELECT 0 AS place, 'everything' AS thing, '' AS subject, bool_and(ok) AS ok,
            min(since) FILTER (WHERE NOT ok) AS since,
            CASE WHEN bool_and(ok) THEN 'All is well.'
                ELSE format('To be looked at: %s of %s things.',
                            count(*) FILTER (WHERE NOT ok), count(*)) END AS sentence
        FROM found
        UNION ALL
        SELECT 1, * FROM found
    ) AS rows
    ORDER BY place, ok, thing, subject;

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
        CONTINUE WHEN EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(child));
        -- Two daemons may meet here at midnight.
        PERFORM pg_advisory_xact_lock(hashtext('twitterstream ensure_day'));
        IF to_regclass(child) IS NULL THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                           child, parent, since, until);
        ELSIF NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(child)) THEN
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                           parent, child, since, until);
        END IF;
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
    commit_p99           real,
    batch_frames         real,
    database_up          real NOT NULL,             -- share of the time
    database_size        bigint,                    -- bytes, last known
    database_connections integer,
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

-- The partitions of a day go, with all that is in them.
CREATE FUNCTION archive_drop(day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS %I', 'tweets' || to_char(day, '_YYYYMMDD'));
    EXECUTE format('DROP TABLE IF EXISTS %I', 'matches' || to_char(day, '_YYYYMMDD'));
    DELETE FROM archive_touches WHERE archive_touches.day = archive_drop.day;
END
$$;

-- Sealed segments of the journal, as they were copied to archive.url.
CREATE TABLE raw_archives (
    path      text PRIMARY KEY,                     -- below archive.url
    source_id integer NOT NULL,
    journal   uuid NOT NULL,
    position  bigint NOT NULL,                      -- of its first byte
    bytes     bigint NOT NULL,                      -- compressed
    sha256    bytea NOT NULL,
    began_at  timestamptz NOT NULL,                 -- of its first frame
    stored_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX raw_archives_began ON raw_archives (began_at);

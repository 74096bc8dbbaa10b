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

    CONSTRAINT tracks_kind_known CHECK (kind IN ('keyword', 'user', 'place', 'query')),
    -- What a value means is for the daemon to judge, in `reason`; this only keeps books out.
    CONSTRAINT tracks_value_length CHECK (char_length(value) <= 10000),
    CONSTRAINT tracks_owner_length CHECK (char_length(owner) BETWEEN 1 AND 200),
    CONSTRAINT tracks_networks_known CHECK (networks <@ ARRAY['x_v2', 'x_v1']),
    CONSTRAINT tracks_networks_some CHECK (cardinality(networks) > 0),
    CONSTRAINT tracks_window_order CHECK (ends_at > starts_at),
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
        OR UPDATE OF owner, kind, value, networks, enabled, starts_at, ends_at ON tracks
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

-- What an author's account has lost; wins over tweets that come later.
CREATE TABLE author_tombstones (
    network       text NOT NULL,
    author_id     text NOT NULL,
    deleted_at    timestamptz,              -- tweets created until then are gone
    scrubbed_to   numeric,                  -- no places on tweets with ids up to this one
    withheld      text[],

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

-- Make the partitions of one day (UTC) if they are missing.
CREATE FUNCTION ensure_day(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    since timestamptz := day::timestamp AT TIME ZONE 'UTC';
    until timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
    parent text;
    child text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['tweets', 'matches'] LOOP
        child := parent || to_char(day, '_YYYYMMDD');
        IF to_regclass(child) IS NULL THEN
            -- Two daemons may meet here at midnight.
            PERFORM pg_advisory_xact_lock(hashtext('twitterstream ensure_day'));
            EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                           child, parent, since, until);
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

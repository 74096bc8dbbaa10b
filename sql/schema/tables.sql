-- Everything that is stored: tables, their constraints and indexes, and how keys are made. Then follow
-- functions.sql, views.sql, flat.sql and sql_access.sql. All are to be read; a test proves them equal to
-- the migrations, which are run: change both in the same commit. PostgreSQL 15 or newer; no extension.
--
-- Every table that grows has a bound, in its comment; stream/store has its pruning.

------------------------------------------------------------------------------------------------
-- Keys. A tweet's key is made of the time its frame was received and its source: the same after a
-- replay of the journal, in order of time, and without a sequence that a crash could break.

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
-- What people edit: sources and tracks. The daemon writes state and reason back.
-- Dates that a person may write stay between 1900 and 9999: programs cannot read all that Postgres
-- can store, as 'infinity' or years before Christ.

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
    last_at    timestamptz,                 -- when the last byte was received
    -- edited again, with a bus: how many writers of each database share its tweets
    lanes      integer NOT NULL DEFAULT 1,

    CONSTRAINT sources_id_fits_tweet_key CHECK (id BETWEEN 1 AND 4095),
    CONSTRAINT sources_name_unique UNIQUE (name),
    CONSTRAINT sources_name_plain CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'),
    CONSTRAINT sources_network_known CHECK (network IN ('x_v2', 'x_v1', 'bluesky', 'mastodon')),
    CONSTRAINT sources_url_http CHECK (url ~ '^https?://[^\s]+$'),
    CONSTRAINT sources_proxy_http CHECK (proxy ~ '^https?://[^\s]+$'),
    CONSTRAINT sources_state_known CHECK (state IN
        ('idle', 'connecting', 'connected', 'streaming', 'waiting', 'paused', 'failed', 'disabled',
         'importing')),
    CONSTRAINT sources_dates_in_range CHECK (
        least(created_at, state_at, retry_at, last_at) >= '1900-01-01 00:00+00'
        AND greatest(created_at, state_at, retry_at, last_at) <= '9999-12-31 00:00+00'),
    CONSTRAINT sources_lanes_range CHECK (lanes BETWEEN 1 AND 64)
);
COMMENT ON TABLE sources IS 'Bound: created by admins; at most 4,095';

-- The lanes of a source, beyond the first one in this database, which has the source's own id. The
-- native id of a tweet decides about its lane. Each lane has an id of its own for keys, runs and
-- positions, so that a reader's cursor knows how far it has read each; everything else names the source.
CREATE TABLE lanes (
    id        integer PRIMARY KEY DEFAULT nextval('sources_id_seq'), -- never that of a source
    source_id integer NOT NULL,             -- no foreign key: tweets outlive their source
    cell      text NOT NULL DEFAULT '',     -- the database that stores it; empty: this one
    number    integer NOT NULL,             -- within the cell
    -- The cell has no posts of before: the earliest of its lanes counts.
    takes_from timestamptz NOT NULL DEFAULT 'epoch',

    CONSTRAINT lanes_id_fits_tweet_key CHECK (id BETWEEN 1 AND 4095),
    CONSTRAINT lanes_cell_plain CHECK (cell ~ '^([a-z0-9][a-z0-9_-]{0,30})?$'),
    CONSTRAINT lanes_number_range CHECK (number BETWEEN 0 AND 63),
    CONSTRAINT lanes_number_unique UNIQUE (source_id, cell, number)
);
COMMENT ON TABLE lanes IS 'Bound: at most 4,095, with the sources; they stay with the tweets';

-- Which database this is, of an installation whose tweets are in several; no row: there is only this one.
CREATE TABLE cell_identity (
    is_only      boolean PRIMARY KEY DEFAULT true,
    installation uuid NOT NULL,             -- the same in all its databases
    name         text NOT NULL,             -- as in lanes.cell
    copied_at    timestamptz,               -- home's clock; all of before is copied here; null at home

    CONSTRAINT cell_identity_one_row CHECK (is_only),
    CONSTRAINT cell_identity_name_plain CHECK (name ~ '^([a-z0-9][a-z0-9_-]{0,30})?$')
);
COMMENT ON TABLE cell_identity IS 'Bound: one row';

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
    -- when the disk fills, and when tweets expire:
    priority   smallint NOT NULL DEFAULT 0, -- the lowest pause first when a disk fills
    keep_days  integer,                     -- retention of its tweets; null: retention.tweets_days
    -- written by the pages:
    last_viewed_at timestamptz,             -- its page was opened, or its tweets were downloaded
    -- written by the daemon; read it by the view track_reach:
    reach      jsonb,                       -- what each source delivers of it; null: none does

    CONSTRAINT tracks_kind_known CHECK (kind IN ('keyword', 'user', 'place', 'query')),
    -- The daemon parses the value and writes errors into `reason`; this is only an upper limit.
    CONSTRAINT tracks_value_length CHECK (char_length(value) <= 10000),
    CONSTRAINT tracks_owner_length CHECK (char_length(owner) BETWEEN 1 AND 200),
    CONSTRAINT tracks_networks_known CHECK (networks <@ ARRAY['x_v2', 'x_v1', 'bluesky', 'mastodon']),
    CONSTRAINT tracks_networks_some CHECK (cardinality(networks) > 0),
    CONSTRAINT tracks_networks_flat CHECK (array_ndims(networks) = 1),
    CONSTRAINT tracks_window_order CHECK (ends_at > starts_at),
    CONSTRAINT tracks_keep_days_positive CHECK (keep_days > 0),
    CONSTRAINT tracks_reach_list CHECK (jsonb_typeof(reach) = 'array'),
    CONSTRAINT tracks_state_known CHECK (state IN
        ('pending', 'active', 'partial', 'refused', 'paused', 'scheduled', 'ended')),
    CONSTRAINT tracks_dates_in_range CHECK (
        least(starts_at, ends_at, created_at, state_at, last_viewed_at) >= '1900-01-01 00:00+00'
        AND greatest(starts_at, ends_at, created_at, state_at, last_viewed_at)
            <= '9999-12-31 00:00+00')
);
COMMENT ON TABLE tracks IS 'Bound: created by users, within users.max_tracks';
CREATE INDEX tracks_owner ON tracks (owner);

-- Look-backs: searches of posts from before a track existed. A new row starts one:
-- INSERT INTO look_backs (track_id, place) VALUES (…, 'stored')
CREATE TABLE look_backs (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    track_id     bigint NOT NULL REFERENCES tracks ON DELETE CASCADE,
    place        text NOT NULL,             -- where to look
    since        timestamptz,               -- how far back; null: as far as there is
    author       text,                      -- of the place `author`: handle or DID
    requested_at timestamptz NOT NULL DEFAULT now(),
    requested_by text,                      -- a user's name; null: psql or the command line
    -- written by the daemon:
    state        text NOT NULL DEFAULT 'waiting',
    reason       text NOT NULL DEFAULT '',
    resume_at    jsonb,                     -- where to continue after a restart
    progress     real,                      -- from 0 to 1; null: not known
    looked       bigint NOT NULL DEFAULT 0, -- posts looked through
    found        bigint NOT NULL DEFAULT 0, -- of these, posts new to the track
    added        bigint NOT NULL DEFAULT 0, -- of these, posts that were not stored before
    started_at   timestamptz,
    updated_at   timestamptz,
    finished_at  timestamptz,
    turn_at      timestamptz,               -- when it was last begun or continued: users take turns
    worked       real NOT NULL DEFAULT 0,   -- seconds in which it advanced

    CONSTRAINT look_backs_place_known CHECK (place IN
        ('stored',      -- tweets in these tables
         'recorded',    -- messages in the journals and in the raw backup
         'network',     -- what the network can replay
         'author')),    -- all posts of one author
    CONSTRAINT look_backs_author_given CHECK ((author IS NOT NULL) = (place = 'author')),
    CONSTRAINT look_backs_author_length CHECK (char_length(author) BETWEEN 1 AND 2048),
    CONSTRAINT look_backs_requested_by_length CHECK (char_length(requested_by) BETWEEN 1 AND 200),
    CONSTRAINT look_backs_state_known CHECK (state IN
        ('waiting', 'running', 'done', 'failed', 'cancelled')),
    CONSTRAINT look_backs_progress_range CHECK (progress BETWEEN 0 AND 1),
    CONSTRAINT look_backs_counts_positive CHECK (looked >= 0 AND found >= 0 AND added >= 0),
    CONSTRAINT look_backs_dates_in_range CHECK (
        least(since, requested_at, started_at, updated_at, finished_at) >= '1900-01-01 00:00+00'
        AND greatest(since, requested_at, started_at, updated_at, finished_at)
            <= '9999-12-31 00:00+00')
);
COMMENT ON TABLE look_backs IS 'Bound: deleted with the track, or retention.history_days after it finished';
CREATE UNIQUE INDEX look_backs_one_unfinished ON look_backs (track_id, place, author)
    NULLS NOT DISTINCT WHERE state IN ('waiting', 'running');
CREATE INDEX look_backs_newest ON look_backs (track_id, id);

------------------------------------------------------------------------------------------------
-- Users of the web pages and the API, and the history of tracks. Secrets (the keys of links, sessions
-- and tokens) are stored as SHA-256 only: 256 random bits need no slow hash.

CREATE TABLE users (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL,              -- the value of tracks.owner; it never changes
    role       text NOT NULL DEFAULT 'user', -- a viewer only sees what is shared with them
    password   text,                       -- argon2id; null: not chosen yet
    enabled    boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz,                -- the last page or call, to the minute
    time_zone  text,                       -- of the pages, as Europe/Berlin; null: the browser's
    locale     text,                       -- how the pages write dates, as de; null: the browser's
    max_tracks integer,                    -- how many tracks they may own; null: any number

    CONSTRAINT users_name_unique UNIQUE (name),
    CONSTRAINT users_name_plain CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    CONSTRAINT users_role_known CHECK (role IN ('admin', 'user', 'viewer')),
    CONSTRAINT users_password_hashed CHECK (password LIKE '$argon2id$%'),
    CONSTRAINT users_dates_in_range CHECK (
        least(created_at, seen_at) >= '1900-01-01 00:00+00'
        AND greatest(created_at, seen_at) <= '9999-12-31 00:00+00'),
    CONSTRAINT users_time_zone_plain CHECK (time_zone ~ '^[A-Za-z0-9_+/-]{1,64}$'),
    CONSTRAINT users_locale_plain CHECK (locale ~ '^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,4}$'),
    CONSTRAINT users_max_tracks_range CHECK (max_tracks BETWEEN 0 AND 1000000)
);
COMMENT ON TABLE users IS 'Bound: created by admins';

-- One-time links for choosing a password.
CREATE TABLE invites (
    hash       bytea PRIMARY KEY,
    user_id    bigint REFERENCES users ON DELETE CASCADE,  -- null: for the first admin
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,

    CONSTRAINT invites_hash_sha256 CHECK (octet_length(hash) = 32),
    CONSTRAINT invites_dates_in_range CHECK (
        least(created_at, expires_at) >= '1900-01-01 00:00+00'
        AND greatest(created_at, expires_at) <= '9999-12-31 00:00+00')
);
COMMENT ON TABLE invites IS 'Bound: deleted a day after they expire';

CREATE TABLE sessions (
    hash       bytea PRIMARY KEY,
    user_id    bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    address    text NOT NULL DEFAULT '',
    agent      text NOT NULL DEFAULT '',

    CONSTRAINT sessions_hash_sha256 CHECK (octet_length(hash) = 32),
    CONSTRAINT sessions_dates_in_range CHECK (
        least(created_at, seen_at, expires_at) >= '1900-01-01 00:00+00'
        AND greatest(created_at, seen_at, expires_at) <= '9999-12-31 00:00+00')
);
COMMENT ON TABLE sessions IS 'Bound: deleted a day after they expire (web.session_days)';
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
    CONSTRAINT tokens_scopes_some CHECK (cardinality(scopes) > 0),
    CONSTRAINT tokens_scopes_flat CHECK (array_ndims(scopes) = 1),
    CONSTRAINT tokens_dates_in_range CHECK (
        least(created_at, used_at, expires_at) >= '1900-01-01 00:00+00'
        AND greatest(created_at, used_at, expires_at) <= '9999-12-31 00:00+00')
);
COMMENT ON TABLE tokens IS 'Bound: created by users; at most 50 each';
CREATE INDEX tokens_user ON tokens (user_id);

CREATE TABLE track_shares (
    track_id  bigint NOT NULL REFERENCES tracks ON DELETE CASCADE,
    user_id   bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    shared_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT track_shares_pkey PRIMARY KEY (track_id, user_id),
    CONSTRAINT track_shares_dates_in_range CHECK (
        shared_at BETWEEN '1900-01-01 00:00+00' AND '9999-12-31 00:00+00')
);
COMMENT ON TABLE track_shares IS 'Bound: created by users; deleted with the track or the user';
CREATE INDEX track_shares_user ON track_shares (user_id);

-- Logins to Postgres that users have for reading their tweets by SQL (sql_access.sql). The name alone
-- would not do: the role of another database may have had it before.
CREATE TABLE sql_roles (
    user_id  bigint PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    role     name NOT NULL,
    role_oid oid NOT NULL,

    CONSTRAINT sql_roles_role_unique UNIQUE (role)
);
COMMENT ON TABLE sql_roles IS 'Bound: at most one row for each user; deleted with the user';

-- The audit log of tracks: `actor` is the setting twitterstream.actor of the transaction;
-- `before` and `after` hold the columns that people edit.
CREATE TABLE track_history (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    track_id bigint NOT NULL,               -- no foreign key: removed tracks have a history, too
    at       timestamptz NOT NULL DEFAULT now(),
    actor    text,                          -- a user's name; null: psql or the command line
    action   text NOT NULL,
    before   jsonb,
    after    jsonb,

    CONSTRAINT track_history_action_known CHECK (action IN
        ('added', 'changed', 'paused', 'resumed', 'removed', 'shared', 'unshared',
         'exported'))            -- `after` says what of its tweets
);
COMMENT ON TABLE track_history IS 'Bound: retention.history_days';
CREATE INDEX track_history_newest ON track_history (track_id, id);

------------------------------------------------------------------------------------------------
-- Exports: tweets of tracks as files to download, written in the background by a process of the daemon.

CREATE TABLE exports (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id      bigint REFERENCES users ON DELETE CASCADE, -- null: the command line
    tracks       bigint[] NOT NULL,
    format       text NOT NULL,
    columns      text NOT NULL DEFAULT 'everything', -- a set of columns
    since        timestamptz,               -- of received_at; null: from the first tweet on
    until        timestamptz NOT NULL,      -- exclusive
    words        text NOT NULL DEFAULT '',  -- all of them must be in the text
    time_zone    text NOT NULL DEFAULT 'UTC', -- of local times
    part_rows    integer NOT NULL,          -- of each file, at most
    pseudonym_key bytea,                    -- pseudonyms differ in each export; null: none are used
    requested_at timestamptz NOT NULL DEFAULT now(),
    -- written by the process:
    state        text NOT NULL DEFAULT 'waiting',
    reason       text NOT NULL DEFAULT '',
    worker       uuid,                      -- the process that does it
    leased_until timestamptz,               -- then another one may take over
    progress     real,                      -- from 0 to 1; null: not known
    rows         bigint NOT NULL DEFAULT 0,
    size         bigint NOT NULL DEFAULT 0, -- bytes of its files
    complete     boolean NOT NULL DEFAULT false, -- all parts are written
    deletions    bigint,                    -- in deletion_log: its parts lack tweets deleted until then
    valid_until  timestamptz,               -- as `deletions`, as a time
    host         text NOT NULL DEFAULT '',  -- the machine that has the files
    sha256       text,                      -- of the finished file
    started_at   timestamptz,
    updated_at   timestamptz,
    finished_at  timestamptz,
    expires_at   timestamptz,               -- then the file is deleted
    notified_at  timestamptz,               -- a message about its end was sent
    graph        text NOT NULL DEFAULT 'co-hashtag',  -- these three: of the format gexf
    min_weight   integer NOT NULL DEFAULT 1,
    max_nodes    integer NOT NULL DEFAULT 10000,
    nodes        bigint,                    -- of the finished graph; null: of other formats, not known
    edges        bigint,

    CONSTRAINT exports_tracks_some CHECK (cardinality(tracks) BETWEEN 1 AND 1000),
    CONSTRAINT exports_tracks_flat CHECK (array_ndims(tracks) = 1),
    CONSTRAINT exports_format_known CHECK (format IN
        ('csv', 'excel', 'xlsx', 'ndjson', 'received', 'parquet', 'ids', 'relations', 'gexf')),
    CONSTRAINT exports_columns_known CHECK (columns IN ('simple', 'twarc', '4cat', 'everything')),
    CONSTRAINT exports_words_length CHECK (char_length(words) <= 1000),
    CONSTRAINT exports_time_zone_plain CHECK (time_zone ~ '^[A-Za-z0-9_+/-]{1,64}$'),
    CONSTRAINT exports_pseudonym_key_length CHECK (octet_length(pseudonym_key) = 32),
    CONSTRAINT exports_part_rows_range CHECK (part_rows BETWEEN 1 AND 1000000),
    CONSTRAINT exports_state_known CHECK (state IN
        ('waiting', 'running', 'done', 'failed', 'cancelled',
         'expired')),  -- it was done, and its file is deleted
    CONSTRAINT exports_progress_range CHECK (progress BETWEEN 0 AND 1),
    CONSTRAINT exports_counts_positive CHECK (rows >= 0 AND size >= 0),
    CONSTRAINT exports_sha256_hexadecimal CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT exports_window_order CHECK (until > since),
    CONSTRAINT exports_dates_in_range CHECK (
        least(since, until, requested_at, started_at, updated_at, finished_at, expires_at)
            >= '1900-01-01 00:00+00'
        AND greatest(since, until, requested_at, started_at, updated_at, finished_at, expires_at)
            <= '9999-12-31 00:00+00'),
    CONSTRAINT exports_graph_known CHECK (graph IN
        ('co-hashtag', 'mention', 'reply', 'author-hashtag', 'host-hashtag')),
    CONSTRAINT exports_min_weight_range CHECK (min_weight BETWEEN 1 AND 1000000),
    CONSTRAINT exports_max_nodes_range CHECK (max_nodes BETWEEN 1 AND 1000000),
    CONSTRAINT exports_graph_counts_positive CHECK (nodes >= 0 AND edges >= 0)
);
COMMENT ON TABLE exports IS 'Bound: retention.history_days after they were requested';
CREATE INDEX exports_unfinished ON exports (id) WHERE state IN ('waiting', 'running');
CREATE INDEX exports_user ON exports (user_id, id);

-- The files of an export that are finished: after a kill it continues after the last one.
CREATE TABLE export_parts (
    export_id bigint NOT NULL REFERENCES exports ON DELETE CASCADE,
    number    integer NOT NULL,             -- from 1
    after_id  bigint NOT NULL,              -- it has the tweets with keys above this one
    last_id   bigint NOT NULL,              -- up to this one
    rows      bigint NOT NULL,
    size      bigint NOT NULL,              -- bytes
    sha256    text NOT NULL,
    archived  boolean NOT NULL,             -- some of its tweets are from archives
    name      text NOT NULL DEFAULT 'tweets',  -- of the file: a part can have several

    CONSTRAINT export_parts_pkey PRIMARY KEY (export_id, number, name),
    CONSTRAINT export_parts_order CHECK (last_id > after_id),
    CONSTRAINT export_parts_sha256_hexadecimal CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT export_parts_name_known CHECK (name IN
        ('tweets', 'hashtags', 'mentions', 'links', 'media', 'nodes', 'edges'))
);
COMMENT ON TABLE export_parts IS 'Bound: as their exports, which are bounded in bytes';

------------------------------------------------------------------------------------------------
-- What was collected. Tweets and matches are partitioned by day of received_at, so that a day can be
-- archived and dropped as a whole.

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
    run         integer,                    -- in ingest_runs; null: the first one of its source
    edited_at   timestamptz,                -- when the newest version was received; null: the first

    CONSTRAINT tweets_pkey PRIMARY KEY (id, received_at),
    CONSTRAINT tweets_kind_known CHECK (kind IN ('original', 'reply', 'repost', 'quote')),
    CONSTRAINT tweets_id_is_time CHECK (received_at = tweet_received_at(id))
) PARTITION BY RANGE (received_at);
COMMENT ON TABLE tweets IS 'Bound: retention.tweets_days, retention.unmatched_days, tracks.keep_days';
CREATE INDEX tweets_author ON tweets (author_id, id);

-- Native ids of tweets that are stored, or were until retention.ids_days ago: a row here is what
-- guarantees "stored once", across midnight, reconnects, restarts and sources. With deleted_at it is
-- a tombstone, which wins over a tweet that arrives later. tweet_id is null when the network reported
-- the deletion or the withholding before the tweet.
CREATE TABLE tweet_ids (
    network    text NOT NULL,
    native_id  text COLLATE "C" NOT NULL,
    tweet_id   bigint,
    deleted_at timestamptz,
    withheld   text[],
    noted_at   timestamptz,             -- when `withheld` was reported; null: with the tweet, or before 0004

    CONSTRAINT tweet_ids_pkey PRIMARY KEY (network, native_id),
    CONSTRAINT tweet_ids_say_something
        CHECK (tweet_id IS NOT NULL OR deleted_at IS NOT NULL OR withheld IS NOT NULL)
);
COMMENT ON TABLE tweet_ids IS 'Bound: while the tweet is stored, then retention.ids_days; tombstones: retention.deletions_days, of tweets never stored from Bluesky and Mastodon retention.unseen_deletions_hours';

-- Finds the tombstones of a day for its archive.
CREATE INDEX tweet_ids_deleted ON tweet_ids (tweet_id) WHERE deleted_at IS NOT NULL;

-- Deletions of tweets that were stored, for readers who have passed them on. The order in which they
-- are read is that of `number`: given by the readers, one at a time, when the deletion is committed,
-- so that no number appears below one that was read. It is about the time, in microseconds since 1970.
CREATE TABLE deletion_log (
    tweet_id   bigint PRIMARY KEY,
    deleted_at timestamptz NOT NULL,
    tracks     bigint[] NOT NULL,       -- that it belonged to; of an archived day, once its archive is rewritten
    number     bigint,                  -- null: nobody has read it yet

    CONSTRAINT deletion_log_number_unique UNIQUE (number)
);
COMMENT ON TABLE deletion_log IS 'Bound: retention.deletions_days';
CREATE INDEX deletion_log_unnumbered ON deletion_log (tweet_id) WHERE number IS NULL;

-- Deletions that concern all tweets of an author; they win over tweets that arrive later.
CREATE TABLE author_tombstones (
    network       text NOT NULL,
    author_id     text NOT NULL,
    deleted_at    timestamptz,              -- tweets created until then are deleted
    scrubbed_to   numeric,                  -- no places on tweets with ids up to this one
    withheld      text[],
    changed_at    timestamptz NOT NULL DEFAULT now(),
    pending       text[] NOT NULL DEFAULT '{}', -- what is not applied to stored tweets yet
    hidden_at     timestamptz,              -- of accounts that are erased if they stay hidden
    held          boolean NOT NULL DEFAULT true, -- a tweet of the author is stored, or may be

    CONSTRAINT author_tombstones_pkey PRIMARY KEY (network, author_id),
    CONSTRAINT author_tombstones_pending_known
        CHECK (pending <@ ARRAY['deleted', 'scrubbed', 'withheld'])
);
COMMENT ON TABLE author_tombstones IS 'Bound: retention.deletions_days after the last change; without a held tweet retention.unseen_deletions_hours';
CREATE INDEX author_tombstones_pending ON author_tombstones (changed_at) WHERE pending <> '{}';
CREATE INDEX author_tombstones_hidden ON author_tombstones (hidden_at) WHERE hidden_at IS NOT NULL;
CREATE INDEX author_tombstones_unheld ON author_tombstones (changed_at) WHERE NOT held;

-- All authors of stored tweets on networks whose messages name them by id only: their handles are
-- looked up afterwards, never while a tweet is stored.
CREATE TABLE accounts (
    network    text NOT NULL,
    author_id  text NOT NULL,
    handle     text,                        -- handle.invalid: it claims one that is not its own
    seen_at    timestamptz NOT NULL DEFAULT now(), -- of the newest tweet, to the day
    checked_at timestamptz,                 -- when `handle` was looked up
    due_at     timestamptz DEFAULT now(),   -- when to look it up; null: not until an event says so
    failures   integer NOT NULL DEFAULT 0,  -- in a row
    resync_at  timestamptz,                 -- when to compare stored tweets with the author's own

    CONSTRAINT accounts_pkey PRIMARY KEY (network, author_id),
    CONSTRAINT accounts_checked CHECK (handle IS NULL OR checked_at IS NOT NULL)
);
COMMENT ON TABLE accounts IS 'Bound: authors of tweets stored within retention.accounts_days';
CREATE INDEX accounts_due ON accounts (network, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX accounts_resync ON accounts (network, resync_at) WHERE resync_at IS NOT NULL;

-- Handles that tracks name, with the ids to match.
CREATE TABLE tracked_accounts (
    network    text NOT NULL,
    handle     text NOT NULL,
    author_id  text,                        -- null: no account has the handle, if it was checked
    wanted_at  timestamptz NOT NULL DEFAULT now(), -- when a track named it last, to the hour
    checked_at timestamptz,
    due_at     timestamptz NOT NULL DEFAULT now(),
    failures   integer NOT NULL DEFAULT 0,  -- in a row

    CONSTRAINT tracked_accounts_pkey PRIMARY KEY (network, handle)
);
COMMENT ON TABLE tracked_accounts IS 'Bound: handles that tracks named within two days';
CREATE INDEX tracked_accounts_id ON tracked_accounts (network, author_id);

CREATE TABLE matches (
    tweet_id    bigint NOT NULL,
    track_id    bigint NOT NULL,            -- no foreign key: a match outlives its track
    received_at timestamptz NOT NULL,
    term        text NOT NULL,
    field       text NOT NULL,
    part        text NOT NULL,              -- of which tweet: its own, the reposted, the quoted
    look_back   boolean NOT NULL DEFAULT false, -- found by a look-back, not when it was received

    CONSTRAINT matches_pkey PRIMARY KEY (tweet_id, track_id, received_at),
    CONSTRAINT matches_field_known CHECK (field IN
        ('text', 'hashtag', 'mention', 'cashtag', 'link', 'description', 'author', 'reply', 'place',
         'network')),
    CONSTRAINT matches_part_known CHECK (part IN ('own', 'reposted', 'quoted'))
) PARTITION BY RANGE (received_at);
COMMENT ON TABLE matches IS 'Bound: as their tweets';
CREATE INDEX matches_newest ON matches (track_id, received_at);

------------------------------------------------------------------------------------------------
-- Roll-ups, kept in the same transaction as the tweets.

CREATE TABLE track_minutes (
    track_id bigint NOT NULL,
    minute   timestamptz NOT NULL,
    tweets   integer NOT NULL,

    CONSTRAINT track_minutes_pkey PRIMARY KEY (track_id, minute),
    CONSTRAINT track_minutes_positive CHECK (tweets >= 0)
) WITH (fillfactor = 70);
COMMENT ON TABLE track_minutes IS 'Bound: retention.track_minutes_days';

-- The same by hour and by day (UTC), with the bytes of the messages as received: they are kept when
-- the minutes have expired (retention.track_minutes_days).
CREATE TABLE track_hours (
    track_id bigint NOT NULL,
    hour     timestamptz NOT NULL,
    tweets   integer NOT NULL,
    bytes    bigint NOT NULL,

    CONSTRAINT track_hours_pkey PRIMARY KEY (track_id, hour),
    CONSTRAINT track_hours_positive CHECK (tweets >= 0 AND bytes >= 0)
) WITH (fillfactor = 70);
COMMENT ON TABLE track_hours IS 'Bound: retention.counts_days';
CREATE INDEX track_hours_hour ON track_hours (hour);

CREATE TABLE track_days (
    track_id bigint NOT NULL,
    day      date NOT NULL,
    tweets   integer NOT NULL,
    bytes    bigint NOT NULL,

    CONSTRAINT track_days_pkey PRIMARY KEY (track_id, day),
    CONSTRAINT track_days_positive CHECK (tweets >= 0 AND bytes >= 0)
) WITH (fillfactor = 70);
COMMENT ON TABLE track_days IS 'Bound: retention.counts_days';
CREATE INDEX track_days_day ON track_days (day);

-- What the tweets of a track are about: how many tweets each item is in, by hour and for all time.
-- Only the most frequent items are kept, so counts of rare ones may be too low.
CREATE TABLE track_top_items (
    track_id bigint NOT NULL,
    hour     timestamptz NOT NULL,          -- -infinity: all that is older than its hours here
    aspect   text NOT NULL,
    item     text NOT NULL,
    tweets   integer NOT NULL,

    CONSTRAINT track_top_items_pkey PRIMARY KEY (track_id, hour, aspect, item),
    CONSTRAINT track_top_items_aspect_known CHECK (aspect IN
        ('hashtag', 'author', 'mention', 'link', 'lang', 'kind')),
    CONSTRAINT track_top_items_item_length CHECK (char_length(item) BETWEEN 1 AND 500),
    CONSTRAINT track_top_items_positive CHECK (tweets > 0)
);
COMMENT ON TABLE track_top_items IS 'Bound: for each track and aspect 1,000 items for each of 25 hours, and 1,000 for older ones';
CREATE INDEX track_top_items_hour ON track_top_items (hour);

-- The outcome of every frame: for each source and minute the outcomes add up to the frames read,
-- except `repaired` and `undelivered`, which are counted in addition.
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
         'opted_out',   -- a tweet of an author who asks not to be collected, not kept
         'duplicate',   -- stored before
         'deleted',     -- a tombstone was there first
         'control',     -- a message of the network that is not a tweet
         'rejected',    -- in rejects
         'repaired',    -- of those stored: held characters that jsonb refuses
         'undelivered')) -- not frames: tweets that the network says it did not deliver
) WITH (fillfactor = 70);
COMMENT ON TABLE source_minutes IS 'Bound: retention.track_minutes_days';

CREATE TABLE source_hours (
    source_id integer NOT NULL,
    hour      timestamptz NOT NULL,
    outcome   text NOT NULL,                -- as in source_minutes
    frames    bigint NOT NULL,

    CONSTRAINT source_hours_pkey PRIMARY KEY (source_id, hour, outcome)
) WITH (fillfactor = 70);
COMMENT ON TABLE source_hours IS 'Bound: retention.counts_days';

------------------------------------------------------------------------------------------------
-- The daemon's own records: positions, runs, gaps, rejects, events.

-- How far each journal is stored; committed with the rows. A journal has a name of its own, since a
-- source that moves to another machine gets another journal.
CREATE TABLE positions (
    journal    uuid NOT NULL,
    source_id  integer NOT NULL,            -- or the lane's id
    position   bigint NOT NULL,
    undelivered bigint NOT NULL DEFAULT 0,  -- the network's running count on this connection
    updated_at timestamptz NOT NULL DEFAULT now(),
    network_cursor jsonb,                   -- where the network can resume: host, wire, seq, time
    lanes      integer[],                   -- that share the journal's frames; null: one has them all
    bus_created timestamptz,                -- these two: the stream, and the block of it stored last
    bus_sequence bigint,

    CONSTRAINT positions_position_positive CHECK (position >= 0),
    CONSTRAINT positions_pkey PRIMARY KEY (journal, source_id),
    CONSTRAINT positions_bus_sequence_positive CHECK (bus_sequence > 0),
    CONSTRAINT positions_bus_whole CHECK ((bus_created IS NULL) = (bus_sequence IS NULL))
);
COMMENT ON TABLE positions IS 'Bound: one row for each data folder and lane that ever collected';

-- The order in which tweets were stored. A run is a sequence of a source's tweets in which keys rise;
-- each tweet belongs to one run, and most sources have one. Tweets with older keys than its last one
-- (of a daemon that stores its journal after another one had taken over, or after a clock was set
-- back) go to another run whose last key is older than theirs, or begin a run. A reader that
-- remembers its last key of each run misses nothing and reads nothing twice.
CREATE TABLE ingest_runs (
    source_id integer NOT NULL,
    run       integer NOT NULL,
    first_id  bigint NOT NULL,
    last_id   bigint NOT NULL,
    former    boolean NOT NULL DEFAULT false,   -- from before tweets.run: needed to read old cursors

    CONSTRAINT ingest_runs_pkey PRIMARY KEY (source_id, run),
    CONSTRAINT ingest_runs_order CHECK (first_id <= last_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE ingest_runs IS 'Bound: one row for each source; later runs are deleted 30 days after their last tweet is dropped';

-- How far each periodic job and each sink has read what is stored: an offset of its own kind.
CREATE TABLE consumer_cursors (
    name   text PRIMARY KEY,
    cursor text NOT NULL,
    at     timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE consumer_cursors IS 'Bound: one row for each internal reader';

-- Where tweets are passed on to: whether that works.
CREATE TABLE sinks (
    name       text PRIMARY KEY,
    reason     text NOT NULL DEFAULT '',    -- why it fails, and what to do; empty: it does not
    late_since timestamptz,                 -- since when tweets wait; null: none does
    seen_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE sinks IS 'Bound: deleted a day after they last ran';

-- Where users have the tweets of their tracks sent to. `position`: what comes after it is not sent yet.
CREATE TABLE webhooks (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id          bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    name             text NOT NULL,
    url              text NOT NULL,
    tracks           bigint[],              -- null: all that the user sees
    secrets          bytea,                 -- for signatures, encrypted; null: lost, choose a new one
    old_secret_until timestamptz,           -- until then the former secret signs as well
    state            text NOT NULL DEFAULT 'active', -- paused by the user, or disabled by the daemon
    reason           text NOT NULL DEFAULT '', -- why it fails, or was disabled; empty: it does not
    failing_since    timestamptz,           -- the first failure since its last success
    position         text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT webhooks_name_unique UNIQUE (user_id, name),
    CONSTRAINT webhooks_name_length CHECK (char_length(name) BETWEEN 1 AND 100),
    CONSTRAINT webhooks_url_http CHECK (url ~ '^https?://[^\s]+$'),
    CONSTRAINT webhooks_url_length CHECK (char_length(url) <= 2000),
    CONSTRAINT webhooks_tracks_some CHECK (cardinality(tracks) BETWEEN 1 AND 1000),
    CONSTRAINT webhooks_tracks_flat CHECK (array_ndims(tracks) = 1),
    CONSTRAINT webhooks_state_known CHECK (state IN ('active', 'paused', 'disabled'))
);
COMMENT ON TABLE webhooks IS 'Bound: created by users; at most sinks.webhooks.max_per_user each';

-- Messages to webhooks: what each is about, and what became of it. A row is there before its first try,
-- so that all tries have the same message_id.
CREATE TABLE webhook_deliveries (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook_id bigint NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    message_id text NOT NULL,               -- the header webhook-id
    event      text NOT NULL,
    tweets     bigint[] NOT NULL,           -- read again for each try: the first and last key are its range
    position   text NOT NULL DEFAULT '',    -- the webhook's position after it
    state      text NOT NULL,               -- waiting: its position waits for it; again: sent again, or a test
    created_at timestamptz NOT NULL,        -- the timestamp in the message
    began_at   timestamptz NOT NULL DEFAULT now(), -- its tries end three days later
    next_at    timestamptz DEFAULT now(),   -- of its next try; null: it is finished
    tries      integer NOT NULL DEFAULT 0,
    tried_at   timestamptz,                 -- the last try
    seconds    real,                        -- that it took
    status     integer,                     -- of HTTP; null: there was no answer
    result     text NOT NULL DEFAULT '',    -- why it failed, in words
    answer     text NOT NULL DEFAULT '',    -- the beginning of the receiver's answer

    CONSTRAINT webhook_deliveries_event_known CHECK (event IN
        ('tweets.matched', 'tweet.deleted', 'webhook.test')),
    CONSTRAINT webhook_deliveries_state_known CHECK (state IN
        ('waiting', 'again', 'delivered', 'dead')),
    CONSTRAINT webhook_deliveries_tweets_bounded CHECK (cardinality(tweets) <= 100),
    CONSTRAINT webhook_deliveries_next_until_finished CHECK
        ((state IN ('waiting', 'again')) = (next_at IS NOT NULL))
);
COMMENT ON TABLE webhook_deliveries IS 'Bound: for each webhook, the newest 50, and the newest 100 dead letters';
CREATE INDEX webhook_deliveries_webhook ON webhook_deliveries (webhook_id, id);
CREATE UNIQUE INDEX webhook_deliveries_one_waiting ON webhook_deliveries (webhook_id) WHERE state = 'waiting';
CREATE INDEX webhook_deliveries_unfinished ON webhook_deliveries (webhook_id, next_at) WHERE next_at IS NOT NULL;

CREATE TABLE gaps (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id integer NOT NULL,
    began_at  timestamptz NOT NULL,         -- the last byte before it
    ended_at  timestamptz,                  -- the first byte after it; null: still open
    cause     text NOT NULL,
    detail    text NOT NULL DEFAULT '',
    recovered_from timestamptz,             -- what came from then on was replayed, or read again
    read_to   jsonb,                        -- while it is refilled: up to when, by channel
    checked_to timestamptz,                 -- deletions during it of posts until then are known

    CONSTRAINT gaps_order CHECK (ended_at >= began_at),
    CONSTRAINT gaps_cause_known CHECK (cause IN
        ('network', 'http', 'rate_limit', 'silence', 'quota', 'refused', 'disk', 'filter_change',
         'idle', 'stopped', 'killed')),
    CONSTRAINT gaps_dates_in_range CHECK (
        least(began_at, ended_at) >= '1900-01-01 00:00+00'
        AND greatest(began_at, ended_at) <= '9999-12-31 00:00+00')
);
COMMENT ON TABLE gaps IS 'Bound: retention.gaps_days after they end';
CREATE UNIQUE INDEX gaps_one_open ON gaps (source_id) WHERE ended_at IS NULL;
CREATE INDEX gaps_newest ON gaps (source_id, began_at);

-- When the network did not deliver a track, or only a part of it, while its source delivered others:
-- X had lost a rule, or one had to be replaced by another.
CREATE TABLE track_gaps (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id integer NOT NULL,
    track_id  bigint NOT NULL,
    began_at  timestamptz NOT NULL,
    ended_at  timestamptz,                  -- null: still open
    detail    text NOT NULL DEFAULT '',

    CONSTRAINT track_gaps_order CHECK (ended_at >= began_at),
    CONSTRAINT track_gaps_dates_in_range CHECK (
        least(began_at, ended_at) >= '1900-01-01 00:00+00'
        AND greatest(began_at, ended_at) <= '9999-12-31 00:00+00')
);
COMMENT ON TABLE track_gaps IS 'Bound: retention.gaps_days after they end';
CREATE UNIQUE INDEX track_gaps_one_open ON track_gaps (source_id, track_id) WHERE ended_at IS NULL;
CREATE INDEX track_gaps_newest ON track_gaps (track_id, began_at);

CREATE TABLE rejects (
    id          bigint NOT NULL PRIMARY KEY,  -- tweet_key of the frame
    source_id   integer NOT NULL,
    received_at timestamptz NOT NULL,
    reason      text NOT NULL,
    detail      text NOT NULL DEFAULT '',
    body        bytea NOT NULL,             -- as received

    CONSTRAINT rejects_reason_known CHECK (reason IN
        ('too_large', 'not_utf8', 'not_json', 'not_object', 'too_deep', 'no_id', 'bad_shape',
         'refused', 'damaged'))
);
COMMENT ON TABLE rejects IS 'Bound: retention.rejects_days';
CREATE INDEX rejects_newest ON rejects (source_id, received_at);

-- The daemon's event log: what it did, and why.
CREATE TABLE events (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT now(),
    source_id integer,
    kind      text NOT NULL,
    text      text NOT NULL,
    state     text,                         -- of kind `state`: what the source's connection is now

    CONSTRAINT events_kind_known CHECK (kind IN
        ('state', 'control', 'journal', 'daemon', 'plan'))
);
COMMENT ON TABLE events IS 'Bound: retention.events_days';
CREATE INDEX events_newest ON events (source_id, at);

-- The daemons on this database: which one collects, which ones are standbys.
CREATE TABLE daemons (
    id         uuid PRIMARY KEY,
    host       text NOT NULL,
    pid        integer NOT NULL,
    role       text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),
    -- these three: of daemons that share the work of one installation
    roles      text[] NOT NULL DEFAULT '{collect,write,web,monitor}',
    lanes      integer[] NOT NULL DEFAULT '{}', -- whose writer runs in it
    report     jsonb NOT NULL DEFAULT '{}',     -- how its lanes, journals and the bus are

    CONSTRAINT daemons_role_known CHECK (role IN ('collecting', 'standby', 'other'))
);
COMMENT ON TABLE daemons IS 'Bound: deleted a day after they were last seen';

------------------------------------------------------------------------------------------------
-- What the monitor measures, alerts about and archives.

-- One row a minute and machine; after monitor.machine_minutes_days one row an hour, which stays for
-- monitor.machine_hours_days. Means over the row's time, unless a column states another measure.
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
    sources              jsonb NOT NULL,            -- by name: what each delivered in the row's time
    tables               jsonb NOT NULL,            -- bytes by name, last known

    CONSTRAINT machine_minutes_pkey PRIMARY KEY (host, at),
    CONSTRAINT machine_minutes_minutes_known CHECK (minutes IN (1, 60))
);
COMMENT ON TABLE machine_minutes IS 'Bound: monitor.machine_minutes_days per minute, then monitor.machine_hours_days per hour';
CREATE INDEX machine_minutes_at ON machine_minutes (at);

-- Opened once, notified of at most daily, closed with an all-clear. To acknowledge one:
-- UPDATE alerts SET acknowledged_at = now() WHERE id = …
CREATE TABLE alerts (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule            text NOT NULL,
    subject         text NOT NULL DEFAULT '',       -- a source, a track, a volume, a machine
    host            text NOT NULL DEFAULT '',       -- the machine, for alerts about a machine
    severity        text NOT NULL,
    text            text NOT NULL,                  -- what is wrong
    remedy          text NOT NULL,                  -- what to do
    opened_at       timestamptz NOT NULL,
    closed_at       timestamptz,
    notified_at     timestamptz,                    -- the last message that was delivered
    notified_count  integer NOT NULL DEFAULT 0,     -- messages so far
    notified_severity text,                         -- as it was in the last one
    undelivered     boolean NOT NULL DEFAULT false, -- a message could not be delivered yet
    all_clear_at    timestamptz,                    -- the message that it is over was delivered
    acknowledged_at timestamptz,                    -- not repeated any more
    acknowledged_by text,
    gone_since      timestamptz,                    -- it seems to be over; closed when it stays so

    CONSTRAINT alerts_severity_known CHECK (severity IN ('notice', 'warning', 'critical')),
    CONSTRAINT alerts_order CHECK (closed_at >= opened_at),
    CONSTRAINT alerts_dates_in_range CHECK (
        least(opened_at, closed_at, notified_at, all_clear_at, acknowledged_at, gone_since)
            >= '1900-01-01 00:00+00'
        AND greatest(opened_at, closed_at, notified_at, all_clear_at, acknowledged_at, gone_since)
            <= '9999-12-31 00:00+00')
);
COMMENT ON TABLE alerts IS 'Bound: deleted 365 days after they close; one open row for each rule, subject and host';
CREATE UNIQUE INDEX alerts_one_open ON alerts (rule, subject, host) WHERE closed_at IS NULL;
CREATE INDEX alerts_newest ON alerts (opened_at);

-- No message is sent while a row here fits: INSERT INTO alert_mutes (rule, until) VALUES ('track_silent', …)
CREATE TABLE alert_mutes (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule       text NOT NULL,
    subject    text,                                -- null: every subject
    until      timestamptz,                         -- null: until the row is deleted
    reason     text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT alert_mutes_dates_in_range CHECK (
        least(until, created_at) >= '1900-01-01 00:00+00'
        AND greatest(until, created_at) <= '9999-12-31 00:00+00')
);
COMMENT ON TABLE alert_mutes IS 'Bound: deleted 365 days after they end';

-- The periodic jobs of the monitor: their last run.
CREATE TABLE jobs (
    name       text PRIMARY KEY,
    ran_at     timestamptz NOT NULL,
    done_at    timestamptz,                         -- the last success
    took       real NOT NULL,                       -- seconds
    failed     text,                                -- why the last run failed; null: it did not

    CONSTRAINT jobs_dates_in_range CHECK (
        least(ran_at, done_at) >= '1900-01-01 00:00+00'
        AND greatest(ran_at, done_at) <= '9999-12-31 00:00+00')
);
COMMENT ON TABLE jobs IS 'Bound: one row for each job';

-- The archive of each day, with a copy of its manifest. A day that got tweets after its partitions
-- were dropped has another part.
CREATE TABLE archives (
    day         date NOT NULL,
    part        smallint NOT NULL DEFAULT 0,
    state       text NOT NULL,
    generation  integer NOT NULL DEFAULT 0,         -- times it was written
    path        text NOT NULL,                      -- below archive.url
    tweets      bigint NOT NULL DEFAULT 0,
    matches     bigint NOT NULL DEFAULT 0,
    bytes       bigint NOT NULL DEFAULT 0,          -- of all its files
    tombstones  bigint NOT NULL DEFAULT 0,          -- of that day, applied to its files
    manifest    jsonb,
    started_at  timestamptz NOT NULL DEFAULT now(),
    verified_at timestamptz,
    dropped_at  timestamptz,                        -- the day's partitions were dropped
    restored_at timestamptz,                        -- and restored
    authors_at  timestamptz,                        -- author_tombstones until then are applied
    partially_expired_at timestamptz,               -- the files have rows that Postgres deleted
    problem     text,                               -- why the last attempt failed; null: it did not

    CONSTRAINT archives_pkey PRIMARY KEY (day, part),
    CONSTRAINT archives_state_known CHECK (state IN ('writing', 'verified', 'dropped', 'restored'))
);
COMMENT ON TABLE archives IS 'Bound: one row for each day and part; archive.keep_days';

-- Transactions that changed a day after it was archived, so that "unchanged since" is cheap to check.
-- Rows are only added, and there is no key, so that writers never wait for each other here.
CREATE TABLE archive_changes (
    day date NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id()
);
COMMENT ON TABLE archive_changes IS 'Bound: one row for each archived day that is still stored';

-- Copies of sealed journal segments below archive.url.
CREATE TABLE raw_archives (
    path      text PRIMARY KEY,                     -- below archive.url
    source_id integer NOT NULL,
    journal   uuid NOT NULL,
    position  bigint NOT NULL,                      -- of its first byte
    until     bigint NOT NULL,                      -- the position after its last byte
    bytes     bigint NOT NULL,                      -- compressed
    sha256    bytea NOT NULL,
    began_at  timestamptz NOT NULL,                 -- of its first frame
    stored_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT raw_archives_once UNIQUE (journal, position)
);
COMMENT ON TABLE raw_archives IS 'Bound: archive.raw_days';
CREATE INDEX raw_archives_began ON raw_archives (began_at);

-- Days of which only a part has expired, and the rule that was applied last, so that it is applied
-- once. If such a day has an archive, the archive is authoritative.
CREATE TABLE partially_expired_days (
    day        date PRIMARY KEY,
    rule       text NOT NULL,
    partially_expired_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE partially_expired_days IS 'Bound: one row for each stored day';

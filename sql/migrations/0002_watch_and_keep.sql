-- Watch and keep: roll-ups by hour and day, measurements, alerts, archives.

ALTER TABLE tracks
    ADD COLUMN priority  smallint NOT NULL DEFAULT 0,
    ADD COLUMN keep_days integer,
    ADD CONSTRAINT tracks_keep_days_positive CHECK (keep_days > 0);

DROP TRIGGER tracks_bell ON tracks;
CREATE TRIGGER tracks_bell
    AFTER INSERT OR DELETE OR TRUNCATE
        OR UPDATE OF owner, kind, value, networks, enabled, starts_at, ends_at, priority ON tracks
    FOR EACH STATEMENT EXECUTE FUNCTION ring_bell();

CREATE INDEX identities_deleted ON identities (tweet_id) WHERE deleted_at IS NOT NULL;
ALTER TABLE author_tombstones ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now();

CREATE OR REPLACE FUNCTION ensure_day(day date) RETURNS void LANGUAGE plpgsql AS $$
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

INSERT INTO track_hours (track_id, hour, tweets, bytes)
SELECT track_id, date_trunc('hour', minute, 'UTC'), sum(tweets), 0
FROM track_minutes GROUP BY 1, 2;

INSERT INTO track_days (track_id, day, tweets, bytes)
SELECT track_id, (minute AT TIME ZONE 'UTC')::date, sum(tweets), 0
FROM track_minutes GROUP BY 1, 2;

CREATE TABLE source_hours (
    source_id integer NOT NULL,
    hour      timestamptz NOT NULL,
    outcome   text NOT NULL,                -- as in source_minutes
    frames    bigint NOT NULL,

    CONSTRAINT source_hours_pkey PRIMARY KEY (source_id, hour, outcome)
) WITH (fillfactor = 70);

INSERT INTO source_hours (source_id, hour, outcome, frames)
SELECT source_id, date_trunc('hour', minute, 'UTC'), outcome, sum(frames)
FROM source_minutes GROUP BY 1, 2, 3;

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

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
        SELECT DISTINCT ON (host) host, at, volumes FROM machine_minutes
        WHERE at > now() - interval '1 day' ORDER BY host, at DESC
    ) AS newest
    CROSS JOIN jsonb_each(newest.volumes) AS volume
    LEFT JOIN (
        SELECT host, used.key AS volume,
            CASE WHEN max(at) - min(at) >= interval '6 hours' THEN
                86400 * regr_slope((used.value ->> 'used')::double precision,
                                   extract(epoch FROM at)::double precision)
            END AS bytes_per_day
        FROM machine_minutes, jsonb_each(volumes) AS used
        WHERE at > now() - interval '7 days'
        GROUP BY host, used.key
    ) AS slope ON slope.host = newest.host AND slope.volume = volume.key;

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

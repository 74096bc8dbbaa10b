-- Faults found by using the program, each with the constraint or bound that keeps it out.

-- Tracks

-- Dates that no program can read ended the daemon. In tracks, one that lies too far off means the
-- same as none; where it does not, and in other tables, the nearest that can be read stands for it.
WITH repaired AS (
    UPDATE tracks
    SET starts_at = CASE WHEN starts_at >= '1900-01-01 00:00+00' THEN starts_at END,
        ends_at = CASE WHEN ends_at <= '9999-12-31 00:00+00' THEN ends_at END
    WHERE starts_at < '1900-01-01 00:00+00' OR ends_at > '9999-12-31 00:00+00'
    RETURNING id
)
INSERT INTO events (kind, text)
SELECT 'daemon', 'Track ' || id || ' had a start before 1900 or an end after 9999: removed.'
FROM repaired;

DO $$
DECLARE
    each record;
    repaired bigint;
BEGIN
    FOR each IN
        SELECT table_name AS name, column_name AS date FROM information_schema.columns
        WHERE table_schema = current_schema() AND data_type = 'timestamp with time zone'
          AND table_name IN ('sources', 'tracks', 'users', 'invites', 'sessions', 'tokens',
                             'track_shares', 'gaps', 'alerts', 'alert_mutes', 'chores')
        ORDER BY table_name, ordinal_position
    LOOP
        EXECUTE format(
            'UPDATE %1$I SET %2$I = least(greatest(%2$I, $1), $2) WHERE %2$I NOT BETWEEN $1 AND $2',
            each.name, each.date)
        USING timestamptz '1900-01-01 00:00+00', timestamptz '9999-12-31 00:00+00';
        GET DIAGNOSTICS repaired = ROW_COUNT;
        INSERT INTO events (kind, text)
        SELECT 'daemon', format('%s rows of %s had a date outside 1900 to 9999 in %s: changed to'
                                ' the nearest.', repaired, each.name, each.date)
        WHERE repaired > 0;
    END LOOP;
END
$$;

ALTER TABLE sources ADD CONSTRAINT sources_dates_in_range CHECK (
    least(created_at, state_at, retry_at, last_at) >= '1900-01-01 00:00+00'
    AND greatest(created_at, state_at, retry_at, last_at) <= '9999-12-31 00:00+00');
ALTER TABLE tracks ADD CONSTRAINT tracks_dates_in_range CHECK (
    least(starts_at, ends_at, created_at, state_at, looked_at) >= '1900-01-01 00:00+00'
    AND greatest(starts_at, ends_at, created_at, state_at, looked_at) <= '9999-12-31 00:00+00');
ALTER TABLE users ADD CONSTRAINT users_dates_in_range CHECK (
    least(created_at, seen_at) >= '1900-01-01 00:00+00'
    AND greatest(created_at, seen_at) <= '9999-12-31 00:00+00');
ALTER TABLE invites ADD CONSTRAINT invites_dates_in_range CHECK (
    least(created_at, expires_at) >= '1900-01-01 00:00+00'
    AND greatest(created_at, expires_at) <= '9999-12-31 00:00+00');
ALTER TABLE sessions ADD CONSTRAINT sessions_dates_in_range CHECK (
    least(created_at, seen_at, expires_at) >= '1900-01-01 00:00+00'
    AND greatest(created_at, seen_at, expires_at) <= '9999-12-31 00:00+00');
ALTER TABLE tokens ADD CONSTRAINT tokens_dates_in_range CHECK (
    least(created_at, used_at, expires_at) >= '1900-01-01 00:00+00'
    AND greatest(created_at, used_at, expires_at) <= '9999-12-31 00:00+00');
ALTER TABLE track_shares ADD CONSTRAINT track_shares_dates_in_range CHECK (
    shared_at BETWEEN '1900-01-01 00:00+00' AND '9999-12-31 00:00+00');
ALTER TABLE gaps ADD CONSTRAINT gaps_dates_in_range CHECK (
    least(began_at, ended_at) >= '1900-01-01 00:00+00'
    AND greatest(began_at, ended_at) <= '9999-12-31 00:00+00');
ALTER TABLE alerts ADD COLUMN gone_since timestamptz;
ALTER TABLE alerts ADD CONSTRAINT alerts_dates_in_range CHECK (
    least(opened_at, closed_at, told_at, all_clear_at, acknowledged_at, gone_since)
        >= '1900-01-01 00:00+00'
    AND greatest(opened_at, closed_at, told_at, all_clear_at, acknowledged_at, gone_since)
        <= '9999-12-31 00:00+00');
ALTER TABLE alert_mutes ADD CONSTRAINT alert_mutes_dates_in_range CHECK (
    least(until, created_at) >= '1900-01-01 00:00+00'
    AND greatest(until, created_at) <= '9999-12-31 00:00+00');
ALTER TABLE chores ADD CONSTRAINT chores_dates_in_range CHECK (
    least(ran_at, done_at) >= '1900-01-01 00:00+00'
    AND greatest(ran_at, done_at) <= '9999-12-31 00:00+00');

-- Lists of lists were taken for lists.
UPDATE tracks SET networks = ARRAY(SELECT DISTINCT unnest(networks))
WHERE array_ndims(networks) > 1;
ALTER TABLE tracks ADD CONSTRAINT tracks_networks_flat CHECK (array_ndims(networks) = 1);
UPDATE tokens SET scopes = ARRAY(SELECT DISTINCT unnest(scopes)) WHERE array_ndims(scopes) > 1;
ALTER TABLE tokens ADD CONSTRAINT tokens_scopes_flat CHECK (array_ndims(scopes) = 1);

-- Sources, gaps and events

-- When the network did not look for a track, or not for all of it, while its source delivered for
-- others: X had lost a rule, or one had to make room for another.
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

CREATE UNIQUE INDEX track_gaps_one_open ON track_gaps (source_id, track_id) WHERE ended_at IS NULL;
CREATE INDEX track_gaps_newest ON track_gaps (track_id, began_at);

CREATE OR REPLACE FUNCTION close_gap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE gaps SET ended_at = greatest(now(), began_at)
    WHERE source_id = OLD.id AND ended_at IS NULL;
    UPDATE track_gaps SET ended_at = greatest(now(), began_at)
    WHERE source_id = OLD.id AND ended_at IS NULL;
    RETURN NULL;
END
$$;

-- What is left of frames that were damaged on the disk.
ALTER TABLE rejects DROP CONSTRAINT rejects_reason_known;
ALTER TABLE rejects ADD CONSTRAINT rejects_reason_known CHECK (reason IN
    ('too_large', 'not_utf8', 'not_json', 'not_object', 'too_deep', 'no_id', 'bad_shape',
     'refused', 'damaged'));

-- Tweets, deletions and the order in which tweets were stored

-- Each tweet names its run, and runs no longer have a place after one another. What was stored so far
-- is one run for each source; those of before only tell what cursors mean that were given out then.
ALTER TABLE tweets ADD COLUMN run integer;
ALTER TABLE runs ADD COLUMN former boolean NOT NULL DEFAULT false;
UPDATE runs SET former = true
WHERE source_id IN (SELECT source_id FROM runs GROUP BY source_id HAVING count(*) > 1);
INSERT INTO runs (source_id, run, first_id, last_id)
SELECT source_id, max(run) + 1, min(first_id), max(last_id) FROM runs WHERE former
GROUP BY source_id;
CREATE OR REPLACE VIEW track_tweets AS
    SELECT matches.track_id, matches.term, matches.field, matches.part, tweets.*
    FROM matches
    JOIN tweets ON tweets.id = matches.tweet_id AND tweets.received_at = matches.received_at;
DROP FUNCTION note_run;
-- Tweets with keys from `first` to `last` are about to be stored by this transaction: the number of
-- their run, null for the first one of the source, and whether other runs have keys as high as these.
-- While a daemon takes over from another one, both may store at once: one after the other, here.
CREATE FUNCTION note_run(source integer, first bigint, last bigint, OUT number integer,
                         OUT late boolean)
    LANGUAGE plpgsql AS $$
DECLARE
    beginning integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('twitterstream runs'), source);
    SELECT min(run), coalesce(bool_or(last_id >= first), false) INTO beginning, late
    FROM runs WHERE source_id = source AND NOT former;
    UPDATE runs SET last_id = last
    WHERE source_id = source AND run = (
        SELECT run FROM runs WHERE source_id = source AND NOT former AND last_id < first
        ORDER BY run = beginning DESC, last_id DESC LIMIT 1)
    RETURNING run INTO number;
    IF number IS NULL THEN
        INSERT INTO runs (source_id, run, first_id, last_id)
        SELECT source, coalesce(max(run), 0) + 1, first, last FROM runs WHERE source_id = source
        RETURNING run INTO number;
    END IF;
    number := nullif(number, coalesce(beginning, number));
END
$$;

-- What concerns all tweets of an author is noted first, and reaches the stored ones bit by bit.
ALTER TABLE author_tombstones
    ADD COLUMN pending text[] NOT NULL DEFAULT '{}',
    ADD CONSTRAINT author_tombstones_pending_known
        CHECK (pending <@ ARRAY['deleted', 'scrubbed', 'withheld']);
CREATE INDEX author_tombstones_pending ON author_tombstones (changed_at) WHERE pending <> '{}';

ALTER TABLE identities ADD COLUMN noted_at timestamptz;

-- Users and their limits

ALTER TABLE users ADD COLUMN time_zone text, ADD COLUMN locale text;
ALTER TABLE users ADD CONSTRAINT users_time_zone_plain
    CHECK (time_zone ~ '^[A-Za-z0-9_+/-]{1,64}$');
ALTER TABLE users ADD CONSTRAINT users_locale_plain
    CHECK (locale ~ '^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,4}$');
ALTER TABLE users ADD COLUMN max_tracks integer;
ALTER TABLE users ADD CONSTRAINT users_max_tracks_range CHECK (max_tracks BETWEEN 0 AND 1000000);

-- Alerts, archives and statistics

-- Whether some daemon collects a source at this moment: it holds the lock of stream/sources.py.
CREATE FUNCTION source_collected(source sources) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND classid = 29815 AND objid = source.id::oid
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
$$;

-- The state of a source for people: the column says what the last daemon wrote, also when no daemon
-- is left to change it.
CREATE FUNCTION source_state(source sources) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN source.state = 'importing' OR source_collected(source) THEN source.state
        WHEN NOT source.enabled THEN 'disabled'
        WHEN source.state = 'failed' THEN source.state
        ELSE 'stopped'
    END
$$;

-- What an alert is about, in the words of stats_health, so that nothing is counted twice.
CREATE FUNCTION alert_about(alert alerts) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN alert.rule LIKE 'source\_%' OR alert.rule LIKE 'journal\_%'
            THEN 'source ' || alert.subject
        WHEN alert.rule = 'reject_share' THEN 'rejects ' || alert.subject
        WHEN alert.rule LIKE 'disk\_%' THEN 'volume ' || alert.subject || ' of ' || alert.host
        WHEN alert.rule = 'archive_failed' AND alert.subject ~ '^\d{4}-\d\d-\d\d'
            THEN 'archive ' || left(alert.subject, 10)
        WHEN alert.rule IN ('archive_failed', 'chore_failed') THEN 'chore ' || alert.subject
        ELSE 'alert ' || alert.id
    END
$$;

CREATE OR REPLACE VIEW stats_sources AS
    SELECT sources.id, sources.name, sources.network, sources.enabled,
        source_collected(sources) AS collected,         -- by some daemon, at this moment
        source_state(sources) AS state, sources.reason, sources.state_at AS since, sources.last_at,
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
                least(ended_at, now()) - greatest(began_at, now() - interval '1 day')))), 0)
                AS seconds
        FROM gaps
        WHERE source_id = sources.id AND began_at < now()
          AND least(ended_at, now()) > now() - interval '1 day'
    ) AS gap;

-- Gaps are counted up to now, also one whose end was set into the future.
CREATE OR REPLACE VIEW stats_hours AS
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
            round(sum(extract(epoch FROM least(ended_at, now(), hour + interval '1 hour')
                                         - greatest(began_at, hour))), 3) AS gap_seconds
        FROM gaps, generate_series(date_trunc('hour', began_at, 'UTC'), least(ended_at, now()),
                                   interval '1 hour') AS hour
        WHERE began_at < now()
        GROUP BY source_id, hour
    ) AS missed USING (source_id, hour)
    LEFT JOIN sources ON sources.id = source_id;

-- How full a volume is is counted in one way: of what this program could ever have.
CREATE OR REPLACE VIEW stats_forecast AS
    SELECT newest.host, volume.key AS volume,
        volume.value ->> 'path' AS path,
        newest.at,                                      -- the last look
        (volume.value ->> 'total')::bigint AS total,
        (volume.value ->> 'free')::bigint AS free,
        round(slope.bytes_per_day)::bigint AS bytes_per_day,
        CASE WHEN slope.bytes_per_day > 0
            THEN round(((volume.value ->> 'free')::bigint / slope.bytes_per_day)::numeric, 1)
        END AS days_until_full,
        (volume.value ->> 'used')::bigint AS used       -- what only root may fill is neither
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

CREATE OR REPLACE VIEW stats_health AS
    WITH live AS (
        SELECT * FROM daemons WHERE seen_at > now() - interval '15 seconds'
    ), followed AS (
        SELECT * FROM stats_sources WHERE enabled
    ), parts (thing, subject, ok, since, sentence) AS (
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
                OR state IN ('connecting', 'proving') AND since > now() - interval '5 minutes')
            OR NOT collected AND EXISTS (SELECT FROM live) AND EXISTS (
                SELECT FROM sources         -- just added: the daemon is about to begin with it
                WHERE sources.name = followed.name AND created_at > now() - interval '30 seconds'),
            CASE WHEN state = 'streaming' AND last_at < now() - interval '5 minutes'
                THEN last_at ELSE since END,
            CASE WHEN NOT collected AND EXISTS (SELECT FROM live)
                    THEN 'The running daemon has not begun to collect it.'
                WHEN NOT collected THEN 'No daemon collects it.'
                WHEN state = 'streaming' AND last_at < now() - interval '5 minutes'
                    THEN 'It is connected, but nothing comes.'
                ELSE state || CASE reason WHEN '' THEN '.' ELSE ': ' || reason END
            END
        FROM followed
        UNION ALL
        SELECT 'sources', '', false, NULL,
            'No source is enabled, so nothing is collected: add one or enable it.'
        WHERE NOT EXISTS (SELECT FROM followed) AND EXISTS (SELECT FROM tracks WHERE enabled)
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
            free >= 0.1 * (used + free) AND coalesce(days_until_full > 7, true), NULL,
            format('%s GB of %s GB are free%s.', round(free / 1e9, 1),
                   round((used + free) / 1e9, 1),
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
    ), found AS (
        SELECT parts.*, concat_ws(' ', thing, nullif(subject, '')) AS about FROM parts
        UNION ALL
        SELECT 'alert', concat_ws(' ', rule, nullif(subject, ''), nullif(host, '')),
            severity = 'notice' OR acknowledged_at IS NOT NULL OR gone_since IS NOT NULL,
            opened_at, concat_ws(' ', text, remedy), alert_about(alerts)
        FROM alerts WHERE closed_at IS NULL
    )
    SELECT thing, subject, ok, since, sentence, about FROM (
        SELECT 0 AS place, 'everything' AS thing, '' AS subject, bool_and(ok) AS ok,
            min(since) FILTER (WHERE NOT ok) AS since,
            CASE WHEN bool_and(ok) THEN 'All is well.'
                ELSE format('To be looked at: %s of %s things.',
                            count(DISTINCT about) FILTER (WHERE NOT ok), count(DISTINCT about))
            END AS sentence,
            '' AS about
        FROM found
        UNION ALL
        SELECT 1, * FROM found
    ) AS rows
    ORDER BY place, ok, thing, subject;

-- The table of native ids beside the days.
CREATE OR REPLACE VIEW stats_storage AS
    SELECT day,
        coalesce(counted.tweets, 0)::bigint AS tweets,  -- that were stored then
        coalesce(credited.matches, 0) AS matches,
        partitions.bytes::bigint AS bytes,              -- of its partitions; null: it has none
        round(partitions.bytes * 1000000 / nullif(counted.tweets, 0))::bigint
            AS bytes_per_million_tweets,
        raw.bytes::bigint AS raw_bytes,                 -- of the copies of its journal
        archived.state AS archive,                      -- null: not archived
        archived.bytes::bigint AS archive_bytes,
        pg_total_relation_size('identities') AS ids_bytes   -- of all days together
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

-- How long each table keeps its rows.
COMMENT ON TABLE sources IS 'Bound: what people set up; 4,095 at most';
COMMENT ON TABLE tracks IS 'Bound: what people set up, within the limits of each user';
COMMENT ON TABLE users IS 'Bound: what admins set up';
COMMENT ON TABLE invites IS 'Bound: pruned a day after they expire';
COMMENT ON TABLE sessions IS 'Bound: pruned a day after they expire (web.session_days)';
COMMENT ON TABLE tokens IS 'Bound: what users set up';
COMMENT ON TABLE track_shares IS 'Bound: what users set up; go with the track or the user';
COMMENT ON TABLE track_history IS 'Bound: retention.history_days';
COMMENT ON TABLE tweets IS 'Bound: retention.tweets_days, unmatched_days, tracks.keep_days';
COMMENT ON TABLE identities IS 'Bound: as long as the tweet is stored and retention.ids_days more; deletions: deletions_days';
COMMENT ON TABLE author_tombstones IS 'Bound: retention.deletions_days after the last change';
COMMENT ON TABLE matches IS 'Bound: as the tweets';
COMMENT ON TABLE track_minutes IS 'Bound: retention.minutes_days';
COMMENT ON TABLE track_hours IS 'Bound: retention.counts_days';
COMMENT ON TABLE track_days IS 'Bound: retention.counts_days';
COMMENT ON TABLE track_tops IS 'Bound: 25 hours of 1,000 items for each track and aspect, and 1,000 of what is older';
COMMENT ON TABLE source_minutes IS 'Bound: retention.minutes_days';
COMMENT ON TABLE source_hours IS 'Bound: retention.counts_days';
COMMENT ON TABLE positions IS 'Bound: one row for each data folder and source that ever collected';
COMMENT ON TABLE runs IS 'Bound: one row for each source; later ones go 30 days after their last tweet, when it is dropped';
COMMENT ON TABLE followers IS 'Bound: one row for each reader of the program itself: a few';
COMMENT ON TABLE gaps IS 'Bound: retention.gaps_days after they end';
COMMENT ON TABLE track_gaps IS 'Bound: retention.events_days after they end';
COMMENT ON TABLE rejects IS 'Bound: retention.rejects_days';
COMMENT ON TABLE events IS 'Bound: retention.events_days';
COMMENT ON TABLE daemons IS 'Bound: pruned a day after they were last seen';
COMMENT ON TABLE machine_minutes IS 'Bound: monitor.minutes_days by the minute, then monitor.hours_days by the hour';
COMMENT ON TABLE alerts IS 'Bound: pruned 365 days after they close; one open row for each rule, subject and host';
COMMENT ON TABLE alert_mutes IS 'Bound: pruned 365 days after they end';
COMMENT ON TABLE chores IS 'Bound: one row for each job';
COMMENT ON TABLE archives IS 'Bound: one row a day and part; archive.keep_days';
COMMENT ON TABLE archive_touches IS 'Bound: pruned to one row for each archived day that is still stored';
COMMENT ON TABLE raw_archives IS 'Bound: archive.raw_days';
COMMENT ON TABLE thinned_days IS 'Bound: one row for each day that is stored';

-- Views for administrators. All of it from roll-ups, so that it is quick however much was
-- collected: no view but track_tweets reads tweets or matches. Days and hours are those of UTC.
-- After functions.sql.

-- The tweets of tracks, for people: SELECT text FROM track_tweets WHERE track_id = 1
-- ORDER BY received_at DESC LIMIT 20 reads twenty index entries.
CREATE VIEW track_tweets AS
    SELECT matches.track_id, matches.term, matches.field, matches.part, tweets.*
    FROM matches
    JOIN tweets ON tweets.id = matches.tweet_id AND tweets.received_at = matches.received_at;

-- SELECT * FROM stats_tracks ORDER BY last_hour DESC: tweets of each track, now and
-- usually.
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

-- Each track and each enabled source that is asked for it: what it delivers, and what it has missed
-- since it began. Of a gap that the network has refilled from some time on, only the rest is missing.
CREATE VIEW track_reach AS
    SELECT tracks.id AS track_id, sources.id AS source_id, sources.name AS source, sources.network,
        reach.how,                      -- pushed to the network, decided here, both, or cannot
        reach.sentence, reach.replays, reach.since,
        -- Nothing is missing since then; null: it does not deliver at the moment.
        CASE WHEN reach.how <> 'cannot' AND NOT gap.open AND source_collected(sources)
            THEN greatest(reach.since, upper(gap.missing)) END AS complete_since,
        (SELECT coalesce(sum(extract(epoch FROM upper(part) - lower(part))), 0)::bigint
         FROM unnest(gap.missing) AS part) AS seconds_missing,
        (SELECT coalesce(sum(extract(epoch FROM upper(part) - lower(part))), 0)::bigint
         FROM unnest(gap.refilled - gap.missing) AS part) AS seconds_refilled
    FROM tracks
    CROSS JOIN LATERAL jsonb_to_recordset(tracks.reach)
        AS reach (source_id integer, how text, sentence text, replays boolean, since timestamptz)
    JOIN sources ON sources.id = reach.source_id
    CROSS JOIN LATERAL (
        SELECT coalesce(range_agg(served * tstzrange(began, refilled)), '{}') AS missing,
            coalesce(range_agg(served * tstzrange(refilled, ended)), '{}') AS refilled,
            coalesce(bool_or(is_open), false) AS open
        FROM (
            SELECT began_at AS began, coalesce(ended_at, now()) AS ended, ended_at IS NULL AS is_open,
                greatest(began_at, least(recovered_from, ended_at, now())) AS refilled
            FROM gaps WHERE gaps.source_id = sources.id
            UNION ALL
            SELECT began_at, coalesce(ended_at, now()), ended_at IS NULL,
                coalesce(ended_at, now())
            FROM track_gaps
            WHERE track_gaps.source_id = sources.id AND track_gaps.track_id = tracks.id
        ) AS found
        CROSS JOIN (SELECT tstzrange(least(reach.since, now()), now()) AS served) AS since
        WHERE began < now() AND ended > reach.since AND reach.how <> 'cannot'
    ) AS gap;

-- Each source: its state, and the outcomes of its frames, by outcome as in source_minutes.
CREATE VIEW stats_sources AS
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
            sum(frames) FILTER (WHERE outcome NOT IN ('repaired', 'undelivered')) AS frames
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

-- Each source and hour, also those hours without frames: the outcomes of its frames, and the
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
        coalesce(undelivered, 0)::bigint AS undelivered,
        coalesce(gap_seconds, 0) AS gap_seconds,
        coalesce(opted_out, 0)::bigint AS opted_out
    FROM (
        SELECT source_id, hour,
            sum(frames) FILTER (WHERE outcome NOT IN ('repaired', 'undelivered')) AS frames,
            sum(frames) FILTER (WHERE outcome = 'stored') AS stored,
            sum(frames) FILTER (WHERE outcome = 'unmatched') AS unmatched,
            sum(frames) FILTER (WHERE outcome = 'dropped') AS dropped,
            sum(frames) FILTER (WHERE outcome = 'duplicate') AS duplicates,
            sum(frames) FILTER (WHERE outcome = 'deleted') AS deleted,
            sum(frames) FILTER (WHERE outcome = 'control') AS control,
            sum(frames) FILTER (WHERE outcome = 'rejected') AS rejected,
            sum(frames) FILTER (WHERE outcome = 'repaired') AS repaired,
            sum(frames) FILTER (WHERE outcome = 'undelivered') AS undelivered,
            sum(frames) FILTER (WHERE outcome = 'opted_out') AS opted_out
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
        archived.bytes::bigint AS archive_bytes,
        pg_total_relation_size('tweet_ids') AS ids_bytes   -- of all days together
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

-- Each day and track: its tweets, and the bytes of their messages as received. A tweet of two
-- tracks counts for both.
CREATE VIEW stats_storage_tracks AS
    SELECT day, track_id, tweets, bytes FROM track_days;

-- Each volume of each machine: when it will be full if it fills as in the last 7 days. The speed is
-- null until 6 hours are known; the days are null, too, when it does not fill.
CREATE VIEW stats_forecast AS
    SELECT newest.host, volume.key AS volume,
        volume.value ->> 'path' AS path,
        newest.at,                                      -- the last measurement
        (volume.value ->> 'total')::bigint AS total,
        (volume.value ->> 'free')::bigint AS free,
        round(slope.bytes_per_day)::bigint AS bytes_per_day,
        CASE WHEN slope.bytes_per_day > 0
            THEN round(((volume.value ->> 'free')::bigint / slope.bytes_per_day)::numeric, 1)
        END AS days_until_full,
        (volume.value ->> 'used')::bigint AS used       -- what only root may fill is neither
    FROM (
        -- Each machine's last measurement, by the index: one step for each machine.
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
        -- One measurement an hour is enough for a slope over days.
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

-- Whether all is well, in the first row, and below it every component, failed ones first.
-- The alerts decide. The view itself only finds that no daemon runs which could open alerts.
CREATE VIEW stats_health AS
    WITH live AS (
        SELECT id, host, pid, role, started_at, seen_at FROM daemons WHERE seen_at > now() - interval '15 seconds'
    ), active AS (
        SELECT alert_about(alerts) AS about, min(opened_at) AS since
        FROM alerts WHERE alert_is_active(alerts) GROUP BY 1
    ), enabled AS (
        SELECT * FROM stats_sources WHERE enabled
    ), components (component, subject, ok, since, sentence) AS (
        SELECT 'daemon', '', EXISTS (SELECT FROM live),
            coalesce((SELECT min(started_at) FROM live), (SELECT max(seen_at) FROM daemons)),
            CASE WHEN EXISTS (SELECT FROM live)
                THEN (SELECT string_agg(format('%s:%s is %s', host, pid,
                        CASE role WHEN 'standby' THEN 'on standby' ELSE role END), ', ') FROM live)
                     || '.'
                ELSE 'No daemon runs on this database: start one.'
            END
        UNION ALL
        SELECT 'monitor', host, measured OR started, since,
            CASE WHEN measured THEN 'Measured every minute.'
                WHEN started THEN 'Just started.'
                ELSE 'No measurement for 5 minutes, so alerts may be missing: see the daemon''s log.'
            END
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
        SELECT 'source', name, true, since,
            CASE WHEN NOT collected AND EXISTS (SELECT FROM live)
                    THEN 'The running daemon does not collect it yet.'
                WHEN NOT collected THEN 'No daemon collects it.'
                WHEN state = 'streaming' AND last_at < now() - interval '5 minutes'
                    THEN 'It is connected, but delivers nothing.'
                ELSE state || CASE reason WHEN '' THEN '.' ELSE ': ' || reason END
            END
        FROM enabled
        UNION ALL
        SELECT 'sources', '', true, NULL,
            'No source is enabled, so nothing is collected: add one or enable it.'
        WHERE NOT EXISTS (SELECT FROM enabled) AND EXISTS (SELECT FROM tracks WHERE enabled)
        UNION ALL
        SELECT 'tracks', '', true, NULL,
            format('%s active, %s partial, %s refused, %s other.',
                count(*) FILTER (WHERE state = 'active'), count(*) FILTER (WHERE state = 'partial'),
                count(*) FILTER (WHERE state = 'refused'),
                count(*) FILTER (WHERE state NOT IN ('active', 'partial', 'refused')))
        FROM tracks
        UNION ALL
        SELECT 'rejects', name, true, NULL,
            format('%s %% of the frames of the last day could not be stored.',
                   round(reject_share * 100, 2))
        FROM enabled WHERE reject_share IS NOT NULL
        UNION ALL
        SELECT 'partitions', '', true, NULL,
            CASE count(*) WHEN 2 THEN 'Tomorrow''s partitions are ready.'
                ELSE 'Tomorrow''s partitions are missing; they are created with the first tweet.' END
        FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE relname ~ '^(tweets|matches)_' AND right(relname, 8)
            = to_char(now() AT TIME ZONE 'UTC' + interval '1 day', 'YYYYMMDD')
        UNION ALL
        SELECT 'volume', volume || ' of ' || host, true, NULL,
            format('%s GB of %s GB are free%s.', round(free / 1e9, 1),
                   round((used + free) / 1e9, 1),
                   '; it will be full in ' || days_until_full || ' days')
        FROM stats_forecast
        UNION ALL
        SELECT 'archive', to_char(day, 'YYYY-MM-DD'), true, started_at, problem
        FROM archives WHERE problem IS NOT NULL
        UNION ALL
        SELECT 'job', name, true, ran_at, failed FROM jobs WHERE failed IS NOT NULL
    ), found AS (
        SELECT component, subject, ok AND active.about IS NULL AS ok,
            coalesce(active.since, components.since) AS since, sentence,
            concat_ws(' ', component, nullif(subject, '')) AS about,
            CASE component WHEN 'daemon' THEN 1 ELSE 4 END AS rank
        FROM components
        LEFT JOIN active ON active.about = concat_ws(' ', component, nullif(subject, ''))
        UNION ALL
        SELECT 'alert', concat_ws(' ', rule, nullif(subject, ''), nullif(host, '')),
            NOT alert_is_active(alerts), opened_at, concat_ws(' ', text, remedy),
            alert_about(alerts), CASE severity WHEN 'critical' THEN 2 ELSE 3 END
        FROM alerts WHERE closed_at IS NULL
    )
    SELECT component, subject, ok, since, sentence, about FROM (
        SELECT 'everything' AS component, '' AS subject, bool_and(ok) AS ok,
            min(since) FILTER (WHERE NOT ok) AS since,
            CASE WHEN bool_and(ok) THEN 'All is well.'
                ELSE format('%s of %s %s attention.',
                            count(DISTINCT about) FILTER (WHERE NOT ok), count(DISTINCT about),
                            CASE count(DISTINCT about) FILTER (WHERE NOT ok)
                                WHEN 1 THEN 'components needs' ELSE 'components need' END)
            END AS sentence,
            '' AS about, 0 AS rank
        FROM found
        UNION ALL
        SELECT * FROM found
    ) AS rows
    ORDER BY rank <> 0, ok, rank, component, since, subject;

-- One definition of "all is well": the alerts decide, and stats_health reads them.

DROP VIEW stats_health;

-- What an alert is about, as stats_health names it, so that nothing is counted twice.
CREATE OR REPLACE FUNCTION alert_about(alert alerts) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN alert.rule LIKE 'source\_%' OR alert.rule LIKE 'journal\_%'
            OR alert.rule IN ('writer_stalled', 'rules_not_applied')
            THEN 'source ' || alert.subject
        WHEN alert.rule = 'no_source' THEN 'sources'
        WHEN alert.rule = 'tracks_refused' THEN 'tracks'
        WHEN alert.rule = 'reject_share' THEN 'rejects ' || alert.subject
        WHEN alert.rule = 'partitions_missing' THEN 'partitions'
        WHEN alert.rule LIKE 'disk\_%' THEN 'volume ' || alert.subject || ' of ' || alert.host
        WHEN alert.rule = 'archive_failed' AND alert.subject ~ '^\d{4}-\d\d-\d\d'
            THEN 'archive ' || left(alert.subject, 10)
        WHEN alert.rule IN ('archive_failed', 'chore_failed') THEN 'job ' || alert.subject
        ELSE 'alert ' || alert.id
    END
$$;

-- Whether an alert means that not all is well: until it is acknowledged or its condition is gone.
CREATE FUNCTION alert_is_active(alert alerts) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT alert.closed_at IS NULL AND alert.severity <> 'notice'
        AND alert.acknowledged_at IS NULL AND alert.gone_since IS NULL
$$;

-- Whether all is well, in the first row, and below it every component, those with trouble first.
-- The alerts decide. Only that nothing runs which could open one is found here.
CREATE VIEW stats_health AS
    WITH live AS (
        SELECT * FROM daemons WHERE seen_at > now() - interval '15 seconds'
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
                        CASE role WHEN 'standby' THEN 'standing by' ELSE role END), ', ') FROM live)
                     || '.'
                ELSE 'No daemon runs on this database: start one.'
            END
        UNION ALL
        SELECT 'monitor', host, measured OR started, since,
            CASE WHEN measured THEN 'Measured every minute.'
                WHEN started THEN 'Just started.'
                ELSE 'No measurement for 5 minutes, so alerts may be missing: read the daemon''s log.'
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
                    THEN 'The running daemon has not begun to collect it.'
                WHEN NOT collected THEN 'No daemon collects it.'
                WHEN state = 'streaming' AND last_at < now() - interval '5 minutes'
                    THEN 'It is connected, but nothing comes.'
                ELSE state || CASE reason WHEN '' THEN '.' ELSE ': ' || reason END
            END
        FROM enabled
        UNION ALL
        SELECT 'sources', '', true, NULL,
            'No source is enabled, so nothing is collected: add one or enable it.'
        WHERE NOT EXISTS (SELECT FROM enabled) AND EXISTS (SELECT FROM tracks WHERE enabled)
        UNION ALL
        SELECT 'tracks', '', true, NULL,
            format('%s active, %s partial, %s refused, %s others.',
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
            CASE count(*) WHEN 2 THEN 'Tomorrow''s are ready.'
                ELSE 'Tomorrow''s are missing; they are created with the first tweet.' END
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
        SELECT 'job', name, true, ran_at, failed FROM chores WHERE failed IS NOT NULL
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
                ELSE format('%s of %s components need attention.',
                            count(DISTINCT about) FILTER (WHERE NOT ok), count(DISTINCT about))
            END AS sentence,
            '' AS about, 0 AS rank
        FROM found
        UNION ALL
        SELECT * FROM found
    ) AS rows
    ORDER BY rank <> 0, ok, rank, component, since, subject;

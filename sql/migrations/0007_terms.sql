-- Stored values get the terms of the field, and stats_health plainer sentences.

UPDATE alerts SET rule = 'job_failed' WHERE rule = 'chore_failed';
UPDATE alert_mutes SET rule = 'job_failed' WHERE rule = 'chore_failed';

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
        WHEN alert.rule IN ('archive_failed', 'job_failed') THEN 'job ' || alert.subject
        ELSE 'alert ' || alert.id
    END
$$;

CREATE OR REPLACE VIEW stats_health AS
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

-- The state of a source whose connection is open and has not brought a byte.
ALTER TABLE sources DROP CONSTRAINT sources_state_known;
UPDATE sources SET state = 'connected' WHERE state = 'proving';
ALTER TABLE sources ADD CONSTRAINT sources_state_known
    CHECK (state IN ('idle', 'connecting', 'connected', 'streaming', 'waiting', 'paused', 'failed', 'disabled', 'importing'));
UPDATE events SET state = 'connected', text = regexp_replace(text, '^proving', 'connected')
WHERE kind = 'state' AND state = 'proving';

-- Tweets that the network did not deliver; `withheld` is X's word for something else.
ALTER TABLE source_minutes DROP CONSTRAINT source_minutes_outcome_known;
UPDATE source_minutes SET outcome = 'undelivered' WHERE outcome = 'withheld';
ALTER TABLE source_minutes ADD CONSTRAINT source_minutes_outcome_known
    CHECK (outcome IN ('stored', 'unmatched', 'dropped', 'duplicate', 'deleted', 'control', 'rejected', 'repaired', 'undelivered'));
UPDATE source_hours SET outcome = 'undelivered' WHERE outcome = 'withheld';
ALTER TABLE positions RENAME withheld TO undelivered;
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT conname AS name FROM pg_constraint
        WHERE conrelid = 'positions'::regclass AND starts_with(conname, 'positions_withheld')
    LOOP
        EXECUTE format('ALTER TABLE positions RENAME CONSTRAINT %I TO %I', found.name,
                       replace(found.name, 'withheld', 'undelivered'));
    END LOOP;
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

ALTER VIEW stats_hours RENAME COLUMN withheld TO undelivered;
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
        coalesce(undelivered, 0)::bigint AS undelivered,
        coalesce(gap_seconds, 0) AS gap_seconds
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
            sum(frames) FILTER (WHERE outcome = 'undelivered') AS undelivered
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

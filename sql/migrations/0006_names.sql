-- Tables, columns and functions get the terms of the field. Rows stay as they are.

ALTER TABLE identities RENAME TO tweet_ids;
ALTER TABLE runs RENAME TO ingest_runs;
ALTER TABLE followers RENAME TO consumer_cursors;
ALTER TABLE track_tops RENAME TO track_top_items;
ALTER TABLE chores RENAME TO jobs;
ALTER TABLE thinned_days RENAME TO partially_expired_days;
ALTER TABLE archive_touches RENAME TO archive_changes;

ALTER TABLE tracks RENAME looked_at TO last_viewed_at;
ALTER TABLE alerts RENAME told_at TO notified_at;
ALTER TABLE alerts RENAME told TO notified_count;
ALTER TABLE alerts RENAME told_severity TO notified_severity;
ALTER TABLE alerts RENAME missed TO undelivered;
ALTER TABLE archives RENAME thinned_at TO partially_expired_at;
ALTER TABLE partially_expired_days RENAME thinned_at TO partially_expired_at;

-- Their constraints and indexes are named after them; from PostgreSQL 18 on, those of NOT NULL, too.
DO $$
DECLARE
    renamed record;
    found record;
BEGIN
    FOR renamed IN
        SELECT * FROM (VALUES
            ('tweet_ids', 'identities', 'tweet_ids'),
            ('ingest_runs', 'runs', 'ingest_runs'),
            ('consumer_cursors', 'followers', 'consumer_cursors'),
            ('track_top_items', 'track_tops', 'track_top_items'),
            ('jobs', 'chores', 'jobs'),
            ('partially_expired_days', 'thinned_days', 'partially_expired_days'),
            ('partially_expired_days', 'partially_expired_days_thinned_at',
                'partially_expired_days_partially_expired_at'),
            ('archive_changes', 'archive_touches', 'archive_changes'),
            ('alerts', 'alerts_told', 'alerts_notified_count'),
            ('alerts', 'alerts_missed', 'alerts_undelivered')) AS names (relation, old, new)
    LOOP
        FOR found IN
            SELECT conname AS name FROM pg_constraint
            WHERE conrelid = renamed.relation::regclass
              AND starts_with(conname, renamed.old || '_')
        LOOP
            EXECUTE format('ALTER TABLE %I RENAME CONSTRAINT %I TO %I', renamed.relation,
                           found.name, renamed.new || substr(found.name, length(renamed.old) + 1));
        END LOOP;
        FOR found IN
            SELECT indexrelid::regclass::text AS name FROM pg_index
            WHERE indrelid = renamed.relation::regclass
              AND starts_with(indexrelid::regclass::text, renamed.old || '_')
        LOOP
            EXECUTE format('ALTER INDEX %I RENAME TO %I', found.name,
                           renamed.new || substr(found.name, length(renamed.old) + 1));
        END LOOP;
    END LOOP;
END
$$;

ALTER FUNCTION ring_bell() RENAME TO notify_change;
ALTER TRIGGER tracks_bell ON tracks RENAME TO tracks_notify_change;
ALTER TRIGGER sources_bell ON sources RENAME TO sources_notify_change;

ALTER FUNCTION track_said(tracks) RENAME TO track_spec;
CREATE OR REPLACE FUNCTION track_history() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before jsonb := CASE WHEN TG_OP <> 'INSERT' THEN track_spec(OLD) END;
    after jsonb := CASE WHEN TG_OP <> 'DELETE' THEN track_spec(NEW) END;
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

ALTER FUNCTION note_run(integer, bigint, bigint) RENAME TO note_ingest_run;
CREATE OR REPLACE FUNCTION note_ingest_run(source integer, first bigint, last bigint, OUT number integer,
                         OUT late boolean)
    LANGUAGE plpgsql AS $$
DECLARE
    beginning integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('twitterstream runs'), source);
    SELECT min(run), coalesce(bool_or(last_id >= first), false) INTO beginning, late
    FROM ingest_runs WHERE source_id = source AND NOT former;
    UPDATE ingest_runs SET last_id = last
    WHERE source_id = source AND run = (
        SELECT run FROM ingest_runs WHERE source_id = source AND NOT former AND last_id < first
        ORDER BY run = beginning DESC, last_id DESC LIMIT 1)
    RETURNING run INTO number;
    IF number IS NULL THEN
        INSERT INTO ingest_runs (source_id, run, first_id, last_id)
        SELECT source, coalesce(max(run), 0) + 1, first, last FROM ingest_runs WHERE source_id = source
        RETURNING run INTO number;
    END IF;
    number := nullif(number, coalesce(beginning, number));
END
$$;

-- The changes of archived days are noted by triggers of their partitions.
ALTER FUNCTION archive_touch() RENAME TO note_archive_change;
DO $$
DECLARE
    child text;
BEGIN
    FOR child IN SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'archive_touch' LOOP
        EXECUTE format('ALTER TRIGGER archive_touch ON %I RENAME TO note_archive_change', child);
    END LOOP;
END
$$;
CREATE OR REPLACE FUNCTION note_archive_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM archive_changes
                   WHERE day = TG_ARGV[0]::date AND xid = pg_current_xact_id()) THEN
        INSERT INTO archive_changes (day) VALUES (TG_ARGV[0]::date);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION archive_watch(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    child text;
BEGIN
    FOREACH child IN ARRAY ARRAY['tweets', 'matches'] LOOP
        child := child || to_char(day, '_YYYYMMDD');
        CONTINUE WHEN to_regclass(child) IS NULL;
        IF NOT EXISTS (SELECT FROM pg_trigger
                       WHERE tgrelid = to_regclass(child) AND tgname = 'note_archive_change') THEN
            EXECUTE format('CREATE TRIGGER note_archive_change AFTER INSERT OR UPDATE OR DELETE ON %I '
                           'FOR EACH ROW EXECUTE FUNCTION note_archive_change(%L)', child, day);
        END IF;
    END LOOP;
    DELETE FROM archive_changes WHERE archive_changes.day = archive_watch.day;
END
$$;

CREATE OR REPLACE FUNCTION archive_lock(day date) RETURNS boolean LANGUAGE plpgsql AS $$
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
            SELECT FROM pg_trigger WHERE tgrelid = to_regclass(child) AND tgname = 'note_archive_change');
    END LOOP;
    RETURN watched;
END
$$;

CREATE OR REPLACE FUNCTION archive_drop(day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS %I', 'tweets' || to_char(day, '_YYYYMMDD'));
    EXECUTE format('DROP TABLE IF EXISTS %I', 'matches' || to_char(day, '_YYYYMMDD'));
    DELETE FROM archive_changes WHERE archive_changes.day = archive_drop.day;
END
$$;

DROP VIEW stats_health;
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
                ELSE format('%s of %s components need attention.',
                            count(DISTINCT about) FILTER (WHERE NOT ok), count(DISTINCT about))
            END AS sentence,
            '' AS about, 0 AS rank
        FROM found
        UNION ALL
        SELECT * FROM found
    ) AS rows
    ORDER BY rank <> 0, ok, rank, component, since, subject;

-- The state that an event is about, for programs; its text is for people.
ALTER TABLE events ADD COLUMN state text;
UPDATE events SET state = split_part(text, ':', 1) WHERE kind = 'state';
COMMENT ON TABLE sources IS 'Bound: created by admins; at most 4,095';
COMMENT ON TABLE tracks IS 'Bound: created by users, within users.max_tracks';
COMMENT ON TABLE users IS 'Bound: created by admins';
COMMENT ON TABLE invites IS 'Bound: deleted a day after they expire';
COMMENT ON TABLE sessions IS 'Bound: deleted a day after they expire (web.session_days)';
COMMENT ON TABLE tokens IS 'Bound: created by users; at most 50 each';
COMMENT ON TABLE track_shares IS 'Bound: created by users; deleted with the track or the user';
COMMENT ON TABLE tweets IS 'Bound: retention.tweets_days, retention.unmatched_days, tracks.keep_days';
COMMENT ON TABLE tweet_ids IS 'Bound: while the tweet is stored, then retention.ids_days; tombstones: retention.deletions_days';
COMMENT ON TABLE matches IS 'Bound: as their tweets';
COMMENT ON TABLE track_minutes IS 'Bound: retention.track_minutes_days';
COMMENT ON TABLE track_top_items IS 'Bound: for each track and aspect 1,000 items for each of 25 hours, and 1,000 for older ones';
COMMENT ON TABLE source_minutes IS 'Bound: retention.track_minutes_days';
COMMENT ON TABLE ingest_runs IS 'Bound: one row for each source; later runs are deleted 30 days after their last tweet is dropped';
COMMENT ON TABLE consumer_cursors IS 'Bound: one row for each internal reader';
COMMENT ON TABLE daemons IS 'Bound: deleted a day after they were last seen';
COMMENT ON TABLE machine_minutes IS 'Bound: monitor.machine_minutes_days per minute, then monitor.machine_hours_days per hour';
COMMENT ON TABLE alerts IS 'Bound: deleted 365 days after they close; one open row for each rule, subject and host';
COMMENT ON TABLE alert_mutes IS 'Bound: deleted 365 days after they end';
COMMENT ON TABLE archives IS 'Bound: one row for each day and part; archive.keep_days';
COMMENT ON TABLE archive_changes IS 'Bound: one row for each archived day that is still stored';
COMMENT ON TABLE partially_expired_days IS 'Bound: one row for each stored day';
COMMENT ON TABLE track_gaps IS 'Bound: retention.gaps_days after they end';

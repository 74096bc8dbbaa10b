-- Triggers, and functions for the program and for views.
-- After tables.sql.

------------------------------------------------------------------------------------------------
-- Notifications of edits, and the states of edited tracks.

-- It only reports that something changed: the daemon reads the tables again, so a lost or doubled
-- notification costs at most one poll_interval. The columns that the daemon writes do not notify.
CREATE FUNCTION notify_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('twitterstream', TG_TABLE_NAME);
    RETURN NULL;
END
$$;

CREATE TRIGGER tracks_notify_change
    AFTER INSERT OR DELETE OR TRUNCATE
        OR UPDATE OF owner, kind, value, networks, enabled, starts_at, ends_at, priority ON tracks
    FOR EACH STATEMENT EXECUTE FUNCTION notify_change();

CREATE TRIGGER sources_notify_change
    AFTER INSERT OR DELETE OR TRUNCATE
        OR UPDATE OF name, network, url, proxy, secrets, enabled, lanes ON sources
    FOR EACH STATEMENT EXECUTE FUNCTION notify_change();

-- For the copies of lanes in cells.
CREATE TRIGGER lanes_notify_change
    AFTER INSERT OR DELETE OR TRUNCATE ON lanes
    FOR EACH STATEMENT EXECUTE FUNCTION notify_change();

CREATE TRIGGER tracked_accounts_notify_change
    AFTER UPDATE OF author_id, checked_at ON tracked_accounts
    FOR EACH STATEMENT EXECUTE FUNCTION notify_change();

-- The daemon serves webhooks only while there are some.
CREATE TRIGGER webhooks_notify_change
    AFTER INSERT OR DELETE OR TRUNCATE ON webhooks
    FOR EACH STATEMENT EXECUTE FUNCTION notify_change();

-- After an edit the old state no longer describes the row.
CREATE FUNCTION tracks_edited() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.state := 'pending';
    NEW.reason := '';
    NEW.reach := NULL;
    NEW.state_at := now();
    RETURN NEW;
END
$$;

CREATE TRIGGER tracks_edited
    BEFORE UPDATE OF kind, value, networks, enabled, starts_at, ends_at ON tracks
    FOR EACH ROW EXECUTE FUNCTION tracks_edited();

------------------------------------------------------------------------------------------------
-- Who sees which track, and the history of tracks.

-- Which tracks a user sees, and which of these they may change: the only definition of that. Tracks
-- without an owner (added by psql) are for admins. Its tables are bound when it is created, so that a SQL
-- role (sql_access.sql) cannot put others in their place.
CREATE FUNCTION tracks_seen_by(who bigint) RETURNS TABLE (track_id bigint, may_change boolean)
    LANGUAGE sql STABLE PARALLEL SAFE
    BEGIN ATOMIC
        SELECT tracks.id, users.role = 'admin' OR users.role = 'user' AND owned
        FROM users
        CROSS JOIN tracks
        CROSS JOIN LATERAL (SELECT tracks.owner IS NOT DISTINCT FROM users.name AS owned) AS own
        WHERE users.id = who AND users.enabled
          AND (users.role = 'admin' OR owned
               OR EXISTS (SELECT FROM track_shares
                          WHERE track_shares.track_id = tracks.id AND track_shares.user_id = who));
    END;

CREATE FUNCTION track_spec(track tracks) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT jsonb_build_object('owner', track.owner, 'kind', track.kind, 'value', track.value,
        'networks', track.networks, 'enabled', track.enabled, 'starts_at', track.starts_at,
        'ends_at', track.ends_at, 'priority', track.priority, 'keep_days', track.keep_days)
$$;

CREATE FUNCTION track_history() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE TRIGGER tracks_history
    AFTER INSERT OR DELETE
        OR UPDATE OF owner, kind, value, networks, enabled, starts_at, ends_at, priority, keep_days
        ON tracks
    FOR EACH ROW WHEN (current_setting('twitterstream.restoring', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION track_history();

CREATE FUNCTION track_shares_history() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    share track_shares := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    named jsonb := (SELECT jsonb_build_object('user', name) FROM users WHERE id = share.user_id);
BEGIN
    IF named IS NOT NULL AND EXISTS (SELECT FROM tracks WHERE id = share.track_id) THEN
        INSERT INTO track_history (track_id, actor, action, before, after)
        VALUES (share.track_id, nullif(current_setting('twitterstream.actor', true), ''),
            CASE TG_OP WHEN 'DELETE' THEN 'unshared' ELSE 'shared' END,
            CASE TG_OP WHEN 'DELETE' THEN named END, CASE TG_OP WHEN 'INSERT' THEN named END);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER track_shares_history
    AFTER INSERT OR DELETE ON track_shares
    FOR EACH ROW WHEN (current_setting('twitterstream.restoring', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION track_shares_history();

------------------------------------------------------------------------------------------------
-- Partitions and runs of tweets; gaps of removed sources.

-- Create the partitions of one day (UTC) unless they exist, and attach detached ones.
CREATE FUNCTION ensure_day(day date) RETURNS void LANGUAGE plpgsql AS $$
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

-- Tweets with keys from `first` to `last` are about to be stored by this transaction: the number of
-- their run, null for the first one of the source, and whether other runs have keys as high as these.
-- While a daemon takes over from another one, both may store at once: one after the other, here.
CREATE FUNCTION note_ingest_run(source integer, first bigint, last bigint, OUT number integer,
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

-- Adds to the counts of tracks by minute, hour and day, in one call of the writer: each row is a track,
-- a minute, and its tweets and their bytes. Rows are taken in the order of their keys, as by all who
-- add to them or subtract: so there is no deadlock.
CREATE FUNCTION add_track_counts(tracks bigint[], minutes timestamptz[], tweets integer[], bytes bigint[])
    RETURNS void LANGUAGE sql AS $$
    INSERT INTO track_minutes AS known (track_id, minute, tweets)
    SELECT * FROM unnest(tracks, minutes, tweets) ORDER BY 1, 2
    ON CONFLICT (track_id, minute) DO UPDATE SET tweets = known.tweets + excluded.tweets;

    INSERT INTO track_hours AS known (track_id, hour, tweets, bytes)
    SELECT track, date_trunc('hour', minute, 'UTC'), sum(number), sum(size)
    FROM unnest(tracks, minutes, tweets, bytes) AS new (track, minute, number, size)
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (track_id, hour) DO UPDATE SET
        tweets = known.tweets + excluded.tweets, bytes = known.bytes + excluded.bytes;

    INSERT INTO track_days AS known (track_id, day, tweets, bytes)
    SELECT track, (minute AT TIME ZONE 'UTC')::date, sum(number), sum(size)
    FROM unnest(tracks, minutes, tweets, bytes) AS new (track, minute, number, size)
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (track_id, day) DO UPDATE SET
        tweets = known.tweets + excluded.tweets, bytes = known.bytes + excluded.bytes;
$$;

-- Adds to the frames of a source by minute and hour and by outcome, in the same way.
CREATE FUNCTION add_frame_counts(source integer, minutes timestamptz[], outcomes text[], numbers bigint[])
    RETURNS void LANGUAGE sql AS $$
    INSERT INTO source_minutes AS known (source_id, minute, outcome, frames)
    SELECT source, * FROM unnest(minutes, outcomes, numbers) ORDER BY 2, 3
    ON CONFLICT (source_id, minute, outcome) DO UPDATE SET frames = known.frames + excluded.frames;

    INSERT INTO source_hours AS known (source_id, hour, outcome, frames)
    SELECT source, date_trunc('hour', minute, 'UTC'), outcome, sum(number)
    FROM unnest(minutes, outcomes, numbers) AS new (minute, outcome, number)
    GROUP BY 2, 3 ORDER BY 2, 3
    ON CONFLICT (source_id, hour, outcome) DO UPDATE SET frames = known.frames + excluded.frames;
$$;

-- The gaps of a removed source end.
CREATE FUNCTION close_gap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE gaps SET ended_at = greatest(now(), began_at)
    WHERE source_id = OLD.id AND ended_at IS NULL;
    UPDATE track_gaps SET ended_at = greatest(now(), began_at)
    WHERE source_id = OLD.id AND ended_at IS NULL;
    RETURN NULL;
END
$$;

CREATE TRIGGER sources_removed
    AFTER DELETE ON sources
    FOR EACH ROW EXECUTE FUNCTION close_gap();

------------------------------------------------------------------------------------------------
-- Archived days.

CREATE FUNCTION note_archive_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM archive_changes
                   WHERE day = TG_ARGV[0]::date AND xid = pg_current_xact_id()) THEN
        INSERT INTO archive_changes (day) VALUES (TG_ARGV[0]::date);
    END IF;
    RETURN NULL;
END
$$;

-- Records changes of a day from now on, and deletes the earlier ones: a snapshot taken after this
-- transaction sees everything that is committed now.
CREATE FUNCTION archive_watch(day date) RETURNS void LANGUAGE plpgsql AS $$
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

-- Locks a day against everything else, the parents first, in the order of writers. Returns whether
-- its changes were recorded.
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
            SELECT FROM pg_trigger WHERE tgrelid = to_regclass(child) AND tgname = 'note_archive_change');
    END LOOP;
    RETURN watched;
END
$$;

-- Drops the partitions of a day.
CREATE FUNCTION archive_drop(day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS %I', 'tweets' || to_char(day, '_YYYYMMDD'));
    EXECUTE format('DROP TABLE IF EXISTS %I', 'matches' || to_char(day, '_YYYYMMDD'));
    DELETE FROM archive_changes WHERE archive_changes.day = archive_drop.day;
END
$$;

-- Creates the staging tables of a day that is restored. They become its partitions when they are
-- complete, in the same transaction.
CREATE FUNCTION archive_stage() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CREATE TABLE restoring_tweets (LIKE tweets INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
    CREATE TABLE restoring_matches (LIKE matches INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
END
$$;

-- Does what takes long before any lock is held: the indexes of the parents, and a constraint that
-- proves that all rows are of that day, so that they are not read when they are attached.
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

-- Attaches the staging tables. Rows that the day got meanwhile move there; returns whether there
-- were any.
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

------------------------------------------------------------------------------------------------
-- For the views, and for people.

-- Whether some daemon collects a source at this moment: it holds the lock of stream/store/sources.py.
CREATE FUNCTION source_collected(source sources) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND classid = 29815 AND objid = source.id::oid
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
$$;

-- The state of a source for people: the column has what the last daemon wrote, also when no daemon
-- is left to change it.
CREATE FUNCTION source_state(source sources) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN source.state = 'importing' OR source_collected(source) THEN source.state
        WHEN NOT source.enabled THEN 'disabled'
        WHEN source.state = 'failed' THEN source.state
        ELSE 'stopped'
    END
$$;

-- What an alert is about, as stats_health names it, so that nothing is counted twice.
CREATE FUNCTION alert_about(alert alerts) RETURNS text LANGUAGE sql IMMUTABLE AS $$
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

-- Whether an alert means that not all is well: until it is acknowledged or closed.
CREATE FUNCTION alert_is_active(alert alerts) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT alert.closed_at IS NULL AND alert.severity <> 'notice'
        AND alert.acknowledged_at IS NULL AND alert.gone_since IS NULL
$$;

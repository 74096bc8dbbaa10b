-- Bluesky and Mastodon: networks that may replay what was missed.

ALTER TABLE sources DROP CONSTRAINT sources_network_known,
    ADD CONSTRAINT sources_network_known
        CHECK (network IN ('x_v2', 'x_v1', 'bluesky', 'mastodon'));
ALTER TABLE tracks DROP CONSTRAINT tracks_networks_known,
    ADD CONSTRAINT tracks_networks_known
        CHECK (networks <@ ARRAY['x_v2', 'x_v1', 'bluesky', 'mastodon']);
ALTER TABLE matches DROP CONSTRAINT matches_field_known,
    ADD CONSTRAINT matches_field_known CHECK (field IN
        ('text', 'hashtag', 'mention', 'cashtag', 'link', 'description', 'author', 'reply', 'place',
         'network'));
ALTER TABLE tweets ADD COLUMN edited_at timestamptz;
CREATE OR REPLACE VIEW track_tweets AS
    SELECT matches.track_id, matches.term, matches.field, matches.part, tweets.*
    FROM matches
    JOIN tweets ON tweets.id = matches.tweet_id AND tweets.received_at = matches.received_at;
ALTER TABLE positions ADD COLUMN network_cursor jsonb;
ALTER TABLE gaps ADD COLUMN recovered_from timestamptz, ADD COLUMN read_to jsonb,
    ADD COLUMN checked_to timestamptz;

-- What each network and source delivers of a track.

ALTER TABLE tracks ADD COLUMN reach jsonb,
    ADD CONSTRAINT tracks_reach_list CHECK (jsonb_typeof(reach) = 'array');

CREATE OR REPLACE FUNCTION tracks_edited() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.state := 'pending';
    NEW.reason := '';
    NEW.reach := NULL;
    NEW.state_at := now();
    RETURN NEW;
END
$$;

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

-- Authors of stored tweets on networks whose messages name them by id only: their handles are looked
-- up afterwards, never while a tweet is stored.
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

CREATE TRIGGER tracked_accounts_notify_change
    AFTER UPDATE OF author_id, checked_at ON tracked_accounts
    FOR EACH STATEMENT EXECUTE FUNCTION notify_change();

ALTER TABLE author_tombstones
    ADD COLUMN hidden_at timestamptz,
    ADD COLUMN held boolean NOT NULL DEFAULT true;
COMMENT ON TABLE author_tombstones IS
    'Bound: retention.deletions_days after the last change; without a held tweet retention.unseen_deletions_hours';
CREATE INDEX author_tombstones_hidden ON author_tombstones (hidden_at) WHERE hidden_at IS NOT NULL;
CREATE INDEX author_tombstones_unheld ON author_tombstones (changed_at) WHERE NOT held;
COMMENT ON TABLE tweet_ids IS
    'Bound: while the tweet is stored, then retention.ids_days; tombstones: retention.deletions_days, of tweets never stored from Bluesky and Mastodon retention.unseen_deletions_hours';

-- Authors who ask not to be collected: their posts are counted only.
ALTER TABLE source_minutes DROP CONSTRAINT source_minutes_outcome_known,
    ADD CONSTRAINT source_minutes_outcome_known CHECK (outcome IN
        ('stored', 'unmatched', 'dropped', 'opted_out', 'duplicate', 'deleted', 'control',
         'rejected', 'repaired', 'undelivered'));
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

ALTER TABLE matches ADD COLUMN look_back boolean NOT NULL DEFAULT false;

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

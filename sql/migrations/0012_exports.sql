-- Exports: tweets of tracks as files to download, written in the background.

CREATE TABLE exports (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id      bigint REFERENCES users ON DELETE CASCADE,
    tracks       bigint[] NOT NULL,
    format       text NOT NULL,
    columns      text NOT NULL DEFAULT 'everything',
    since        timestamptz,
    until        timestamptz NOT NULL,
    words        text NOT NULL DEFAULT '',
    time_zone    text NOT NULL DEFAULT 'UTC',
    part_rows    integer NOT NULL,
    pseudonym_key bytea,
    requested_at timestamptz NOT NULL DEFAULT now(),
    state        text NOT NULL DEFAULT 'waiting',
    reason       text NOT NULL DEFAULT '',
    worker       uuid,
    leased_until timestamptz,
    progress     real,
    rows         bigint NOT NULL DEFAULT 0,
    size         bigint NOT NULL DEFAULT 0,
    complete     boolean NOT NULL DEFAULT false,
    deletions    bigint,
    valid_until  timestamptz,
    host         text NOT NULL DEFAULT '',
    sha256       text,
    started_at   timestamptz,
    updated_at   timestamptz,
    finished_at  timestamptz,
    expires_at   timestamptz,
    notified_at  timestamptz,

    CONSTRAINT exports_tracks_some CHECK (cardinality(tracks) BETWEEN 1 AND 1000),
    CONSTRAINT exports_tracks_flat CHECK (array_ndims(tracks) = 1),
    CONSTRAINT exports_format_known CHECK (format IN
        ('csv', 'excel', 'xlsx', 'ndjson', 'received', 'parquet', 'ids')),
    CONSTRAINT exports_columns_known CHECK (columns IN ('simple', 'twarc', '4cat', 'everything')),
    CONSTRAINT exports_words_length CHECK (char_length(words) <= 1000),
    CONSTRAINT exports_time_zone_plain CHECK (time_zone ~ '^[A-Za-z0-9_+/-]{1,64}$'),
    CONSTRAINT exports_pseudonym_key_length CHECK (octet_length(pseudonym_key) = 32),
    CONSTRAINT exports_part_rows_range CHECK (part_rows BETWEEN 1 AND 1000000),
    CONSTRAINT exports_state_known CHECK (state IN
        ('waiting', 'running', 'done', 'failed', 'cancelled', 'expired')),
    CONSTRAINT exports_progress_range CHECK (progress BETWEEN 0 AND 1),
    CONSTRAINT exports_counts_positive CHECK (rows >= 0 AND size >= 0),
    CONSTRAINT exports_sha256_hexadecimal CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT exports_window_order CHECK (until > since),
    CONSTRAINT exports_dates_in_range CHECK (
        least(since, until, requested_at, started_at, updated_at, finished_at, expires_at)
            >= '1900-01-01 00:00+00'
        AND greatest(since, until, requested_at, started_at, updated_at, finished_at, expires_at)
            <= '9999-12-31 00:00+00')
);
COMMENT ON TABLE exports IS 'Bound: retention.history_days after they were requested';
CREATE INDEX exports_unfinished ON exports (id) WHERE state IN ('waiting', 'running');
CREATE INDEX exports_user ON exports (user_id, id);

CREATE TABLE export_parts (
    export_id bigint NOT NULL REFERENCES exports ON DELETE CASCADE,
    number    integer NOT NULL,
    after_id  bigint NOT NULL,
    last_id   bigint NOT NULL,
    rows      bigint NOT NULL,
    size      bigint NOT NULL,
    sha256    text NOT NULL,
    archived  boolean NOT NULL,

    CONSTRAINT export_parts_pkey PRIMARY KEY (export_id, number),
    CONSTRAINT export_parts_order CHECK (last_id > after_id),
    CONSTRAINT export_parts_sha256_hexadecimal CHECK (sha256 ~ '^[0-9a-f]{64}$')
);
COMMENT ON TABLE export_parts IS 'Bound: as their exports, which are bounded in bytes';

ALTER TABLE track_history
    DROP CONSTRAINT track_history_action_known,
    ADD CONSTRAINT track_history_action_known CHECK (action IN
        ('added', 'changed', 'paused', 'resumed', 'removed', 'shared', 'unshared', 'exported'));

-- Sinks: what they pass on besides tweets, and how they are.

CREATE TABLE deletion_log (
    tweet_id   bigint PRIMARY KEY,
    deleted_at timestamptz NOT NULL,
    tracks     bigint[] NOT NULL,
    number     bigint,

    CONSTRAINT deletion_log_number_unique UNIQUE (number)
);
COMMENT ON TABLE deletion_log IS 'Bound: retention.deletions_days';
CREATE INDEX deletion_log_unnumbered ON deletion_log (tweet_id) WHERE number IS NULL;

CREATE TABLE sinks (
    name       text PRIMARY KEY,
    reason     text NOT NULL DEFAULT '',
    late_since timestamptz,
    seen_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE sinks IS 'Bound: deleted a day after they last ran';

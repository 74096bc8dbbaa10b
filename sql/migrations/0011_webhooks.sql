-- Webhooks: where users have their tweets sent to, and what became of each batch.

CREATE TABLE webhooks (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id          bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    name             text NOT NULL,
    url              text NOT NULL,
    tracks           bigint[],
    secrets          bytea,
    old_secret_until timestamptz,
    state            text NOT NULL DEFAULT 'active',
    reason           text NOT NULL DEFAULT '',
    failing_since    timestamptz,
    position         text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT webhooks_name_unique UNIQUE (user_id, name),
    CONSTRAINT webhooks_name_length CHECK (char_length(name) BETWEEN 1 AND 100),
    CONSTRAINT webhooks_url_http CHECK (url ~ '^https?://[^\s]+$'),
    CONSTRAINT webhooks_url_length CHECK (char_length(url) <= 2000),
    CONSTRAINT webhooks_tracks_some CHECK (cardinality(tracks) BETWEEN 1 AND 1000),
    CONSTRAINT webhooks_tracks_flat CHECK (array_ndims(tracks) = 1),
    CONSTRAINT webhooks_state_known CHECK (state IN ('active', 'paused', 'disabled'))
);
COMMENT ON TABLE webhooks IS 'Bound: created by users; at most sinks.webhooks.max_per_user each';

CREATE TABLE webhook_deliveries (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook_id bigint NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    message_id text NOT NULL,
    event      text NOT NULL,
    tweets     bigint[] NOT NULL,
    position   text NOT NULL DEFAULT '',
    state      text NOT NULL,
    created_at timestamptz NOT NULL,
    began_at   timestamptz NOT NULL DEFAULT now(),
    next_at    timestamptz DEFAULT now(),
    tries      integer NOT NULL DEFAULT 0,
    tried_at   timestamptz,
    seconds    real,
    status     integer,
    result     text NOT NULL DEFAULT '',
    answer     text NOT NULL DEFAULT '',

    CONSTRAINT webhook_deliveries_event_known CHECK (event IN
        ('tweets.matched', 'tweet.deleted', 'webhook.test')),
    CONSTRAINT webhook_deliveries_state_known CHECK (state IN
        ('waiting', 'again', 'delivered', 'dead')),
    CONSTRAINT webhook_deliveries_tweets_bounded CHECK (cardinality(tweets) <= 100),
    CONSTRAINT webhook_deliveries_next_until_finished CHECK
        ((state IN ('waiting', 'again')) = (next_at IS NOT NULL))
);
COMMENT ON TABLE webhook_deliveries IS 'Bound: for each webhook, the newest 50, and the newest 100 dead letters';
CREATE INDEX webhook_deliveries_webhook ON webhook_deliveries (webhook_id, id);
CREATE UNIQUE INDEX webhook_deliveries_one_waiting ON webhook_deliveries (webhook_id) WHERE state = 'waiting';
CREATE INDEX webhook_deliveries_unfinished ON webhook_deliveries (webhook_id, next_at) WHERE next_at IS NOT NULL;

-- For PostgreSQL's own pgbench: one tweet, in the way of most collectors, and committed at once.
-- Needs -D first=… -D n=0 -D doc=… -D text=… ; n counts within a client.
\set n :n + 1
\set key (:first + :n * 64 + :client_id) << 12 | 1
BEGIN;
INSERT INTO tweet_ids (network, native_id, tweet_id) VALUES ('x_v2', :key, :key);
INSERT INTO tweets (id, received_at, created_at, network, native_id, kind, lang, author_id, author,
                    url, text, doc)
VALUES (:key, tweet_received_at(:key), tweet_received_at(:key), 'x_v2', :key, 'original', 'en',
        '123456789', 'somebody', 'https://x.com/somebody/status/1', :text, :doc);
INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)
VALUES (:key, 1, tweet_received_at(:key), 'word', 'text', 'own');
COMMIT;

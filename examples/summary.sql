-- A summary of the last hours: tweets by network, hour and kind; hashtags, authors, sites, mentions.
--
--     psql "$TWEETS_DATABASE" -f examples/summary.sql
--     psql "$TWEETS_DATABASE" -v hours=168 -v rows=50 --csv -o summary.csv -f examples/summary.sql
--
-- TWEETS_DATABASE is the address of SQL access (page My account). An administrator can also run it, for
-- all tweets:  ./twitterstream.py psql -f examples/summary.sql

\set ON_ERROR_STOP on
\if :{?hours}
\else
  \set hours 24
\endif
\if :{?rows}
\else
  \set rows 10
\endif

\echo Tweets by network, last :hours hours
SELECT network, count(*) AS tweets, count(DISTINCT author_id) AS authors,
    min(received_at) AS first, max(received_at) AS last
FROM tweets_flat
WHERE received_at >= now() - make_interval(hours => :hours)
GROUP BY network ORDER BY tweets DESC;

\echo Tweets by hour (UTC)
SELECT date_trunc('hour', received_at, 'UTC') AT TIME ZONE 'UTC' AS hour, count(*) AS tweets,
    count(*) FILTER (WHERE kind = 'repost') AS reposts,
    count(*) FILTER (WHERE kind = 'reply') AS replies
FROM tweets_flat
WHERE received_at >= now() - make_interval(hours => :hours)
GROUP BY 1 ORDER BY 1;

\echo Languages
SELECT coalesce(lang, 'unknown') AS lang, count(*) AS tweets
FROM tweets_flat
WHERE received_at >= now() - make_interval(hours => :hours)
GROUP BY 1 ORDER BY tweets DESC, lang LIMIT :rows;

\echo Hashtags
SELECT hashtag_lower AS hashtag, count(*) AS tweets, count(DISTINCT author_id) AS authors
FROM hashtags
WHERE received_at >= now() - make_interval(hours => :hours)
GROUP BY 1 ORDER BY tweets DESC, hashtag LIMIT :rows;

\echo Authors, without reposts
SELECT network, author, max(display_name) AS display_name, count(*) AS tweets, sum(likes) AS likes
FROM tweets_flat
WHERE received_at >= now() - make_interval(hours => :hours) AND kind <> 'repost'
GROUP BY network, author ORDER BY tweets DESC, author LIMIT :rows;

\echo Linked sites
SELECT host, count(*) AS links, count(DISTINCT author_id) AS authors
FROM links
WHERE received_at >= now() - make_interval(hours => :hours)
GROUP BY host ORDER BY links DESC, host LIMIT :rows;

\echo Mentioned accounts
SELECT network, mention_lower AS mention, count(*) AS tweets
FROM mentions
WHERE received_at >= now() - make_interval(hours => :hours)
GROUP BY 1, 2 ORDER BY tweets DESC, mention LIMIT :rows;

-- stats_forecast: the same, in a tenth of the time.

CREATE OR REPLACE VIEW stats_forecast AS
    SELECT newest.host, volume.key AS volume,
        volume.value ->> 'path' AS path,
        newest.at,                                      -- the last look
        (volume.value ->> 'total')::bigint AS total,
        (volume.value ->> 'free')::bigint AS free,
        round(slope.bytes_per_day)::bigint AS bytes_per_day,
        CASE WHEN slope.bytes_per_day > 0
            THEN round(((volume.value ->> 'free')::bigint / slope.bytes_per_day)::numeric, 1)
        END AS days_until_full
    FROM (
        -- Each machine's last look, by the index: one step for each machine.
        WITH RECURSIVE hosts (host) AS (
            (SELECT host FROM machine_minutes ORDER BY host LIMIT 1)
            UNION ALL
            SELECT (SELECT next.host FROM machine_minutes AS next
                    WHERE next.host > hosts.host ORDER BY next.host LIMIT 1)
            FROM hosts WHERE hosts.host IS NOT NULL
        )
        SELECT hosts.host, last.at, last.volumes
        FROM hosts
        CROSS JOIN LATERAL (
            SELECT at, volumes FROM machine_minutes AS m
            WHERE m.host = hosts.host ORDER BY m.host DESC, at DESC LIMIT 1
        ) AS last
        WHERE last.at > now() - interval '1 day'
    ) AS newest
    CROSS JOIN jsonb_each(newest.volumes) AS volume
    LEFT JOIN LATERAL (
        -- One look an hour is enough for a slope over days.
        SELECT CASE WHEN max(at) - min(at) >= interval '6 hours' THEN
                86400 * regr_slope((looked.volumes -> volume.key ->> 'used')::double precision,
                                   extract(epoch FROM at)::double precision)
            END AS bytes_per_day
        FROM generate_series(now() - interval '7 days', now(), interval '1 hour') AS hour
        CROSS JOIN LATERAL (
            SELECT at, volumes FROM machine_minutes AS m
            WHERE m.host = newest.host AND at >= hour AND at < hour + interval '1 hour'
            ORDER BY m.host, at LIMIT 1
        ) AS looked
        WHERE looked.volumes ? volume.key
    ) AS slope ON true;

"""When a network did not look for a track, though its source delivered for others."""

from stream import db
from stream.notes import TracksCovered, TracksLapsed
from stream.store import gaps
from stream.tweet import SourceId

SOURCE = SourceId(1)
ALL = """
SELECT track_id, extract(epoch FROM began_at)::integer AS began,
    extract(epoch FROM ended_at)::integer AS ended, detail
FROM track_gaps ORDER BY id
"""


async def test_gaps_of_tracks_open_once_and_end_with_their_tracks_or_their_source(
    database: str,
) -> None:
    async with db.connect(database) as connected, connected.acquire() as connection:
        await connection.execute("INSERT INTO sources (name, network) VALUES ('main', 'x_v2')")
        for note in (TracksLapsed((1, 2, 3), 100.0, "lost"), TracksLapsed((2, 4), 150.0, "again")):
            await gaps.open_track_gaps(connection, SOURCE, note)
        await gaps.close_track_gaps(connection, SOURCE, TracksCovered((1,), 200.0))
        await gaps.close_track_gaps(connection, SOURCE, TracksCovered((2,), 50.0, 150.0))
        await connection.execute("DELETE FROM sources")
        found = [tuple(row) for row in await connection.fetch(ALL)]
        assert found[:2] == [(1, 100, 200, "lost"), (2, 100, 100, "lost")]
        assert [(track, began) for track, began, _, _ in found[2:]] == [(3, 100), (4, 150)]
        assert all(ended > 1000 for _, _, ended, _ in found[2:])
        # A source that is gone has promised nothing.
        await gaps.open_track_gaps(connection, SOURCE, TracksLapsed((5,), 300.0, "lost"))
        assert len(await connection.fetch(ALL)) == 4

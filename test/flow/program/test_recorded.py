"""Recorded messages go from a file to the tracks that they belong to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from test.flow.program.conftest import MakeProgram

TRACKS = {
    "keyword": [
        "#ラブ・ライブ", "#می‌خواهم", "@nasa", "$tsla", "example.com/a", "🇺🇸", '"snow day"',
        "AT&T", "#no",
    ],
    "query": ["#ラブ・ライブ has:mentions"],
    "place": ["178,-19,180,-17", "178,-19,-179,-17", "0,-20,10,-10"],
}  # fmt: skip
TEXTS = {
    "#ラブ・ライブ! .@NASA": {"#ラブ・ライブ": "hashtag", "@nasa": "mention",
                         "#ラブ・ライブ has:mentions": "hashtag"},
    "من #می‌خواهم": {"#می‌خواهم": "hashtag"},
    "buy $TSLA, see example.com/a.": {"$tsla": "cashtag", "example.com/a": "text"},
    "🇦🇺🇸🇪 me@nasa.gov a&#no #no#2": {},
    "go 🇺🇸🇸🇪": {"🇺🇸": "text"},
    "a day of snow, at t": {},
    "a snow day at AT&T’s": {'"snow day"': "text", "at&t": "text"},
}  # fmt: skip
FIJI = (176.9, -20.7, -178.2, -12.5)
IN_FIJI = {"178,-19,180,-17": "place", "178,-19,-179,-17": "place"}


def v1(number: int, text: str, box: tuple[float, ...] | None = None) -> dict[str, object]:
    user = {"id_str": "5", "screen_name": "ann"}
    place = None
    if box is not None:
        west, south, east, north = box
        ring = [[west, south], [west, north], [east, north], [east, south]]
        place = {"id": "fj", "bounding_box": {"type": "Polygon", "coordinates": [ring]}}
    return {"id_str": str(number), "full_text": text, "user": user, "place": place}


def v2(number: int, text: str, box: tuple[float, ...] | None = None) -> dict[str, object]:
    post = {"id": str(number), "text": text, "author_id": "5", "geo": {"place_id": "fj"}}
    places = [{"id": "fj", "geo": {"bbox": box}}] if box else []
    return {"data": post, "includes": {"places": places}}


async def test_what_stands_in_recorded_texts_without_entities_is_found(
    make_program: MakeProgram, database: str
) -> None:
    program = make_program("a", database)
    wanted = [*TEXTS.values(), IN_FIJI]
    with psycopg.connect(database, autocommit=True) as connection:
        for kind, values in TRACKS.items():
            for value in values:
                connection.execute(
                    "INSERT INTO tracks (kind, value) VALUES (%s, %s)", (kind, value)
                )
        for network, message, first in (("x_v1", v1, 100), ("x_v2", v2, 200)):
            lines = [message(first + at, text) for at, text in enumerate(TEXTS)]
            lines.append(message(first + len(TEXTS), "", FIJI))
            path = program.folder / f"{network}.ndjson"
            path.write_text("\n".join(map(json.dumps, lines)))
            await program.command("import", str(path), "--network", network)
            found = connection.execute(
                "SELECT native_id, term, field FROM matches JOIN tweets ON id = tweet_id"
                " WHERE native_id::bigint BETWEEN %s AND %s",
                (first, first + len(TEXTS)),
            ).fetchall()
            by_tweet = [
                {term: field for native_id, term, field in found if native_id == str(first + at)}
                for at in range(len(wanted))
            ]
            assert by_tweet == wanted

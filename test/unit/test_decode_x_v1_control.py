"""X v1.1: what is no tweet becomes the right word of ours."""

from pathlib import Path

import pytest

from stream.networks.x_v1.decode import decode, urgent
from stream.tweet import Deletion, GeoScrub, Message, NativeId, Notice, Withheld

FRAMES = Path(__file__).parent.parent / "frames" / "x_v1"

CONTROL: list[tuple[str, Message]] = [
    (
        '{"delete":{"status":{"id":77,"id_str":"77","user_id":5},"timestamp_ms":"1700000000123"}}',
        Deletion(NativeId("77")),
    ),
    (
        '{"delete":{"status":{"id":601430178305220600,"id_str":"601430178305220608"}}}',
        Deletion(NativeId("601430178305220608")),
    ),
    ('{"delete":{"favorite":{"tweet_id":7}}}', Notice("relic", "delete: favorite")),
    (
        '{"scrub_geo":{"user_id":5,"up_to_status_id":98,"up_to_status_id_str":"99"}}',
        GeoScrub("5", 99),
    ),
    (
        '{"status_withheld":{"id":77,"user_id":5,"withheld_in_countries":["de","AR"]}}',
        Withheld(NativeId("77"), None, ("DE", "AR")),
    ),
    (
        '{"status_withheld":{"status":{"id_str":"77"},"withheld_in_countries":["XY"]}}',
        Withheld(NativeId("77"), None, ("XY",)),
    ),
    (
        '{"user_withheld":{"id":5,"withheld_in_countries":["XX"]}}',
        Withheld(None, "5", ("XX",)),
    ),
    (
        '{"user_withheld":{"user":{"id":5,"id_str":"5"},"withheld_in_countries":[]}}',
        Withheld(None, "5", ()),
    ),
    (
        '{"limit":{"track":1234,"timestamp_ms":"1700000000123"}}',
        Notice("limit", "withheld since this connection began", 1234),
    ),
    (
        '{"disconnect":{"code":4,"stream_name":"mine-1","reason":"too slow"}}',
        Notice("disconnect", "mine-1: too slow", 4),
    ),
    ('{"disconnect":{"code":"7","reason":["x"]}}', Notice("disconnect", "", 7)),
    ('{"disconnect":{"code":-1,"reason":"odd"}}', Notice("disconnect", "odd", 0)),
    (
        '{"warning":{"code":"FALLING_BEHIND","message":"hurry","percent_full":60}}',
        Notice("warning", "FALLING_BEHIND: hurry", 60),
    ),
    ('{"friends":[1,2]}', Notice("relic", "friends")),
    ('{"event":"user_update","source":{},"target":{}}', Notice("relic", "event: user_update")),
    ('{"for_user":"5","message":{"text":"no tweet"}}', Notice("relic", "for_user")),
    ('{"newest":1,"invention":2}', Notice("unknown", "keys: invention, newest")),
    ("{}", Notice("unknown", "keys: ")),
]


@pytest.mark.parametrize(("frame", "message"), CONTROL)
def test_a_control_message_becomes_its_word(frame: str, message: Message) -> None:
    assert decode(frame.encode()) == message


def test_only_a_disconnect_or_a_warning_is_urgent() -> None:
    assert urgent(b'{"disconnect":{"code":12}}') == Notice("disconnect", "", 12)
    assert urgent(b' { "warning" : {"code":"FALLING_BEHIND"}}') == Notice(
        "warning", "FALLING_BEHIND"
    )
    for frame in (
        (FRAMES / "plain.json").read_bytes(),
        b'{"limit":{"track":5}}',
        b'{"id":1,"text":"a \\"disconnect\\" in its text"}',
        b'{"disconnect":',
        b"",
        b"\xff",
    ):
        assert urgent(frame) is None

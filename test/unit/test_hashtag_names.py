"""Spellings of hashtags that one server takes for the same."""

import pytest

from stream.networks.mastodon.hashtag_names import channel_name


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("Flood", "flood"),
        ("café", "cafe"),
        ("cafe\u0301", "cafe"),
        ("Ærø", "æro"),
        ("STRASSE", "strasse"),
        ("Straße", "straße"),
        ("İstanbul", "i\u0307stanbul"),
        ("ılık", "ilik"),
        ("Łódź", "lodz"),
        ("Nguyễn", "nguyễn"),
        ("ＦＬＯＯＤ２", "flood2"),
        ("東京", "東京"),
        ("ｶﾞｽ", "ガス"),
        ("हिन्दी", "हिन्दी"),
        ("كتاب", "كتاب"),
        ("col·laborar", "col·laborar"),
        ("a_b-c.d", "a_bcd"),
        ("🎉", ""),
        ("", ""),
    ],
)
def test_the_channel_of_a_hashtag(tag: str, name: str) -> None:
    assert channel_name(tag) == name

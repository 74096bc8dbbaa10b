"""Authors on pages: their name, or a short id that leads to their page."""

from datetime import UTC, datetime

import pytest

from jetstream_messages import post
from monitor.item_counts import items_of
from stream.store.feed import StoredTweet
from stream.store.top_items import TopItem
from stream.tweet import NetworkName, TweetId
from web.authors import ShownAuthor, shown_author, top_author

DID = "did:plc:eygmaihciaxprqvxpfvl6flk"
PAGE = f"https://bsky.app/profile/{DID}"
SHOWN: list[tuple[NetworkName, str | None, str | None, ShownAuthor]] = [
    ("x_v2", "ann", "5", ShownAuthor("@ann", None, "X")),
    ("x_v2", None, "5", ShownAuthor("5", None, "X")),
    ("x_v1", None, None, ShownAuthor("unknown", None, "X")),
    ("bluesky", None, DID, ShownAuthor("did:plc:eygmai…vl6flk", PAGE, "Bluesky")),
    ("bluesky", "ann.bsky.social", DID, ShownAuthor("@ann.bsky.social", PAGE, "Bluesky")),
    ("mastodon", "ann@one.example", "https://one.example/@ann",
     ShownAuthor("@ann@one.example", "https://one.example/@ann", "Mastodon")),
    ("mastodon", "ann@one.example", "javascript:alert(1)",
     ShownAuthor("@ann@one.example", None, "Mastodon")),
    ("bluesky", None, 'did:web:a"b', ShownAuthor(
        'did:web:a"b', "https://bsky.app/profile/did:web:a%22b", "Bluesky")),
]  # fmt: skip


@pytest.mark.parametrize(("network", "author", "author_id", "shown"), SHOWN)
def test_an_author_by_name_or_id(
    network: NetworkName, author: str | None, author_id: str | None, shown: ShownAuthor
) -> None:
    assert shown_author(network, author, author_id) == shown


def test_top_authors_are_counted_by_name_or_by_account() -> None:
    assert top_author(TopItem("ann", 1)).name == "@ann"
    assert top_author(TopItem(DID, 1)).name == "did:plc:eygmai…vl6flk"
    known = top_author(TopItem(DID, 1, "ann.bsky.social"))
    assert (known.name, known.url) == ("@ann.bsky.social", PAGE)


@pytest.mark.parametrize("handle", [None, "Ann.bsky.social"])
def test_an_account_counts_once_among_the_top_authors_before_and_after_its_handle_is_known(
    handle: str | None,
) -> None:
    now = datetime.now(UTC)
    tweet = StoredTweet(
        TweetId(1), now, now, "bluesky", "1", "original", "en", DID, handle, None, "snow",
        post(1, "snow"),
    )  # fmt: skip
    assert [each for aspect, each in items_of(tweet) if aspect == "author"] == [DID]

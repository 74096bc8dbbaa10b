"""Decoded tweets of X, for tests of decoders: what follows from the other fields is filled in."""

from pathlib import Path
from typing import Any

from stream.tweet import Content, NativeId, Place, Tweet, TweetKind

FRAMES = Path(__file__).parent.parent / "frames"
OSLO = Place(("01a9", "Oslo", "Oslo, Norway"), "NO", (10.5, 59.8, 10.9, 60.1))
POST = Content(
    text="Ski & sledge #Snow $FLK with @Berta_B https://t.co/a1",
    hashtags=("Snow",),
    mentions=("Berta_B",),
    mention_ids=("6",),
    cashtags=("FLK",),
    links=("http://sho.rt/1", "sho.rt/1", "https://example.com/snow"),
    author="Anna_A",
    author_id="5",
)
AVALANCHE = Content(
    text="look at this avalanche, it is the biggest that anybody has ever seen #Alps",
    hashtags=("Alps",),
    author="emil",
    author_id="12",
)
ME_TOO = Content(
    text="@hanna me too", mentions=("hanna",), mention_ids=("21",), author="ines", author_id="22"
)


def decoded(native_id: str, kind: TweetKind, own: Content, **more: Any) -> Tweet:
    """A tweet with the text to show and the address that belong to it."""
    shown: Content = more.get("reposted") or own
    url = f"https://x.com/{own.author or 'i'}/status/{native_id}"
    return Tweet(NativeId(native_id), kind, own, text=shown.text, url=url, **more)


UNMARKED = "@nasa #col·legi $TSLA &amp;#no example.com/a"  # not in lists of entities
FOUND = Content(
    text=UNMARKED.replace("&amp;", "&"),
    hashtags=("col·legi",),
    mentions=("nasa",),
    cashtags=("TSLA",),
    links=("example.com/a",),
)

"""Hashtags, mentions, cashtags and links in a text, by the rules of X's twitter-text."""

from stream.entities.finder import (
    TextEntity,
    cashtags_in,
    entities_in,
    is_cashtag,
    is_hashtag,
    leading_hashtag,
)

__all__ = [
    "TextEntity",
    "cashtags_in",
    "entities_in",
    "is_cashtag",
    "is_hashtag",
    "leading_hashtag",
]

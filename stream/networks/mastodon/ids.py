"""Times of ids: Mastodon's hold the milliseconds since 1970 above 16 bits."""


def id_at(seconds: float) -> int:
    """The least id of a time in seconds since 1970."""
    return int(max(seconds, 0.0) * 1000) << 16


def time_of(post_id: int) -> float:
    """When the post with this id was written, in seconds since 1970."""
    return (post_id >> 16) / 1000

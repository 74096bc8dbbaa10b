"""A simulated Mastodon server."""

"""Bluesky: posts of the whole network, by Jetstream."""

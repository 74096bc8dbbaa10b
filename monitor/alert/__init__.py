"""Finds what needs a person, and tells one: rules, their alerts, channels, digest, heartbeat."""

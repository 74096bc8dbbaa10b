"""Backups: tracks, sources, users and history in one file, without the tweets."""

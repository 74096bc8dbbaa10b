"""Newly stored tweets for live viewers: people at the Live page, programs at the stream."""

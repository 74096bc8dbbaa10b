"""Sinks: where stored tweets and deletions are passed on to; each is a reader with a cursor."""

"""Tweets as files to download: CSV, NDJSON and Excel workbooks."""

"""Archives: every closed day as Parquet files in a folder or an object store, verified by reading
them back before anything goes out of Postgres.

`drop_due` and `drop_early` are what retention and a full disk call.
"""

from monitor.archive.dropping import drop_due, drop_early

__all__ = ["drop_due", "drop_early"]

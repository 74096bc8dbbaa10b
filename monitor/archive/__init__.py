"""Archives: every closed day as Parquet files in a folder or an object store.

Files are read back and verified before any row is deleted from Postgres.
"""

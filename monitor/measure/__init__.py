"""Looks at the machine, the process, the pipeline and Postgres, and keeps what it saw."""

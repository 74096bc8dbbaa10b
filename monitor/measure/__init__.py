"""Measuring: samples machine, process, sources and Postgres, and stores a row per minute."""

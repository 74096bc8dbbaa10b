"""Exports: tweets of tracks as files, from live tables and archives as one."""

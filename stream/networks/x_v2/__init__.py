"""X API v2: the filtered stream."""

"""X API v1.1: statuses/filter."""

"""What people do to tracks, and what is remembered of it."""

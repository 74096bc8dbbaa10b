"""Alerts: rules, the engine that opens and closes them, messages, digest and heartbeat."""

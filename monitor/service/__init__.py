"""The service for programs that monitor the daemon: /metrics, /health, notifying systemd."""

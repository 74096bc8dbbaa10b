"""The monitor: measuring, alerts, archives, backups, maintenance; it never delays the daemon."""

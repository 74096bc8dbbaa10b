"""Maintenance of what is stored: partitions, retention, pruning, raw backup, full disks."""

"""Keeping: partitions ahead, what may go when its time is up, the raw backup, and room on disks."""

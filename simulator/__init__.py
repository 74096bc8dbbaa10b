"""Simulated networks: X and Bluesky, with faults on demand, for tests and for trying things out."""

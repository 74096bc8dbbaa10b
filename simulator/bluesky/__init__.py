"""A simulated Bluesky: Jetstream v1 and v2, the PLC directory, handles and one PDS."""

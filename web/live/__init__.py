"""Live views: what was just stored, to those who watch."""

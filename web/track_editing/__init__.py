"""Changes of tracks, with permissions and an undo."""

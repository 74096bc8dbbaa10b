"""The commands `web` and `user`."""

"""What looks after the daemon, its machine and its data, without ever being in its way."""

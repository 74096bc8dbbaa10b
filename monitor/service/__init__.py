"""What the daemon shows to programs that watch it: Prometheus, load balancers, systemd."""

"""Between machines: journals' frames in blocks on a stream of NATS JetStream."""

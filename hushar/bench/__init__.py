"""A load generator: what `hushar bench` does, without its command line."""

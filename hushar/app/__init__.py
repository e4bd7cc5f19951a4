"""Builds a server from a configuration, and runs it: the only place that wires the rooms."""

"""The sidecars of a server, wired to their sinks."""

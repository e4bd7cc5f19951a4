"""Where logs and metrics go: the interface that every sink has, and the built-in ones."""

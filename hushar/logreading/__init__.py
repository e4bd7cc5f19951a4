"""Reading inference logs: which files there are, and their records one by one, up to a tear."""

"""The sections of the benchmark: each measures one thing, in rounds, and returns it as JSON has it."""

"""From calls to scores: which calls go into one matrix, what is run, what is answered and logged."""

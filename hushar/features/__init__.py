"""Vectorization: from named features on the wire to a float32 matrix."""

"""What is served by name: paths on the wire to inference, errors to statuses."""

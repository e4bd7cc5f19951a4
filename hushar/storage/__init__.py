"""Reading a URI: the interface that every storage has, and the local disk."""

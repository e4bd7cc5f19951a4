# cython: language_level=3
"""Where the rows and ids of messages are: what the kernel's walk finds on its way, and the splice needs again.

A message of a large call has left the processor's near memory when its answer is spliced; walking it once more
would fetch it once more. `results.Layout` carries arrays of these.
"""

ctypedef struct Span:
    Py_ssize_t start  # in its message
    Py_ssize_t size

ctypedef struct Row:
    Span whole
    Span id           # the last one
    Py_ssize_t kept   # bytes without its fields 3

ctypedef struct Head:
    Span id           # the last one of a message, among or before these rows or right behind them
    bint has_id
    Py_ssize_t end    # where reading ended

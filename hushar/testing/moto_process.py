"""A program: moto's server on a free port of 127.0.0.1, for as long as its standard input is open.

Its port is the one line on its standard output. Run by MotoServer, in a process of its own: moto changes
botocore in the process that imports it.
"""

import sys


def main() -> int:
    """Serve until the end of standard input: also when the process at its other end was killed."""
    try:
        from moto.server import ThreadedMotoServer  # noqa: PLC0415
    except ImportError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 3
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)  # noqa: T201
    sys.stdin.read()
    return 0  # its thread is a daemon: it ends with the process


if __name__ == "__main__":
    sys.exit(main())

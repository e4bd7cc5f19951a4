"""What a power cut asks of everybody who renames files."""

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Make names that were added to or removed from `directory` survive a power cut. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

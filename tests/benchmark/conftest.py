"""The benchmark's modules are no package: they find each other in their folder, as its commands do."""

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmark"


@pytest.fixture(scope="module")
def module():
    """module(name): a module of benchmark/; all of them are gone from sys.modules afterwards."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(FOLDER))
        for name, loaded in list(sys.modules.items()):
            if Path(getattr(loaded, "__file__", None) or "/").is_relative_to(FOLDER):
                del sys.modules[name]

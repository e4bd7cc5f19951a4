"""`wire`: frames by hand, and the engine that hears them (talking.py)."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def wire():
    """The module talking.py, loaded by its path (tests are no package)."""
    name = "hushar_tests_talking"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("talking.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]

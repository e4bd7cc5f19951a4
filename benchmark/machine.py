"""What figures mean nothing without: the machine, the versions, the commit."""

import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from hushar.features.vectorize import kernel_problem

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("grpcio", "purerpc", "trio", "h2", "protobuf", "numpy", "onnxruntime")


def machine() -> dict[str, Any]:
    """Processor, cores, system, Python, and which kernel hushar runs."""
    return {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "kernel": "reference" if kernel_problem("cython") else "cython",
    }


def versions() -> dict[str, str]:
    """Package → version."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def today() -> str:
    """The date, in UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime())


def commit() -> str:
    """The checkout's commit, with a plus where files differ from it; "unknown" outside of git."""
    try:
        run = [
            subprocess.run(
                ["git", *line], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout.strip()
            for line in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--", "hushar"))
        ]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return run[0] + ("+" if run[1] else "")


def cpu() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

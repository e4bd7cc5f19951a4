"""Generate `hushar/proto` from `protos/`: messages, type stubs and the purerpc service.

    python scripts/generate_protos.py            write them
    python scripts/generate_protos.py --check    exit 1 if what is committed differs

The generated modules live in `hushar.proto`, while the files are named `hushar/….proto` for clients
in any language; so the import lines that protoc writes are turned to where the modules really are.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
TARGET = ROOT / "hushar" / "proto"

# purerpc's generator makes stubs for whole files; only this one has a service.
SERVICE_FILES = ("hushar/service.proto",)


def generate(directory: Path) -> None:
    """Run protoc over all of `protos/` and leave the corrected modules in `directory`."""
    names = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as temporary:
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}"]
        out = [f"--python_out={temporary}", f"--pyi_out={temporary}"]
        subprocess.run([*protoc, *out, *names], check=True)
        plugin = Path(sys.executable).parent / "protoc-gen-purerpc"
        rpc = [f"--plugin=protoc-gen-purerpc={plugin}", f"--purerpc_out={temporary}"]
        subprocess.run([*protoc, *rpc, *SERVICE_FILES], check=True)
        for path in sorted(Path(temporary, "hushar").iterdir()):
            (directory / path.name).write_text(_at_home(path.read_text()))
    (directory / "__init__.py").write_text('"""Generated from `protos/`; never edited."""\n')


def _at_home(source: str) -> str:
    """The same module with its imports naming `hushar.proto`, no blanks at line ends."""
    source = re.sub(
        r"^from hushar import (\w+_pb2)", r"from hushar.proto import \1", source, flags=re.MULTILINE
    )
    source = re.sub(r"^import hushar\.(\w+_pb2) as", r"import hushar.proto.\1 as", source, flags=re.MULTILINE)
    return "\n".join(line.rstrip() for line in source.rstrip().split("\n")) + "\n"


def main() -> int:
    """Generate, or compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    if not parser.parse_args().check:
        generate(TARGET)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        generate(Path(temporary))
        made = {path.name: path.read_text() for path in Path(temporary).iterdir()}
    committed = {path.name: path.read_text() for path in TARGET.iterdir() if path.is_file()}
    differing = sorted(
        name for name in made.keys() | committed.keys() if made.get(name) != committed.get(name)
    )
    for name in differing:
        print(f"hushar/proto/{name} is not what protos/ generates; run: nox -s proto", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())

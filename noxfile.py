"""Every check of the project, each a session: `nox -s NAME`, `nox --list` for all of them.

`scripts/test` is the test suite and needs no nox; what is here is what developers and CI run besides.
Environments are kept and used again; `nox -s NAME -R` does not even look for new packages.
"""

import os
import shutil
from pathlib import Path

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "layers", "types", "proto_check", "docs", "tests"]

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml("pyproject.toml")
PACKAGES = (".", "plugins/hushar-aws", "plugins/hushar-transforms", "examples/hushar-example")
DISTRIBUTIONS = tuple(argument for package in PACKAGES for argument in ("-e", package))
PYTHON_CODE = ("hushar", "plugins", "examples", "scripts", "benchmark", "tests", "noxfile.py")


def group(*names: str) -> list[str]:
    """The requirements of these dependency groups of pyproject.toml."""
    return list(nox.project.dependency_groups(PYPROJECT, *names))


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """Run the test suite as scripts/test does; arguments go to pytest."""
    session.run("scripts/test", *session.posargs, external=True)


@nox.session(venv_backend="none")
def tests_reference(session: nox.Session) -> None:
    """Run the test suite as `tests`, with the readable reference in the compiled kernel's place."""
    session.run("scripts/test", *session.posargs, external=True, env={"HUSHAR_KERNEL": "reference"})


@nox.session
def cover(session: nox.Session) -> None:
    """Run the test suite and report what it does not reach, line and branch."""
    session.install(*DISTRIBUTIONS, *group("cover", "lint"))
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "report")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting; `nox -s lint -- --fix` mends what can be mended."""
    session.install(*group("lint"))
    fix = "--fix" in session.posargs
    session.run("ruff", "check", *(["--fix"] if fix else []), *PYTHON_CODE)
    session.run("ruff", "format", *([] if fix else ["--check"]), *PYTHON_CODE)


@nox.session
def layers(session: nox.Session) -> None:
    """Check which room imports which (the contracts in pyproject.toml)."""
    session.install(*group("lint"))
    paths = (ROOT, *(ROOT / folder for folder in PYPROJECT["tool"]["pytest"]["ini_options"]["pythonpath"]))
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": os.pathsep.join(map(str, paths))})


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of hushar, of its first-party plugins and of the example, strictly."""
    session.install(*DISTRIBUTIONS, *group("test", "types"))
    session.run("mypy")
    for package in PACKAGES[1:]:
        session.run("mypy", f"{package}/{Path(package).name.replace('-', '_')}")


@nox.session
def proto(session: nox.Session) -> None:
    """Generate hushar/proto from protos/ again."""
    session.install(*group("proto"))
    session.run("python", "scripts/generate_protos.py", *session.posargs)


@nox.session
def proto_check(session: nox.Session) -> None:
    """Fail if hushar/proto is not what protos/ generates."""
    session.install(*group("proto"))
    session.run("python", "scripts/generate_protos.py", "--check")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into site/, warnings as errors; `-- serve` shows it while it is written."""
    session.install(*group("docs"))
    session.run("mkdocs", *(session.posargs or ["build", "--strict"]), env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(venv_backend="none")
def demo(session: nox.Session) -> None:
    """Serve the demo model, score real rows, show the log and the metrics (scripts/demo)."""
    session.run("scripts/demo", *session.posargs, external=True)


@nox.session(venv_backend="none")
def demo_aws(session: nox.Session) -> None:
    """The same with model, log and metrics in an AWS on this machine (scripts/demo-aws)."""
    session.run("scripts/demo-aws", *session.posargs, external=True)


@nox.session
def demo_model(session: nox.Session) -> None:
    """Train the demo model again and write hushar/demo/."""
    session.install("-e", ".", *group("demo"))
    session.run("python", "scripts/make_demo_model.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Load the server with the benchmark's workloads; arguments go to benchmark/run.py."""
    session.install("-e", ".", *group("bench"))
    session.run("python", "benchmark/run.py", *session.posargs)


@nox.session
def bench_transport(session: nox.Session) -> None:
    """Measure the transport beside other gRPC servers; arguments go to benchmark/transport.py."""
    session.install("-e", ".", *group("bench"))
    session.run("python", "benchmark/transport.py", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz the engine and the kernel for minutes; `-- --seed 7` begins elsewhere."""
    session.install("-e", ".", *group("test"))
    session.run("python", "scripts/fuzz_engine.py", "--frames", "2000000", *session.posargs)
    session.run("python", "scripts/fuzz_kernel.py", "--messages", "1000000", *session.posargs)


@nox.session
def sanitize(session: nox.Session) -> None:
    """Build the compiled parts with the address and undefined-behaviour sanitizers, fuzz and test them.

    In a copy of the sources, so that nothing built here is ever served. Needs gcc and its libasan.
    `-- --seed 7` begins the fuzzing elsewhere.
    """
    session.install(
        *PYPROJECT["build-system"]["requires"], *PYPROJECT["project"]["dependencies"], *group("test")
    )
    copy = Path(session.create_tmp()).resolve() / "sources"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(
        ROOT, copy, ignore=shutil.ignore_patterns(".*", "build", "site", "*.so", "*.c", "*.egg-info")
    )
    sanitizers = "-fsanitize=address,undefined"
    flags = f"{sanitizers} -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1 -g1"
    compiler = {"CC": "gcc", "HUSHAR_COMPILE_FLAGS": flags, "HUSHAR_LINK_FLAGS": sanitizers}
    libraries = [
        str(session.run("gcc", f"-print-file-name={name}", external=True, silent=True)).strip()
        for name in ("libasan.so", "libstdc++.so")
    ]
    sanitized = {
        "CI": "true",  # a part that was not built is a failure
        "LD_PRELOAD": ":".join(libraries),
        "PYTHONMALLOC": "malloc",  # so that each bytes object has its own limits
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    with session.chdir(copy):
        session.run("python", "setup.py", "build_ext", "--inplace", env=compiler)
        sanitized["PYTHONPATH"] = str(copy)
        kernel, engine = ("python", "scripts/fuzz_kernel.py"), ("python", "scripts/fuzz_engine.py")
        session.run(*kernel, "--messages", "20000", *session.posargs, env=sanitized)
        session.run(*kernel, "--kernel-only", "--messages", "200000", *session.posargs, env=sanitized)
        # The splices into the log's memory are in both: with exact limits, and as the server makes them.
        splices = ("tests/inference/test_splice.py", "tests/inference/test_drafts.py")
        tests = ("python", "-m", "pytest", "-q", "tests/kernel", "tests/fuzz/test_kernel.py", *splices)
        session.run(*tests, env=sanitized)
        session.run(*engine, "--frames", "100000", *session.posargs, env=sanitized)


@nox.session(venv_backend="none")
def interop(session: nox.Session) -> None:
    """Install the tools of other projects that can be, then run the tests that use them."""
    session.run("scripts/install_tools", external=True)
    session.run("scripts/test", "tests/interop", "tests/purerpc", *session.posargs, external=True)

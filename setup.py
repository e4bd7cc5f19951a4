"""The compiled parts of hushar; all else is in pyproject.toml.

Each `_NAME.pyx` is a twin of a readable module beside it, which serves where it was not built. So a part
that cannot be compiled, without a compiler or Python's headers, is left out, and the installation succeeds.
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, ExecError, PlatformError

# For the sanitizers' build (noxfile.py); Python's own flags come before these.
COMPILE = ["-O3", "-g0", *os.environ.get("HUSHAR_COMPILE_FLAGS", "").split()]
LINK = os.environ.get("HUSHAR_LINK_FLAGS", "").split()


class BuildWhatCompiles(build_ext):
    """`Extension(optional=True)` forgives a failure while building, but an editable installation then looks
    for the file. What has failed is taken off the list here."""

    def run(self) -> None:
        """See build_ext."""
        try:
            super().run()
        except PlatformError as error:
            # Not even the name of a compiler is known.
            self._left_out(self.extensions, error)

    def build_extension(self, ext: Extension) -> None:
        """See build_ext."""
        try:
            super().build_extension(ext)
        except (CCompilerError, ExecError, PlatformError, OSError) as error:
            self._left_out([ext], error)

    def _left_out(self, extensions: list[Extension], error: Exception) -> None:
        names = ", ".join(extension.name for extension in extensions)
        print(f"warning: {names} not compiled, the readable twin will serve: {error}", file=sys.stderr)
        self.extensions = [each for each in self.extensions if each not in extensions]


sources = sorted(Path("hushar").rglob("_*.pyx"))
setup(
    cmdclass={"build_ext": BuildWhatCompiles},
    ext_modules=cythonize(
        [
            Extension(
                ".".join(source.with_suffix("").parts),
                [str(source)],
                extra_compile_args=COMPILE,
                extra_link_args=LINK,
            )
            for source in sources
        ],
        build_dir="build/cython",
        compiler_directives={"language_level": "3"},
    ),
)

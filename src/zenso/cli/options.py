"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_MEMORY = Path("memory.zenso")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
MemoryPath = Annotated[
    Path,
    typer.Option("--memory", "-m", metavar="FOLDER", envvar="ZENSO_MEMORY", help="The memory: a folder."),
]
MemoryArgument = Annotated[
    Path, typer.Argument(metavar="[MEMORY]", envvar="ZENSO_MEMORY", help="The memory: a folder.")
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads", metavar="N", min=1, help="Processors to embed with.", show_default="all that may be used"
    ),
]
HitCount = Annotated[int, typer.Option("--k", "-k", metavar="N", min=1, help="Most results to show.")]
FromFile = Annotated[
    str | None,
    typer.Option("--from", metavar="FILE", help="Read them from a file, one a line; - is standard input."),
]

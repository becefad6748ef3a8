"""`zenso compact`: give back the disk space of what was deleted."""

import typer
from rich.filesize import decimal

import zenso
from zenso.cli.options import DEFAULT_MEMORY, AsJson, MemoryArgument
from zenso.cli.output import handle_errors, print_json, printable, require_memory


@handle_errors()
def compact(memory: MemoryArgument = DEFAULT_MEMORY, *, as_json: AsJson = False) -> None:
    """Give back the disk space of documents that were deleted or replaced.

    Needs as much free space as the memory takes. Searches go on meanwhile, writers wait.
    """
    require_memory(memory)
    with zenso.Memory.open(memory) as opened:
        report = opened.compact()
    if as_json:
        print_json({"memory": memory, "bytes_before": report.bytes_before, "bytes_after": report.bytes_after})
        return
    typer.echo(f"{printable(str(memory))}: {decimal(report.bytes_before)} before, {decimal(report.bytes_after)} now")

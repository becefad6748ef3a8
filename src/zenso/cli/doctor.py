"""`zenso doctor`: tells whether everything that Zenso needs is here and sound."""

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from zenso.cli.options import AsJson
from zenso.cli.output import EXIT_ERROR, handle_errors, print_json, printable

_MARKS = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "fail": "[bold red]fail[/]"}


@handle_errors()
def doctor(*, as_json: AsJson = False) -> None:
    """Check the installation, the processor, the kernel and the model, and say what to do about what is wrong.

    Nothing is fetched. The exit code is 1 if a check fails; a warning alone leaves it 0.
    """
    from zenso.cli.checks import run_checks  # noqa: PLC0415 - loads everything there is to check

    checks = list(run_checks())
    failed = any(check.state == "fail" for check in checks)
    if as_json:
        print_json({"ok": not failed, "checks": checks})
    else:
        table = Table(show_header=False, box=None, highlight=False, pad_edge=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for check in checks:
            detail = escape(printable(check.detail))
            remedy = f"\n[bold]→ {escape(printable(check.remedy))}[/]" if check.remedy else ""
            table.add_row(_MARKS[check.state], check.name, detail + remedy)
        Console().print(table)
    if failed:
        raise typer.Exit(EXIT_ERROR)

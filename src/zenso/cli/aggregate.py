"""`zenso aggregate`: combine vectors of which some may be hostile into one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zenso.cli.options import AsJson
from zenso.cli.output import handle_errors, print_json, printable
from zenso.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zenso.robust import Aggregate, Outliers

_SHOWN_NUMBERS = 8
_INT16 = range(-(1 << 15), 1 << 15)


@handle_errors()
def aggregate(  # noqa: PLR0913 - options of a command
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Vectors: a .npy file (rows, numbers), or .jsonl with a list of numbers a line, "
            'or {"vector": [...], "weight": w}.',
        ),
    ],
    rule: Annotated[
        str,
        typer.Option(
            "--rule",
            "-r",
            metavar="NAME",
            help="mean, median, trimmed_mean, geometric_median, krum, multi_krum or centred_clipping.",
        ),
    ] = "median",
    f: Annotated[
        int | None,
        typer.Option("--f", metavar="N", help="Rows that may be hostile.", show_default="as many as the rule stands"),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", "-w", metavar="FILE.npy", help="One weight a row.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the result to this .npy file.")
    ] = None,
    false_alarms: Annotated[
        float,
        typer.Option("--false-alarms", metavar="SHARE", help="Of honest rows that --outliers may flag."),
    ] = 0.01,
    *,
    mix: Annotated[
        bool, typer.Option("--mix", help="Replace each row by the mean of the n - f nearest to it first.")
    ] = False,
    outliers: Annotated[bool, typer.Option("--outliers", help="Also say which rows lie far from the others.")] = False,
    as_json: AsJson = False,
) -> None:
    """Combine vectors of which some may be hostile into one.

    What each rule stands is in docs/robust.md. Vectors of int16, and of whole numbers from -32768 to 32767 in .jsonl,
    are combined without floats: the same numbers on every machine.
    """
    from zenso import robust  # noqa: PLC0415 - `zenso --help` does not wait for it
    from zenso.cli.vector_files import write_array  # noqa: PLC0415

    if output is not None and output.suffix != ".npy":
        raise InputError(f"--output {output} does not end in .npy, the only format there is; rename it")
    vectors, given = _read(source, weights)
    result = robust.aggregate(vectors, rule, f=f, weights=given, mix=mix)
    far = robust.find_outliers(vectors, false_alarms=false_alarms) if outliers else None
    if output is not None:
        write_array(output, result.vector[None])
    if as_json:
        print_json(_as_json(result, far, output))
    else:
        _print(result, far, output)


def _read(source: Path, weights: Path | None) -> "tuple[NDArray[Any], NDArray[Any] | None]":
    """Read vectors and weights."""
    import numpy as np  # noqa: PLC0415

    from zenso.cli.vector_files import read_array  # noqa: PLC0415

    if source.suffix == ".npy":
        vectors, given = read_array(source), None
    elif source.suffix == ".jsonl":
        vectors, given = _read_lines(source)
    else:
        raise InputError(f"{source} does not end in .npy or .jsonl, the formats there are; rename it")
    if weights is None:
        return vectors, given
    if given is not None:
        raise InputError(f"weights are given both in {source} and with --weights {weights}; give one of the two")
    try:
        return vectors, np.load(weights, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{weights} cannot be read as a .npy file ({reason})") from error


def _read_lines(source: Path) -> "tuple[NDArray[Any], NDArray[Any] | None]":
    """Read a vector a line; all have a weight, or none has."""
    import numpy as np  # noqa: PLC0415

    from zenso.cli.lines import read_lines  # noqa: PLC0415

    rows: list[list[Any]] = []
    weights: list[Any] = []
    for line in read_lines(str(source)):
        try:
            value = json.loads(line.text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{source} line {line.number} is not JSON ({error})") from error
        row = value
        if isinstance(value, dict):
            row = value.get("vector")
            if set(value) - {"vector", "weight"}:
                raise InputError(f"{source} line {line.number} has other keys than vector and weight; leave them out")
            if "weight" in value:
                weights.append(value["weight"])
        if not isinstance(row, list) or not all(type(number) in (int, float) for number in row):
            raise InputError(f'{source} line {line.number} is no list of numbers and has none as "vector"')
        rows.append(row)
        if len(row) != len(rows[0]):
            raise InputError(
                f"{source} line {line.number} has {len(row)} numbers, the first {len(rows[0])}; give as many in each"
            )
    if weights and (len(weights) < len(rows) or not all(type(weight) in (int, float) for weight in weights)):
        raise InputError(f"{source} has {len(weights)} weights for {len(rows)} vectors; give each a number, or none")
    whole = all(type(number) is int and number in _INT16 for row in rows for number in row)
    try:
        return np.array(rows, np.int16 if whole else np.float64), np.array(weights) if weights else None
    except OverflowError as error:
        raise InputError(f"{source} holds a number too large for a float ({error})") from error


def _plain(numbers: "NDArray[Any]") -> list[Any]:
    """Return numbers for JSON, which has no infinity: null."""
    import numpy as np  # noqa: PLC0415

    return [number if np.isfinite(number) else None for number in numbers.tolist()]


def _as_json(result: "Aggregate", far: "Outliers | None", output: Path | None) -> dict[str, Any]:
    """Leave the vector out when it is in a file already."""
    about: dict[str, Any] = {
        "rule": result.rule,
        "rows": result.n,
        "f": result.f,
        "exact": result.exact,
        "dimensions": len(result.vector),
        "selected": result.selected.tolist(),
        "scores": None if result.scores is None else _plain(result.scores),
        "output": output,
    }
    if output is None:
        about["vector"] = _plain(result.vector)
    if far is not None:
        about["outliers"] = {
            "rows": far.flags.nonzero()[0].tolist(),
            "scores": _plain(far.scores),
            "threshold": far.threshold,
            "shrinkage": far.shrinkage,
        }
    return about


def _print(result: "Aggregate", far: "Outliers | None", output: Path | None) -> None:
    kind = "exact" if result.exact else "in floats"
    typer.echo(f"{result.rule} of {result.n:,} rows, {result.f:,} of which may be hostile, {kind}")
    if len(result.selected) < result.n:
        typer.echo(f"rows used: {_listed(result.selected)}")
    if far is not None:
        typer.echo(f"rows far from the others: {_listed(far.flags.nonzero()[0]) or 'none'}")
    if output is not None:
        typer.echo(f"{len(result.vector):,} numbers in {printable(str(output))}")
        return
    numbers = " ".join(f"{number:.6g}" for number in result.vector[:_SHOWN_NUMBERS].tolist())
    more = f" … ({len(result.vector):,} numbers)" if len(result.vector) > _SHOWN_NUMBERS else ""
    typer.echo(f"{numbers}{more}")


def _listed(rows: "NDArray[np.integer]") -> str:
    return ", ".join(map(str, rows.tolist()))

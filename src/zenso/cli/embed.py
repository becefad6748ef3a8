"""`zenso embed`: canonical vectors and codes of texts."""

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zenso.cli.lines import Line, given_or_read
from zenso.cli.options import AsJson, FromFile, Threads
from zenso.cli.output import handle_errors, print_json, printable
from zenso.cli.progress import encoder_loader
from zenso.errors import InputError

if TYPE_CHECKING:
    from zenso.zen import DenseEmbeddings, DocumentEmbeddings, Provenance

_SHOWN_NUMBERS = 8
_SHOWN_CHARACTERS = 60


@handle_errors()
def embed(
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT...]", help="The texts.", show_default=False)
    ] = None,
    source: FromFile = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the vectors to this .npy file: int16, one row a text."
        ),
    ] = None,
    dimensions: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="384, 1920, 3840 or 7680: dense vectors whose dot product follows late interaction.",
            show_default="384",
        ),
    ] = None,
    threads: Threads = None,
    *,
    query: Annotated[bool, typer.Option("--query", help="The texts are queries, not documents.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print canonical vectors: the same to the last bit on every machine.

    A vector has 384 whole numbers or as many as --dimensions says, 32767 times a unit vector. Its content hash is the
    BLAKE3 of the numbers as 16-bit little-endian. With --json, also everything that the bits depend on, and without
    --dimensions and --query the 964-byte code.
    """
    if output is not None and output.suffix != ".npy":
        raise InputError(f"--output {output} does not end in .npy, the only format there is; rename it")
    lines = given_or_read(texts, source, "texts")
    for line in lines:
        if not line.text.strip():
            raise InputError(f"text {line.number} is {'only white space' if line.text else 'empty'}; leave it out")
    from zenso.zen.dense import WIDTH, check_dimensions  # noqa: PLC0415 - `zenso --help` does not wait for it

    if dimensions is not None:
        check_dimensions(dimensions)
    encoder = encoder_loader(threads)()
    given = [line.text for line in lines]
    embedded: DocumentEmbeddings | DenseEmbeddings
    if dimensions is None and not query:
        embedded, provenance = encoder.encode_documents(given), encoder.provenance
    else:
        from zenso.canonical import Role  # noqa: PLC0415

        role = Role.QUERY if query else Role.DOCUMENT
        embedded = encoder.encode_dense(given, WIDTH if dimensions is None else dimensions, role=role)
        provenance = encoder.dense_provenance
    if output is not None:
        from zenso.cli.vector_files import write_array  # noqa: PLC0415 - `zenso --help` does not wait for it

        write_array(output, embedded.vectors)
    if as_json:
        print_json(_as_json(lines, embedded, provenance, output))
    elif output is not None:
        typer.echo(f"{len(lines):,} vectors of {embedded.vectors.shape[1]:,} numbers in {printable(str(output))}")
    else:
        for line, vector, digest, tokens in zip(
            lines, embedded.vectors, _hashes(embedded), embedded.token_counts, strict=True
        ):
            numbers = " ".join(str(number) for number in vector[:_SHOWN_NUMBERS])
            typer.echo(f"{_shortened(line.text)}  ({tokens} tokens)")
            typer.echo(f"  {numbers} … ({len(vector)} numbers)\n  {digest}")


def _as_json(
    lines: list[Line],
    embedded: "DocumentEmbeddings | DenseEmbeddings",
    provenance: "Provenance",
    output: Path | None,
) -> dict[str, Any]:
    """Vectors are left out when they are in a file already."""
    codes = getattr(embedded, "codes", None)
    rows = []
    for index, (line, digest) in enumerate(zip(lines, _hashes(embedded), strict=True)):
        row: dict[str, Any] = {"line": line.number, "text": line.text, "content_hash": digest}
        row["tokens"] = int(embedded.token_counts[index])
        if output is None:
            row["vector"] = embedded.vectors[index].tolist()
        if codes is not None:
            row["code"] = base64.b64encode(codes[index].tobytes()).decode("ascii")
        rows.append(row)
    about = {"digest": provenance.digest.hex(), **json.loads(provenance.to_json())}
    return {"provenance": about, "output": output, "embeddings": rows}


def _hashes(embedded: "DocumentEmbeddings | DenseEmbeddings") -> list[str]:
    from blake3 import blake3  # noqa: PLC0415

    return [blake3(vector.astype("<i2").tobytes()).hexdigest() for vector in embedded.vectors]


def _shortened(text: str) -> str:
    text = " ".join(printable(text).split())
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"

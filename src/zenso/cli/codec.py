"""`zenso codec`: short codes of the vectors in a `.npy` file."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from zenso.cli.options import AsJson
from zenso.cli.output import handle_errors, print_json, printable
from zenso.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zenso.bitdelta import FrameCodebook

codec_app = typer.Typer(
    help="Short codes of the vectors in a .npy file: any width, any number of bytes.", no_args_is_help=True
)

UNTRAINED = "untrained"
_AT_ONCE = 2048  # rows between two steps of a bar
_K = 10
_MOST_QUERIES = 1000

VectorFile = Annotated[
    Path,
    typer.Argument(
        metavar="VECTORS.npy",
        help="Rows of floats, of which the directions are taken, or of int16 (32767 times a unit vector).",
    ),
]
CodeFile = Annotated[Path, typer.Argument(metavar="CODES.npy", help="Rows of bytes, as `encode` writes them.")]
Book = Annotated[
    str | None,
    typer.Option(
        "--codebook",
        "-c",
        metavar="NAME|FILE",
        help=f"A shipped codebook, a file that `train` wrote, or `{UNTRAINED}`.",
        show_default=UNTRAINED,
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where the result is written.")]


@codec_app.command()
@handle_errors()
def encode(
    source: VectorFile,
    output: Output,
    size: Annotated[int, typer.Option("--size", "-s", metavar="BYTES", help="Bytes of a code, 4 of header included.")],
    codebook: Book = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Encode vectors. The same vectors and codebook give the same codes on every machine."""
    from zenso.cli.vector_files import write_array  # noqa: PLC0415 - `zenso --help` does not wait for it

    vectors, book = _vectors_and_book(source, codebook)
    codes, seconds = _encode(vectors, size, book)
    write_array(output, codes)
    if as_json:
        print_json({**_about(book), "output": output, "vectors": len(codes), "bytes": size, "seconds": seconds})
    else:
        typer.echo(f"{len(codes):,} codes of {size} bytes in {printable(str(output))}")


@codec_app.command()
@handle_errors()
def decode(
    source: CodeFile,
    output: Output,
    codebook: Book = None,
    width: Annotated[
        int | None,
        typer.Option("--width", "-w", metavar="N", help="Numbers in a vector, if the codebook is untrained."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Decode codes to float32 vectors; give the codebook that they were made with."""
    from zenso import bitdelta  # noqa: PLC0415
    from zenso.cli.vector_files import read_array, write_array  # noqa: PLC0415

    codes = read_array(source)
    book = _book(codebook, width)
    vectors = bitdelta.decode(codes, book)
    write_array(output, vectors)
    if as_json:
        print_json({**_about(book), "output": output, "vectors": len(vectors), "bytes": codes.shape[1]})
    else:
        typer.echo(f"{len(vectors):,} vectors of {book.width} numbers in {printable(str(output))}")


@codec_app.command()
@handle_errors()
def info(
    source: Annotated[
        str,
        typer.Argument(metavar="CODES.npy|CODEBOOK", help="Codes, or the name or file of a codebook."),
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Show what codes say of themselves, or the width, digest and sizes of a codebook."""
    if Path(source).suffix == ".npy":
        about = _about_codes(Path(source))
    else:
        book = _book(source, None)
        about = {**_about(book), "base_rows": len(book.bases), "sizes": list(book.sizes)}
    if as_json:
        print_json(about)
        return
    for key, value in about.items():
        shown = " ".join(map(str, value)) if isinstance(value, list) else value
        typer.echo(f"{key.replace('_', ' ')}: {shown}")


@codec_app.command()
@handle_errors()
def measure(
    source: VectorFile,
    sizes: Annotated[
        list[int] | None,
        typer.Option("--size", "-s", metavar="BYTES", help="Measure this size; again for more.", show_default="eight"),
    ] = None,
    codebook: Book = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Say what codes lose on these vectors: recall@10 against exact search, and the cosine of what they decode to.

    Every n-th vector is a query among the others, at most 1,000.
    """
    vectors, book = _vectors_and_book(source, codebook)
    chosen = sizes or [book.sizes[block] for block in (0, 1, 2, 3, 4, 7, 9, 19) if block < len(book.sizes)]
    for size in chosen:
        book.block_count(size)
    rows = [_measured(vectors, size, book) for size in dict.fromkeys(chosen)]
    if as_json:
        print_json({**_about(book), "vectors": len(vectors), "queries": len(_queries(len(vectors))), "sizes": rows})
        return
    typer.echo(f"{len(vectors):,} vectors of {book.width} numbers, {len(_queries(len(vectors))):,} of them as queries")
    typer.echo("bytes  recall@10  mean cosine  ms a vector")
    for row in rows:
        recall, cosine = (f"{row[key]:.6f}" if row[key] is not None else "-" for key in ("recall_at_10", "mean_cosine"))
        typer.echo(f"{row['bytes']:5d}  {recall:>9s}  {cosine:>11s}  {row['encode_ms']:11.3f}")


@codec_app.command()
@handle_errors()
def train(
    source: VectorFile,
    output: Output,
    base_rows: Annotated[
        int, typer.Option("--base-rows", metavar="N", min=1, max=256, help="Centres that vectors are told from.")
    ] = 4,
    *,
    as_json: AsJson = False,
) -> None:
    """Learn a codebook from vectors of the kind that will be coded: fewer bytes for the same recall."""
    from zenso import bitdelta  # noqa: PLC0415
    from zenso.cli.vector_files import read_vectors  # noqa: PLC0415

    vectors = read_vectors(source)
    with _bar() as bars:
        task = bars.add_task("learning", total=None)
        book = bitdelta.train_codebook(
            vectors,
            base_rows=base_rows,
            on_progress=lambda done, total: bars.update(task, completed=done, total=total),
        )
    book.save(output)
    if as_json:
        print_json({**_about(book), "output": output, "vectors": len(vectors), "base_rows": base_rows})
    else:
        typer.echo(f"codebook of {len(vectors):,} vectors in {printable(str(output))}\n{book.digest.hex()}")


def _bar() -> Progress:
    console = Console(stderr=True)
    return Progress(console=console, disable=not console.is_terminal, transient=True)


def _about(book: "FrameCodebook") -> dict[str, Any]:
    return {"codebook": book.digest.hex(), "width": book.width}


def _about_codes(source: Path) -> dict[str, Any]:
    """Read the headers of codes, whatever their codebook is."""
    import numpy as np  # noqa: PLC0415

    from zenso.bitdelta.frame_format import FRAME_FAMILY, FRAME_VERSION, check_headers  # noqa: PLC0415
    from zenso.cli.vector_files import read_array  # noqa: PLC0415

    codes = read_array(source)
    check_headers(codes, 256)
    bases, counts = np.unique(codes[:, 1], return_counts=True)
    return {
        "codes": len(codes),
        "bytes": codes.shape[1],
        "family": FRAME_FAMILY,
        "version": FRAME_VERSION,
        "base_rows_used": bases.tolist(),
        "codes_of_each": counts.tolist(),
        "gains": [int(codes[:, 2].min()), int(codes[:, 2].max())],
    }


def _encode(vectors: "NDArray[np.int16]", size: int, book: "FrameCodebook") -> "tuple[NDArray[np.uint8], float]":
    """Encode with a bar and all processors; also how many seconds it took."""
    import numpy as np  # noqa: PLC0415

    from zenso import bitdelta  # noqa: PLC0415

    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    codes = np.empty((len(vectors), size), np.uint8)
    bitdelta.encode(vectors[:1], size, book)  # compiles, or loads what was compiled: no part of the time
    start = time.perf_counter()
    with _bar() as bars:
        task = bars.add_task(f"encoding, {size} bytes", total=len(vectors))
        for first in range(0, len(vectors), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            codes[part] = bitdelta.encode(vectors[part], size, book, threads=threads)
            bars.update(task, completed=min(first + _AT_ONCE, len(vectors)))
    return codes, time.perf_counter() - start


def _queries(rows: int) -> range:
    return range(0, rows, -(-rows // _MOST_QUERIES))


def _measured(vectors: "NDArray[np.int16]", size: int, book: "FrameCodebook") -> dict[str, Any]:
    """Recall, cosine and time of one size; the recall of ten vectors or fewer is null."""
    import numpy as np  # noqa: PLC0415

    from zenso import bitdelta  # noqa: PLC0415

    codes, seconds = _encode(vectors, size, book)
    decoded = bitdelta.decode(codes, book).astype(np.float64)
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(decoded, axis=1) * np.linalg.norm(wide, axis=1)
    cosines = (decoded * wide).sum(axis=1)[lengths > 0] / lengths[lengths > 0]
    found = 0
    queries = _queries(len(vectors)) if len(vectors) > _K else range(0)
    for query in queries:
        exact = wide @ wide[query]
        coded = bitdelta.score(bitdelta.FrameQuery.of(vectors[query], book), codes).astype(np.float64)
        exact[query] = coded[query] = -np.inf
        best, coded_best = (np.argsort(-scores, kind="stable")[:_K] for scores in (exact, coded))
        found += len(np.intersect1d(best, coded_best))
    return {
        "bytes": size,
        "recall_at_10": found / (_K * len(queries)) if queries else None,
        "mean_cosine": float(cosines.mean()) if len(cosines) else None,
        "encode_ms": 1000 * seconds / len(vectors),
    }


def _book(codebook: str | None, width: int | None) -> "FrameCodebook":
    """Find the codebook by name, then as a file; the untrained one of a width by default."""
    from zenso.bitdelta import FrameCodebook  # noqa: PLC0415
    from zenso.errors import ModelError  # noqa: PLC0415

    if codebook is None or codebook == UNTRAINED:
        if width is None:
            raise InputError("give the --codebook that the codes were made with, or their --width if it was untrained")
        return FrameCodebook.untrained(width)
    if Path(codebook).exists() or Path(codebook).suffix:
        return FrameCodebook.open(Path(codebook))
    try:
        return FrameCodebook.shipped(codebook)
    except ModelError as error:
        raise InputError(f"{error}; or give a file that `zenso codec train` wrote") from error


def _vectors_and_book(source: Path, codebook: str | None) -> "tuple[NDArray[np.int16], FrameCodebook]":
    from zenso.cli.vector_files import read_vectors  # noqa: PLC0415

    vectors = read_vectors(source)
    book = _book(codebook, vectors.shape[1])
    if book.width != vectors.shape[1]:
        raise InputError(f"{source} holds vectors of {vectors.shape[1]} numbers; the codebook is for {book.width}")
    return vectors, book

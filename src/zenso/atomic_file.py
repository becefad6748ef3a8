"""Files that are seen whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that takes the place of ``path`` when the block ends; if it fails, nothing has changed.

    Its bytes are on the disk before it gets the name, so that a crash leaves the old file or the new one.

    Raises
    ------
    OSError
        The disk refuses; callers say it in their own words.
    """
    # Hidden, and named as no other: writers of the same file at the same time each have their own.
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with staged.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    finally:
        with suppress(OSError):
            staged.unlink(missing_ok=True)

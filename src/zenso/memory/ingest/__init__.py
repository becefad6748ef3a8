"""From files to chunks: finds files, reads them into sections, and cuts those into chunks that fit the model.

    for item in walk([folder]):             # Path | Skipped
        for section in read_file(item):     # Section | ReadWarning | Skipped
            chunker.chunks(section.text, section.kind)

`standard_library_docstrings` gives the documentation of the running Python in place of files. `index_paths` and
`index_standard_library` do all of it and keep a memory up to date.
"""

from zenso.memory.ingest.batches import IndexProgress, IndexReport
from zenso.memory.ingest.chunking import Chunk, Chunker
from zenso.memory.ingest.docstrings import (
    DocstringEntry,
    standard_library_docstrings,
    standard_library_modules,
)
from zenso.memory.ingest.indexer import index_paths
from zenso.memory.ingest.library import index_standard_library
from zenso.memory.ingest.readers import MAX_FILE_BYTES, read_file
from zenso.memory.ingest.sections import Kind, Metadata, MetadataValue, ReadWarning, Section, Skipped
from zenso.memory.ingest.walk import walk

__all__ = [
    "MAX_FILE_BYTES",
    "Chunk",
    "Chunker",
    "DocstringEntry",
    "IndexProgress",
    "IndexReport",
    "Kind",
    "Metadata",
    "MetadataValue",
    "ReadWarning",
    "Section",
    "Skipped",
    "index_paths",
    "index_standard_library",
    "read_file",
    "standard_library_docstrings",
    "standard_library_modules",
    "walk",
]

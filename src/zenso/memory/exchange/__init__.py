"""Export and import: documents as JSON Lines, Parquet or a NumPy archive, with their embeddings or without.

The ending of the file's name says which: ``.jsonl`` (or ``.jsonl.gz``), ``.parquet``, ``.npz``. All of it streams.
"""

from zenso.memory.exchange.transfer import ImportReport, export_documents, import_documents

__all__ = ["ImportReport", "export_documents", "import_documents"]

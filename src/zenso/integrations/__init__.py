"""Zenso in other frameworks: ``zenso.integrations.langchain``, ``.llama_index`` and ``.haystack``.

Each module needs the extra of its name; nothing here is imported by the rest of Zenso.
"""

from zenso.errors import ZensoError


class MissingExtraError(ZensoError, ImportError):
    """A framework that an integration is for is not installed, or too old."""


def missing_extra(package: str, extra: str) -> MissingExtraError:
    """Make the error that says how to install ``package``."""
    return MissingExtraError(f"this needs {package}, which is missing or too old: pip install 'zenso[{extra}]'")


__all__ = ["MissingExtraError", "missing_extra"]

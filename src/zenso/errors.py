"""The errors Zenso raises: one small family, so that a caller can catch all of them with one name.

Every message says what was wrong, with which value, and what to do about it.
"""


class ZensoError(Exception):
    """Base class of every error that Zenso raises on purpose."""


class InputError(ZensoError, ValueError):
    """A value given by the caller cannot be used as it is."""


class ModelError(ZensoError):
    """A model is unknown, cannot be fetched, or is not of a supported kind."""


class IntegrityError(ZensoError):
    """Bytes are not what their hash, checksum or format says they are."""


class StorageError(ZensoError):
    """The disk or a file on it refuses: no permission, no space, or written by a newer version."""

"""Files of learned numbers that come with the package, one for each model."""

from pathlib import Path

from zenso.errors import ModelError


def read_shipped(folder: Path, model: str, what: str) -> tuple[bytes, str]:
    """Return the bytes of a model's file in a folder of the package, and its path; ``what`` is its name in errors.

    Raises
    ------
    ModelError
        There is none for this model.
    """
    path = folder / f"{model}.safetensors"
    try:
        return path.read_bytes(), str(path)
    except OSError as error:
        known = ", ".join(sorted(each.stem for each in folder.glob("*.safetensors")))
        raise ModelError(f"no {what} are shipped for the model {model!r}; there are some for {known}") from error

"""Token states of training texts, made once by the canonical kernel and kept in files that are mapped.

A folder for each list of texts, named after the digests of the model and of the texts: ``tokens`` (int16), ``pooled``
(int16) and ``done``, the number of texts that are finished. Making them can be interrupted at any moment; it goes on
where it was.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from zenso.canonical import CanonicalEncoder, Role, Want
from zenso.errors import IntegrityError

_AT_ONCE = 128  # texts between two notes of how many are done
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class CachedStates:
    """States of n texts with m tokens in all."""

    tokens: NDArray[np.int16]  # (m, hidden): unit token states, scale 32767
    ids: NDArray[np.int32]  # (m,): token ids
    offsets: NDArray[np.int64]  # (n + 1,): where each text begins
    pooled: NDArray[np.int16]  # (n, hidden): canonical pooled vectors, scale 32767

    def __len__(self) -> int:
        return len(self.pooled)

    def span(self, row: int) -> slice:
        """Return which tokens are those of a text."""
        return slice(int(self.offsets[row]), int(self.offsets[row + 1]))

    def sizes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of tokens of some texts."""
        sizes: NDArray[np.int64] = self.offsets[rows + 1] - self.offsets[rows]
        return sizes

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the tokens of some texts are, one text after the other."""
        return np.concatenate([np.arange(self.offsets[row], self.offsets[row + 1]) for row in rows])


def cache_key(encoder: CanonicalEncoder, texts: Sequence[str], role: Role) -> str:
    """Name the states of texts: digests of what the bits of vectors depend on, and of role and texts."""
    digest = blake3(role.value.encode())
    for text in texts:
        coded = text.encode("utf-8", "surrogatepass")
        digest.update(len(coded).to_bytes(8, "little"))
        digest.update(coded)
    return f"{encoder.provenance.space.hex()[:16]}-{digest.hexdigest()[:16]}"


def cache_states(
    folder: Path, texts: Sequence[str], encoder: CanonicalEncoder, role: Role, on_progress: OnProgress | None = None
) -> CachedStates:
    """Open the states of texts, making those that are not there yet.

    Parameters
    ----------
    folder : Path
        Holds a folder for each list of texts.
    on_progress : callable, optional
        Called with the numbers of texts done and of all, while states are made.

    Raises
    ------
    InputError
        A text is empty.
    IntegrityError
        A file of the cache is not as long as it should be.
    """
    place = folder / cache_key(encoder, texts, role)
    place.mkdir(parents=True, exist_ok=True)
    ids = encoder.tokenizer.encode(texts, str(encoder.artifact.config[f"{role.value}_prefix"]))
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in ids]))).astype(np.int64)
    hidden = encoder.artifact.hidden
    done = _done(place)
    mode = "r+" if done else "w+"
    tokens = _mapped(place / "tokens", (int(offsets[-1]), hidden), mode)
    pooled = _mapped(place / "pooled", (len(texts), hidden), mode)
    for start in range(done, len(texts), _AT_ONCE):
        end = min(start + _AT_ONCE, len(texts))
        encoded = encoder.encode(texts[start:end], Want.POOLED | Want.TOKENS, role=role)
        tokens[offsets[start] : offsets[end]] = np.concatenate(encoded.tokens)
        pooled[start:end] = encoded.pooled
        tokens.flush()
        pooled.flush()
        _note(place, end)
        if on_progress:
            on_progress(end, len(texts))
    return CachedStates(tokens, np.concatenate(ids), offsets, np.array(pooled))


def _done(place: Path) -> int:
    try:
        return int((place / "done").read_text("ascii"))
    except (FileNotFoundError, ValueError):
        return 0


def _note(place: Path, done: int) -> None:
    """Write how many texts are done, at once or not at all."""
    fresh = place / "done.new"
    fresh.write_text(str(done), "ascii")
    fresh.replace(place / "done")


def _mapped(path: Path, shape: tuple[int, int], mode: str) -> "np.memmap[tuple[int, int], np.dtype[np.int16]]":
    wanted = 2 * shape[0] * shape[1]
    if mode == "r+" and (not path.is_file() or path.stat().st_size != wanted):
        message = f"{path} is not the {wanted:,} bytes of states that it should be; remove the folder {path.parent}"
        raise IntegrityError(message)
    return np.memmap(path, np.int16, "r+" if mode == "r+" else "w+", shape=shape)

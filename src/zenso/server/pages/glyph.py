"""A hash as a picture: 256 bits as 16 rows of 16 squares, so that the eye sees whether two are the same."""

from zenso.errors import InputError

SIDE = 16


def glyph_path(digest: bytes) -> str:
    """Return the path of an SVG of 16 by 16 units that fills the squares of the bits that are 1.

    Bits run along the rows, the highest of each byte first.

    Raises
    ------
    InputError
        The digest has no 32 bytes.
    """
    if len(digest) != SIDE * SIDE // 8:
        raise InputError(f"a digest of {len(digest)} bytes; give 32")
    bits = int.from_bytes(digest, "big")
    last = SIDE * SIDE - 1
    return "".join(
        f"M{place % SIDE} {place // SIDE}h1v1h-1z" for place in range(last + 1) if bits >> (last - place) & 1
    )

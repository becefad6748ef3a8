"""Learn a model's projection and token counts from text, and write the slot artifact that the package ships.

    python scripts/build_slot_artifact.py --data FOLDER --output src/zenso/zen/data/all-MiniLM-L6-v2.safetensors

FOLDER is a retrieval set in the BEIR layout whose documents may be trained on (the shipped file was made from SQuAD 1.1
dev, CC BY-SA 4.0). The projection spans the 128 principal axes of what codes have to say about tokens beyond slot 0,
each token weighed as in a code; a fixed rotation spreads what an axis carries over all bits. Two machines may differ in
the last digit of an eigenvector, so the file is made once and its digest is part of every embedding's provenance.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from rich.progress import track
from safetensors.numpy import save_file

from zenso.bitdelta import slot_bits
from zenso.bitdelta.format import GROUP_WIDTH, SLOT_WIDTH
from zenso.bitdelta.slots import PROJECTION_UNIT, slot_base
from zenso.canonical import CanonicalEncoder, Want
from zenso.models import load_artifact
from zenso.zen.frequencies import ShippedCounts, document_weights

Float64 = NDArray[np.float64]
AT_ONCE = 256  # documents


def read_texts(path: Path) -> list[str]:
    """Titles and texts of a JSON Lines file of documents."""
    with path.open(encoding="utf-8") as lines:  # not splitlines(): a text may hold other line separators
        items = [json.loads(line) for line in lines]
    return [f"{item.get('title', '')} {item['text']}".strip() for item in items]


def count_documents(ids: list[NDArray[np.int32]], vocabulary: int) -> NDArray[np.int32]:
    """Count the documents that hold each token."""
    frequencies = np.zeros(vocabulary, np.int32)
    for document in ids:
        frequencies[np.unique(document)] += 1
    return frequencies


def covariance(encoder: CanonicalEncoder, texts: list[str], weights: NDArray[np.int32]) -> Float64:
    """Sum over tokens of weight times outer product of the difference from the base."""
    total = np.zeros((SLOT_WIDTH, SLOT_WIDTH))
    for start in track(range(0, len(texts), AT_ONCE), "token states"):
        encoded = encoder.encode(texts[start : start + AT_ONCE], Want.POOLED | Want.TOKENS)
        for first, tokens, ids in zip(slot_bits(encoded.pooled), encoded.tokens, encoded.ids, strict=True):
            differences = tokens.astype(np.float64) - slot_base(first)
            total += differences.T @ (differences * weights[ids, None])
    return total


def turn(width: int) -> Float64:
    """Return a fixed rotation: a Sylvester matrix after sign flips."""
    matrix = np.ones((1, 1))
    while len(matrix) < width:
        matrix = np.kron(matrix, np.array([[1, 1], [1, -1]]))
    stream = blake3(b"zenso bitdelta projection 1").digest(length=width // 8)
    flips = 1.0 - 2.0 * np.unpackbits(np.frombuffer(stream, np.uint8), bitorder="little")
    turned: Float64 = matrix * flips / np.sqrt(width)
    return turned


def principal_projection(squares: Float64) -> NDArray[np.int16]:
    """Project to the largest principal axes, turned."""
    values, axes = np.linalg.eigh(squares)
    print(f"{values[-GROUP_WIDTH:].sum() / values.sum():.3f} of the variance is kept")
    kept = axes[:, : -GROUP_WIDTH - 1 : -1].T
    kept *= np.sign(kept[np.arange(GROUP_WIDTH), np.abs(kept).argmax(axis=1)])[:, None]
    rounded: NDArray[np.int16] = np.rint(turn(GROUP_WIDTH) @ kept * PROJECTION_UNIT).astype(np.int16)
    return rounded


def main() -> None:
    """Run the whole build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    options = parser.parse_args()

    encoder = CanonicalEncoder(load_artifact(options.model))
    texts = read_texts(options.data / "corpus.jsonl")
    frequencies = count_documents(encoder.tokenizer.encode(texts, ""), len(encoder.artifact.words))
    weights = document_weights(ShippedCounts(len(texts), frequencies.astype(np.int64)))
    projection = principal_projection(covariance(encoder, texts, weights))
    documents = np.array([len(texts)], np.int32)
    save_file({"projection": projection, "frequencies": frequencies, "documents": documents}, options.output)


if __name__ == "__main__":
    main()

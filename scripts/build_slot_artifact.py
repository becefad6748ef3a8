"""Learn a model's cells and token weights from text, and write the slot artifact that the package ships.

    python scripts/build_slot_artifact.py --data FOLDER --output src/zenso/zen/data/all-MiniLM-L6-v2.safetensors

FOLDER is a retrieval set in the BEIR layout that may be trained on (the shipped file was made from SQuAD 1.1 dev,
CC BY-SA 4.0). Cells are the centres of a spherical k-means over canonical token states; of several starts, the one
whose one-bit slots rank the set's own paragraphs best (mean reciprocal rank) is kept. Sums of integers below 2^53 are
exact in float64 whatever their order, so the same text gives the same file on every machine.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from safetensors.numpy import save_file

from zenso.bitdelta import encode_slots, prepare_query, score
from zenso.canonical import CanonicalEncoder, SlotRule, Want
from zenso.models import load_artifact
from zenso.zen.embedding import document_slots, query_embedding
from zenso.zen.slot_artifact import CELLS

Float64 = NDArray[np.float64]
WEIGHT_UNIT = 32
QUESTIONS_STEP = 10  # every tenth question chooses among the starts


def read_lines(path: Path) -> list[dict[str, str]]:
    """Objects of a JSON Lines file."""
    with path.open(encoding="utf-8") as lines:  # not splitlines(): a text may hold other line separators
        return [json.loads(line) for line in lines]


def token_weights(ids: list[NDArray[np.int32]], vocabulary: int) -> NDArray[np.uint8]:
    """32 * sqrt(inverse document frequency), 1 to 255."""
    frequency = np.zeros(vocabulary, np.int64)
    for document in ids:
        frequency[np.unique(document)] += 1
    weights = [round(WEIGHT_UNIT * math.sqrt(math.log((len(ids) + 1) / (count + 1)))) for count in frequency.tolist()]
    return np.clip(weights, 1, 255).astype(np.uint8)


def unit(sums: Float64) -> NDArray[np.int16]:
    """Directions of the rows, scale 32767."""
    norms = np.sqrt((sums**2).sum(axis=1, keepdims=True))
    rounded: NDArray[np.int16] = np.rint(sums / norms * 32767).astype(np.int16)
    return rounded


def cluster(tokens: Float64, start: int, rounds: int) -> NDArray[np.int16]:
    """Spherical k-means from rows spaced over the sample; an empty cell keeps its centre."""
    first = (np.arange(CELLS) * (len(tokens) // CELLS) + start * 997) % len(tokens)
    cells: NDArray[np.int16] = tokens[first].astype(np.int16)
    for _ in range(rounds):
        nearest = (tokens @ cells.T.astype(np.float64)).argmax(axis=1)
        members = np.eye(CELLS)[nearest]
        filled = members.sum(axis=0) > 0
        cells[filled] = unit(members.T @ tokens)[filled] if filled.all() else unit((members.T @ tokens)[filled])
    return cells


def reciprocal_rank(
    encoder: CanonicalEncoder, rule: SlotRule, documents: list[str], questions: list[tuple[str, int]]
) -> float:
    """Mean reciprocal rank of each question's paragraph, by 964-byte codes over all paragraphs."""
    encoded = encoder.encode(documents, Want.POOLED | Want.DOCUMENT_SLOTS, slots=rule)
    codes = encode_slots(document_slots(encoded.pooled, encoded.slots))
    asked = encoder.encode([text for text, _ in questions], Want.POOLED | Want.QUERY_SLOTS, slots=rule)
    total = 0.0
    for (_, target), pooled, slots, ids in zip(questions, asked.pooled, asked.slots, asked.ids, strict=True):
        query = query_embedding(pooled, slots, int(rule.token_weights[ids].sum()))
        scores = score(prepare_query(query.slots, query.weight), codes)
        total += 1.0 / (1 + int((scores > scores[target]).sum()))
    return total / len(questions)


def main() -> None:
    """Run the whole build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--starts", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()

    encoder = CanonicalEncoder(load_artifact(options.model))
    corpus = read_lines(options.data / "corpus.jsonl")
    documents = [f"{item.get('title', '')} {item['text']}".strip() for item in corpus]
    place = {item["_id"]: index for index, item in enumerate(corpus)}
    judged = (line.split("\t") for line in (options.data / "qrels.tsv").read_text("utf-8").splitlines()[1:])
    target = {query: place[document] for query, document, grade in judged if int(grade) > 0}
    asked = [item for item in read_lines(options.data / "queries.jsonl") if item["_id"] in target][::QUESTIONS_STEP]
    questions = [(item["text"], target[item["_id"]]) for item in asked]

    encoded = encoder.encode(documents, Want.TOKENS)
    weights = token_weights(encoded.ids, len(encoder.artifact.words))
    sample = np.concatenate(encoded.tokens)[::5].astype(np.float64)
    best: tuple[float, NDArray[np.int16]] | None = None
    for start in track(range(options.starts), "k-means starts"):
        cells = cluster(sample, start, options.rounds)
        rank = reciprocal_rank(encoder, SlotRule(cells, weights.astype(np.int32)), documents, questions)
        print(f"start {start}: reciprocal rank {rank:.4f}", flush=True)
        if best is None or rank > best[0]:
            best = rank, cells
    assert best is not None
    save_file({"cells": best[1], "token_weights": weights}, options.output)


if __name__ == "__main__":
    main()

"""Learn an aligner from text, and write the file that the package ships.

    python scripts/build_aligner.py --data FOLDER --output FILE [--source MODEL] [--to MODEL]

FOLDER holds ``squad11_dev`` (questions in the BEIR layout) and ``nli`` (``triplets.jsonl``): text that may be trained
on, CC BY-SA 4.0. From there come every second question and 8,000 sentences; 6,000 words of the target's vocabulary, and
as many texts of two to five random ones, name what questions about a few subjects never mention. All run through both
models, which takes most of the time. FILE belongs in ``src/zenso/zen/data/aligners/TARGET/SOURCE.safetensors``. Two
machines may differ in the last digit of a solution, so the file is made once, and its digest is part of the provenance
of every aligned embedding.
"""

import argparse
import json
import random
from pathlib import Path

from rich.progress import Progress

from zenso.canonical import CanonicalEncoder
from zenso.models import load_artifact
from zenso.zen import Aligner, ModelFiles, canonical_pairs, match_tokens

TRAINING = "questions of SQuAD 1.1 dev, sentences of SNLI and MultiNLI (CC BY-SA 4.0), words of the vocabulary"
SENTENCES, WORDS = 8000, 6000


def read_objects(path: Path) -> list[dict[str, str]]:
    """Objects of a JSON Lines file."""
    with path.open(encoding="utf-8") as lines:  # not splitlines(): a text may hold other line separators
        return [json.loads(line) for line in lines]


def read_texts(folder: Path) -> list[str]:
    """Questions, and sentences in random order."""
    questions = [item["text"] for item in read_objects(folder / "squad11_dev" / "queries.jsonl")]
    triplets = read_objects(folder / "nli" / "triplets.jsonl")
    parts = (item[name].strip() for item in triplets for name in ("anchor", "positive", "negative"))
    sentences = [text for text in dict.fromkeys(parts) if text]
    random.Random(0).shuffle(sentences)  # noqa: S311 - sampling, not cryptography
    return questions[::2] + sentences[:SENTENCES]


def make_texts(vocabulary: list[str]) -> list[str]:
    """Words of a vocabulary, each followed by a text of random ones."""
    source = random.Random(1)  # noqa: S311 - sampling
    words = sorted(word for word in vocabulary if word.isalpha() and word.isascii() and len(word) >= 3)
    source.shuffle(words)
    several = [" ".join(source.choice(words) for _ in range(source.randint(2, 5))) for _ in range(WORDS)]
    return [text for pair in zip(words[:WORDS], several, strict=True) for text in pair]


def main() -> None:
    """Run the whole build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--source", default="all-mpnet-base-v2")
    parser.add_argument("--to", default="all-MiniLM-L6-v2")
    options = parser.parse_args()

    source, target = (CanonicalEncoder(load_artifact(model)) for model in (options.source, options.to))
    texts = read_texts(options.data) + make_texts(list(target.tokenizer.untruncated().get_vocab()))
    token_ids = match_tokens(source, target)
    with Progress() as bars:
        task = bars.add_task("texts through both models", total=len(texts))
        pairs = canonical_pairs(source, target, texts, token_ids, on_progress=lambda done: bars.advance(task, done))
        aligner = Aligner.fit(
            ModelFiles.of(source.provenance),
            ModelFiles.of(target.provenance),
            pairs,
            token_ids=token_ids,
            training=TRAINING,
        )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    aligner.save(options.output)
    print(f"{options.output.stat().st_size} bytes, BLAKE3 {aligner.digest.hex()}")


if __name__ == "__main__":
    main()

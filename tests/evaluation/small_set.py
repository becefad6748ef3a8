"""A small retrieval set in the BEIR layout."""

import json

DOCUMENTS = {
    "plants": ("Photosynthesis", "Plants turn sunlight, water and carbon dioxide into sugar."),
    "stars": ("", "Stars are balls of plasma held together by gravity."),
    "none": ("", "  "),
    "bread": ("Baking", "Bread is made of flour, water and yeast."),
    "only a title": ("The history of the bicycle", ""),
    "line": ("", "A line\u2028separator and a next\x85line are no ends of a line."),
}
QUERIES = {
    "q1": "How do plants make sugar?",
    "q2": "What is a star made of?",
    "nobody judged this": "Is there life on Mars?",
    "q3": "How is bread baked?",
    "q4": "Who invented bicycles?",
}
JUDGEMENTS = [
    ("q1", "plants", 2),
    ("q1", "bread", 0),
    ("q2", "stars", 1),
    ("q3", "bread", 1),
    ("q4", "only a title", 1),
]


def write_set(folder, judgements=JUDGEMENTS):
    folder.mkdir()
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as out:
        for name, (title, text) in DOCUMENTS.items():
            print(json.dumps({"_id": name, "title": title, "text": text}, ensure_ascii=False), file=out)
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as out:
        for name, text in QUERIES.items():
            print(json.dumps({"_id": name, "text": text}), file=out)
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in judgements), ""]
    (folder / "qrels.tsv").write_text("\n".join(lines), "utf-8")
    return folder

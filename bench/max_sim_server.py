"""Rerank by MaxSim in PyTorch for ``bench rerank``, which starts this with another Python.

It gets a model folder and a number of tokens as arguments. The standard input has one JSON value a line: the
candidates, then requests ``{"query": "...", "batch": 8, "threads": 1}``. The standard output has one a line: the
versions, then for each request ``{"seconds": 1.5, "scores": [...]}``: for each candidate the mean over the query's
tokens of the largest cosine with one of its own.
"""

import json
import os
import sys
import time

import torch
import transformers


def main() -> None:
    """Serve until the input ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no reply

    def reply(value: object) -> None:
        replies.write(json.dumps(value) + "\n")
        replies.flush()

    folder, tokens = sys.argv[1], int(sys.argv[2])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"))  # noqa: PTH118
    tokenizer.pad_token = "[PAD]"  # noqa: S105
    model = transformers.AutoModel.from_pretrained(folder).float().eval()
    candidates = json.loads(sys.stdin.readline())
    reply({"transformers": transformers.__version__, "torch": torch.__version__})

    def states(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        read = tokenizer(texts, padding=True, truncation=True, max_length=tokens, return_tensors="pt")
        hidden = model(input_ids=read["input_ids"], attention_mask=read["attention_mask"]).last_hidden_state
        return torch.nn.functional.normalize(hidden, dim=-1), read["attention_mask"].bool()

    for line in sys.stdin:
        request = json.loads(line)
        torch.set_num_threads(request["threads"])
        start = time.perf_counter()
        with torch.inference_mode():
            asked, _ = states([request["query"]])
            # By length, so that little is padded, as sentence-transformers does.
            order = sorted(range(len(candidates)), key=lambda row: -len(candidates[row]))
            scores = [0.0] * len(candidates)
            for first in range(0, len(order), request["batch"]):
                rows = order[first : first + request["batch"]]
                held, real = states([candidates[row] for row in rows])
                products = torch.einsum("qd,ncd->nqc", asked[0], held).masked_fill(~real[:, None, :], -1.0)
                for row, score in zip(rows, products.amax(dim=2).mean(dim=1).tolist(), strict=True):
                    scores[row] = score
        reply({"seconds": time.perf_counter() - start, "scores": scores})


if __name__ == "__main__":
    main()

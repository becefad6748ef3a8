"""How good a ranking is, by ``ir_measures``: nDCG, recall and reciprocal rank of every query."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from zenso.evaluation.retrieval_set import RetrievalSet

# Names here, and those of ir_measures.
MEASURES = {"ndcg_at_10": "nDCG@10", "recall_at_10": "R@10", "recall_at_100": "R@100", "mrr_at_10": "RR@10"}
CUTOFFS = (1, 2, 3, 5, 10, 20, 30, 50, 70, 100)  # of the curve of recall@k
RECALL = {f"recall_at_{k}": f"R@{k}" for k in CUTOFFS}

Values = dict[str, NDArray[np.float64]]  # name of a measure -> (queries,), 0 to 1


def measure(data: RetrievalSet, rows: Sequence[NDArray[np.int64]], measures: Mapping[str, str] = MEASURES) -> Values:
    """Compute measures of every query.

    nDCG has linear gains for graded judgements. A document that nobody judged is no answer.

    Parameters
    ----------
    data : RetrievalSet
    rows : sequence of int64
        Rows of documents for each query, best first.
    measures : mapping
        Names of the result and what ``ir_measures`` calls them.
    """
    import ir_measures  # noqa: PLC0415 - an extra

    # Scores fall by one a place, so that ties stay as they were broken before.
    scored = [
        ir_measures.ScoredDoc(query, data.document_ids[row], float(len(ranked) - place))
        for query, ranked in zip(data.query_ids, rows, strict=True)
        for place, row in enumerate(ranked.tolist())
    ]
    judgements = [ir_measures.Qrel(one.query_id, one.document_id, one.grade) for one in data.judgements]
    parsed = {ir_measures.parse_measure(theirs): ours for ours, theirs in measures.items()}
    found: dict[str, dict[str, float]] = {name: {} for name in measures}
    for metric in ir_measures.iter_calc(list(parsed), judgements, scored):
        found[parsed[metric.measure]][metric.query_id] = metric.value
    return {name: np.array([values.get(query, 0.0) for query in data.query_ids]) for name, values in found.items()}

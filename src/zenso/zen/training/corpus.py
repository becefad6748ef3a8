"""Training sets with their cached states: batches for the model, and validation by the integer code."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from zenso.bitdelta import DIMENSIONS, SlotBasis, encode_slots, prepare_query, score
from zenso.canonical import CanonicalEncoder, Role
from zenso.zen.frequencies import ShippedCounts, document_weights, query_weights
from zenso.zen.training.model import Tokens
from zenso.zen.training.states import CachedStates, cache_states
from zenso.zen.training.texts import TrainingSet

VALIDATION_QUERIES, VALIDATION_DOCUMENTS = 300, 2_100  # of each set
NEIGHBOURS = 30  # nearest documents that a query's candidates are drawn from
_DEPTH = 10

Rows = NDArray[np.int64]
OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Batch:
    """Queries and documents, each query to be scored with each document."""

    queries: Tokens
    documents: Tokens
    positives: torch.Tensor  # int64 (queries,): place of the document that answers
    answers: torch.Tensor  # bool (queries, documents): all that answer


@dataclass(frozen=True)
class Corpus:
    """One training set and its states. Queries and pairs are numbered alike."""

    data: TrainingSet
    documents: CachedStates
    queries: CachedStates
    shipped: ShippedCounts

    @cached_property
    def document_weights(self) -> NDArray[np.int32]:
        """Weight of each token of the vocabulary in a document."""
        return document_weights(self.shipped)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Documents of this set that hold each token, (vocabulary,)."""
        counts = np.zeros(len(self.shipped.counts), np.int64)
        for row in range(len(self.documents)):
            counts[np.unique(self.documents.ids[self.documents.span(row)])] += 1
        return counts

    @cached_property
    def answers(self) -> dict[str, set[int]]:
        """Documents that answer each query text."""
        found: dict[str, set[int]] = {}
        for query, row in zip(self.data.queries, self.data.positives.tolist(), strict=True):
            found.setdefault(query, set()).add(row)
        return found

    @cached_property
    def neighbours(self) -> Rows:
        """Nearest documents of each training pair's query by pooled vector, best first: (pairs, 30), or fewer."""
        allowed = np.flatnonzero(~self.data.held_out)
        pooled = self.documents.pooled[allowed].astype(np.float32)
        found = np.zeros((len(self.queries), min(NEIGHBOURS, len(allowed))), np.int64)
        for part in np.array_split(self.data.training_pairs, len(self.data.training_pairs) // 256 + 1):
            nearest = np.argsort(-self.queries.pooled[part].astype(np.float32) @ pooled.T, axis=1, kind="stable")
            found[part] = allowed[nearest[:, : found.shape[1]]]
        return found

    def weights_of(self, pair: int) -> NDArray[np.int32]:
        """Weights of the tokens of a pair's query, as a search of all documents gives them."""
        ids = self.queries.ids[self.queries.span(pair)]
        return query_weights(ids, self.shipped, lambda wanted: (len(self.documents), self.counts[wanted]))

    def batch(self, generator: np.random.Generator, size: int, candidates: int, nearest: Rows) -> Batch:
        """Draw pairs, and for each query some of its ``nearest`` documents (pairs, any number)."""
        training = self.data.training_pairs
        pairs = generator.choice(training, min(size, len(training)), replace=False)
        drawn = [generator.choice(nearest[pair], min(candidates, nearest.shape[1]), replace=False) for pair in pairs]
        known = self.data.negatives[pairs]
        rows = np.unique(np.concatenate([self.data.positives[pairs], known[known >= 0], *drawn]))
        answers = torch.zeros((len(pairs), len(rows)), dtype=torch.bool)
        for place, pair in enumerate(pairs.tolist()):
            right = np.array(sorted(self.answers[self.data.queries[pair]]))
            answers[place, np.flatnonzero(np.isin(rows, right))] = True
        positives = torch.from_numpy(np.searchsorted(rows, self.data.positives[pairs]))
        return Batch(self._queries(pairs), self._documents(rows), positives, answers)

    def _queries(self, pairs: Rows) -> Tokens:
        return _tokens(self.queries, pairs, np.concatenate([self.weights_of(pair) for pair in pairs.tolist()]))

    def _documents(self, rows: Rows) -> Tokens:
        ids = self.documents.ids[self.documents.places(rows)]
        return _tokens(self.documents, rows, self.document_weights[ids])

    @cached_property
    def validation(self) -> tuple[Rows, Rows]:
        """Pairs to validate with, and the documents that are searched: those that answer, and as many others."""
        pairs = self.data.validation_pairs
        pairs = pairs[:: -(-len(pairs) // VALIDATION_QUERIES)]
        needed = sorted({row for pair in pairs.tolist() for row in self.answers[self.data.queries[pair]]})
        others = np.setdiff1d(np.arange(len(self.documents)), needed)
        return pairs, np.sort(np.concatenate([needed, others[: max(0, VALIDATION_DOCUMENTS - len(needed))]]))

    def validate(self, basis: SlotBasis) -> dict[int, float]:
        """Measure mean nDCG@10 of held-out queries at each of the dimensions, by codes as a memory makes them."""
        pairs, rows = self.validation
        spans = [self.documents.span(row) for row in rows.tolist()]
        codes = encode_slots(
            self.documents.pooled[rows],
            [self.documents.tokens[span] for span in spans],
            [self.document_weights[self.documents.ids[span]] for span in spans],
            basis,
        )
        gains: dict[int, list[float]] = {dimensions: [] for dimensions in DIMENSIONS}
        for pair in pairs.tolist():
            query = prepare_query(self.queries.tokens[self.queries.span(pair)], self.weights_of(pair), basis)
            right = np.isin(rows, list(self.answers[self.data.queries[pair]]))
            for dimensions in DIMENSIONS:
                order = np.argsort(-score(query, codes, dimensions=dimensions), kind="stable")[:_DEPTH]
                gains[dimensions].append(_ndcg(right[order], int(right.sum())))
        return {dimensions: float(np.mean(values)) for dimensions, values in gains.items()}


def _ndcg(hits: NDArray[np.bool_], answers: int) -> float:
    """Return nDCG of a ranking's first places, of documents that answer or do not (Jarvelin and Kekalainen, 2002)."""
    discounts = 1 / np.log2(np.arange(2, _DEPTH + 2))
    return float((hits * discounts[: len(hits)]).sum() / discounts[:answers].sum())


def _tokens(states: CachedStates, rows: Rows, weights: NDArray[np.int32]) -> Tokens:
    return Tokens(
        torch.from_numpy(states.tokens[states.places(rows)].astype(np.float32) / 32767),
        torch.from_numpy(weights.astype(np.float32)),
        states.sizes(rows),
        torch.from_numpy(states.pooled[rows].astype(np.float32) / 32767),
    )


def open_corpora(
    sets: Sequence[TrainingSet], cache: Path, encoder: CanonicalEncoder, on_progress: OnProgress
) -> list[Corpus]:
    """Open the states of training sets, making what is missing; counts are shared: those of all paragraphs.

    Counts come from the retrieval sets, or from all documents if there are triplets only.
    """

    def states_of(name: str, what: str, texts: list[str], role: Role) -> CachedStates:
        def tell(done: int, total: int) -> None:
            on_progress(f"{name}: states of {what}", done, total)

        return cache_states(cache, texts, encoder, role, tell)

    opened = [
        (
            states_of(data.name, "documents", data.documents, Role.DOCUMENT),
            states_of(data.name, "queries", data.queries, Role.QUERY),
        )
        for data in sets
    ]
    paragraphs = [documents for data, (documents, _) in zip(sets, opened, strict=True) if data.negatives.max() < 0]
    counted = paragraphs or [documents for documents, _ in opened]
    counts = np.zeros(len(encoder.artifact.words), np.int64)
    for states in counted:
        for row in range(len(states)):
            counts[np.unique(states.ids[states.span(row)])] += 1
    shipped = ShippedCounts(sum(len(states) for states in counted), counts)
    return [Corpus(data, *states, shipped) for data, states in zip(sets, opened, strict=True)]

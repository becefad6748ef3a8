"""Reranking by late interaction: every token of the query looks for its best match in a candidate."""

from zenso.rerank.explanation import Explanation, Match
from zenso.rerank.reranker import RerankResult, ZenReranker

__all__ = ["Explanation", "Match", "RerankResult", "ZenReranker"]

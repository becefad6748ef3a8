"""Reranking by late interaction: every token of the query looks for its best match in a candidate."""

from zenso.rerank.reranker import RerankResult, ZenReranker

__all__ = ["RerankResult", "ZenReranker"]

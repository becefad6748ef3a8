"""Retrieval-augmented generation: answers written from the passages that a memory finds, with citations."""

from zenso.rag.answer import Answer, Passage, answer, cited

__all__ = ["Answer", "Passage", "answer", "cited"]

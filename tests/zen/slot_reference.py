"""Token weights from their definition, with logarithms of floating-point numbers."""

import math


def idf(documents, count):
    return math.log2((documents + 1) / (count + 1))


def document_weight(documents, count):
    return max(1, min(255, 27 * math.sqrt(max(0.0, idf(documents, count)))))


def query_weight(shipped_documents, shipped_count, documents, count):
    """The prior stands for 128 further documents in which tokens are as frequent as in the shipped text."""
    unit = shipped_documents
    total = documents + 128 + 1
    held = count + 128 * shipped_count / unit + 1
    return max(0.0, min(255.0, 10 * math.log2(total / held)))

"""The codecs of FAISS at about the sizes of Zenso's codes. The only module that imports FAISS."""

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_QUICK_ROUNDS = 1  # of the optimisation of OPQ's rotation, instead of 50
_QUERY_BITS = 8  # RaBitQ's scan of a query at this precision finds the same as with a float query, 50 times faster


@dataclass(frozen=True)
class Codec:
    """A codec by its name in the results and in FAISS's index factory."""

    name: str
    factory: str


# Inputs of RaBitQ should be rotated; on some spaces the raw axes happen to be better, so both are measured.
RABITQ = [Codec(f"rabitq_{bits}", f"RaBitQ{bits}" if bits > 1 else "RaBitQ") for bits in range(1, 9)]
ROTATED_RABITQ = [Codec(f"rotated_{codec.name}", f"RR{{width}},{codec.factory}") for codec in RABITQ]
SCALAR = [Codec("sq_4", "SQ4"), Codec("sq_8", "SQ8")]
PRODUCT = [Codec(f"pq_{size}", f"PQ{size}") for size in (48, 96, 192)]
OPTIMISED_PRODUCT = [Codec(f"opq_{size}", f"OPQ{size},PQ{size}") for size in (48, 96, 192)]
CODECS = [*RABITQ, *ROTATED_RABITQ, *SCALAR, *PRODUCT, *OPTIMISED_PRODUCT]


def search(
    codec: Codec, training: Floats, documents: Floats, queries: Floats, k: int, *, quick: bool
) -> tuple[int, NDArray[np.int64]]:
    """Train a codec, encode unit documents, and find the k best of each query.

    Returns
    -------
    tuple of int and int64 (queries, k)
        Bytes of a code, and the rows found.
    """
    width = documents.shape[1]
    metric = faiss.METRIC_L2 if "RaBitQ" in codec.factory else faiss.METRIC_INNER_PRODUCT
    index = faiss.index_factory(width, codec.factory.format(width=width), metric)
    inner = index
    if isinstance(index, faiss.IndexPreTransform):
        inner = faiss.downcast_index(index.index)
        transform = faiss.downcast_VectorTransform(index.chain.at(0))
        if isinstance(transform, faiss.OPQMatrix) and quick:
            transform.niter = _QUICK_ROUNDS
            quantizer = faiss.ProductQuantizer(width, transform.M, 8)  # lives until the training below is over
            quantizer.cp.min_points_per_centroid = 1
            transform.pq = quantizer
    if isinstance(inner, faiss.IndexPQ):
        inner.do_polysemous_training = False  # it renumbers centroids for another kind of search, for minutes
        inner.pq.cp.min_points_per_centroid = 1  # a quick run has few vectors, and knows it
    if isinstance(inner, faiss.IndexRaBitQ):
        inner.qb = _QUERY_BITS
    index.train(training)
    index.add(documents)
    return int(index.sa_code_size()), index.search(queries, k)[1]

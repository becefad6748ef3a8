"""Slots made again from token states in plain numpy, as section 4 of the design describes them."""

import numpy as np


def cells_of(tokens, cells):
    """Nearest cell of each token: the largest integer dot product, ties by lower cell."""
    return (tokens.astype(np.int64) @ cells.astype(np.int64).T).argmax(axis=1)


def document_sums(tokens, cells):
    """Sum of the tokens in each cell, and which cells have any."""
    nearest = cells_of(tokens, cells)
    members = nearest[:, None] == np.arange(len(cells))
    return members.T.astype(np.int64) @ tokens.astype(np.int64), members.any(axis=0)


def nearest_tokens(tokens, cells):
    """For each cell the token nearest to it, ties by lower position."""
    return tokens[(tokens.astype(np.int64) @ cells.astype(np.int64).T).argmax(axis=0)]


def query_sums(tokens, weights, cells):
    members = cells_of(tokens, cells)[:, None] == np.arange(len(cells))
    return (members * weights[:, None]).T.astype(np.int64) @ tokens.astype(np.int64)

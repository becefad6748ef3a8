"""Combine what nodes report that do not trust each other: robust aggregation, outliers, reputation.

Source: section 9 of the design. docs/robust.md says what each rule stands.
"""

from zenso.robust.aggregation import Aggregate, aggregate, mix_neighbours
from zenso.robust.outliers import Outliers, find_outliers
from zenso.robust.reputation import Reputation, outcomes_for
from zenso.robust.rules import (
    RULES,
    CentredClipping,
    GeometricMedian,
    Krum,
    Mean,
    Median,
    MultiKrum,
    Rule,
    TrimmedMean,
)

__all__ = [
    "RULES",
    "Aggregate",
    "CentredClipping",
    "GeometricMedian",
    "Krum",
    "Mean",
    "Median",
    "MultiKrum",
    "Outliers",
    "Reputation",
    "Rule",
    "TrimmedMean",
    "aggregate",
    "find_outliers",
    "mix_neighbours",
    "outcomes_for",
]

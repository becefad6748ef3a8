"""How good rankings are on a collection with judgements: measures, significance, and reports.

>>> from zenso.evaluation import evaluate, write_report
>>> evaluation = evaluate("scifact", rankings=["codes", "hybrid"])
>>> evaluation.rankings["codes"].mean("ndcg_at_10")
>>> write_report(evaluation, Path("report"))
"""

from zenso.evaluation.evaluation import Comparison, Evaluation, RankingResult, evaluate
from zenso.evaluation.rankings import RANKINGS
from zenso.evaluation.report import write_report

__all__ = ["RANKINGS", "Comparison", "Evaluation", "RankingResult", "evaluate", "write_report"]

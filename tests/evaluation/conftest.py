import pytest

from tests.evaluation.small_set import write_set
from zenso.evaluation import evaluate


@pytest.fixture(scope="session")
def stages():
    """What the evaluation below said of its progress."""
    return {}


@pytest.fixture(scope="session")
def evaluation(tmp_path_factory, stages):
    """Every ranking of a small collection with a name and a query that mean something to HTML and Markdown."""
    folder = write_set(tmp_path_factory.mktemp("sets") / "a <b> *c*")
    return evaluate(folder, reranks_timed=2, on_progress=lambda what, done, total: stages.update({what: (done, total)}))

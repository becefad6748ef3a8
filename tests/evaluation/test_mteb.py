"""mteb brings PyTorch, so it is no requirement of the tests: docs/evaluation.md says how to run these."""

import warnings
from pathlib import Path

import pytest

from zenso.evaluation.measures import measure
from zenso.evaluation.rankings import rank
from zenso.evaluation.retrieval_set import read_retrieval_set
from zenso.zen import load_encoder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what mteb imports
    mteb = pytest.importorskip("mteb", reason="mteb is not installed")
    from datasets import Dataset
    from mteb.abstasks import AbsTaskRetrieval, AbsTaskSTS
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models import EncoderProtocol, SearchProtocol

    from zenso.evaluation.mteb import MtebEncoder, MtebSearch

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.filterwarnings("ignore")  # of mteb
ABOUT = {
    "description": "Made from local files.",
    "dataset": {"path": "local", "revision": "1"},
    "category": "t2t",
    "eval_splits": ["test"],
    "eval_langs": ["eng-Latn"],
    "modalities": ["text"],
}
needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared/data is absent")


def retrieval_task(data, candidates=None):
    class Local(AbsTaskRetrieval):
        metadata = TaskMetadata(name="LocalRetrieval", type="Retrieval", main_score="ndcg_at_10", **ABOUT)

        def load_data(self, **_):
            relevant = {}
            for judgement in data.judgements:
                relevant.setdefault(judgement.query_id, {})[judgement.document_id] = judgement.grade
            documents = [
                {"id": name, "title": "", "text": text}
                for name, text in zip(data.document_ids, data.documents, strict=True)
            ]
            queries = [{"id": name, "text": text} for name, text in zip(data.query_ids, data.queries, strict=True)]
            split = {
                "corpus": Dataset.from_list(documents),
                "queries": Dataset.from_list(queries),
                "relevant_docs": relevant,
                "top_ranked": candidates,
            }
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    return Local()


def sts_task(path):
    class Local(AbsTaskSTS):
        metadata = TaskMetadata(name="LocalSTS", type="STS", main_score="cosine_spearman", **ABOUT)

        def load_data(self, **_):
            lines = [line.split("\t") for line in path.read_text("utf-8").split("\n")[1:] if line.strip()]
            rows = [{"score": float(a), "sentence1": b, "sentence2": c} for a, b, c in lines]
            self.dataset = {"default": {"test": Dataset.from_list(rows)}}
            self.data_loaded = True

    return Local()


def main_score(model, task):
    result = mteb.evaluate(model, task, cache=None, show_progress_bar=False, co2_tracker=False)
    return result.task_results[0].get_score()


@pytest.fixture(scope="module")
def encoder():
    return load_encoder()


@needs_data
def test_pooled_vectors_and_search_rank_as_the_evaluation_does(encoder):
    data = read_retrieval_set(DATA / "nq_utd")
    ranked = rank(encoder, data, ["pooled", "codes", "hybrid"])
    models = {
        "pooled": MtebEncoder(encoder=encoder),
        "codes": MtebSearch(encoder=encoder, hybrid=False),
        "hybrid": MtebSearch(encoder=encoder),
    }
    assert isinstance(models["pooled"], EncoderProtocol)
    assert isinstance(models["hybrid"], SearchProtocol)
    for name, model in models.items():
        ours = measure(data, ranked[name].rows)["ndcg_at_10"].mean()
        theirs = main_score(model, retrieval_task(data))
        print(f"{name}: {theirs:.5f}, here {ours:.5f}")
        assert theirs == pytest.approx(ours, abs=5e-4)


@needs_data
def test_reranking_candidates_and_the_first_of_a_search(encoder):
    data = read_retrieval_set(DATA / "nq_utd", queries=4, documents=60)
    searched = main_score(MtebSearch(encoder=encoder, reranked=20), retrieval_task(data))
    candidates = dict.fromkeys(data.query_ids, data.document_ids)
    reranked = main_score(MtebSearch(encoder=encoder), retrieval_task(data, candidates))
    assert searched > 0.8
    assert reranked == pytest.approx(searched, abs=0.05)


@needs_data
def test_similarity_of_sentences(encoder):
    spearman = main_score(MtebEncoder(encoder=encoder), sts_task(DATA / "stsb" / "stsb_test.tsv"))
    print(f"STS-B test, Spearman: {spearman:.5f}")
    assert spearman == pytest.approx(0.8203, abs=5e-4)


def test_texts_without_characters_have_the_zero_vector(encoder):
    model = MtebEncoder(encoder=encoder)
    vectors = model.encode([{"text": ["Bread.", " "]}, {"text": ["Stars."]}])
    assert vectors.shape == (3, 384)
    assert not vectors[1].any()
    assert model.similarity_pairwise(vectors, vectors).round(6).tolist() == [1, 0, 1]
    assert model.similarity(vectors, vectors).shape == (3, 3)

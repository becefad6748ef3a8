import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from tests.evaluation.small_set import write_set
from zenso.errors import StorageError
from zenso.evaluation import evaluate, write_report
from zenso.evaluation.measures import MEASURES

VOID = {"meta", "img", "source", "br", "link"}


class Page(HTMLParser):
    """Whether every element is closed, and what the page would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.fetched = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        self.fetched += [value for name, value in attrs if name in ("src", "srcset", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def folder(evaluation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    written = write_report(evaluation, folder)
    assert sorted(written) == sorted(folder.iterdir())
    return folder


def test_the_page_is_whole_and_needs_nothing_else(folder):
    text = (folder / "report.html").read_text("utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert len(page.fetched) == 6  # three plots, light and dark
    assert all(value.startswith("data:image/svg+xml;base64,") for value in page.fetched)
    assert "url(" not in text
    assert "<script" not in text
    assert all(attrs["alt"] for tag, attrs in page.seen if tag == "img")
    assert sum(tag == "caption" for tag, _ in page.seen) == 2
    assert {attrs.get("scope") for tag, attrs in page.seen if tag == "th"} == {"col", "row"}
    assert "Rankings of a &lt;b&gt; *c*" in text


def test_markdown_names_files_that_are_there(folder):
    text = (folder / "report.md").read_text("utf-8")
    assert text.startswith("# Rankings of a \\<b\\> \\*c\\*\n")
    plots = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(plots) == 3
    for plot in plots:
        assert ET.parse(folder / plot).getroot().tag.endswith("svg")
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "| codes | codes, 964 bytes | 1.000 | 1.000 to 1.000 |" in text
    assert "documents without text, left out: 1" in text


def test_a_line_for_every_query(evaluation, folder):
    lines = [line.split("\t") for line in (folder / "queries.tsv").read_text("utf-8").splitlines()]
    assert lines[0][:3] == ["query_id", "query", "pooled_ndcg_at_10"]
    assert {len(line) for line in lines} == {2 + len(MEASURES) * len(evaluation.rankings)}
    assert [line[0] for line in lines[1:]] == evaluation.data.query_ids
    column = lines[0].index("bm25_ndcg_at_10")
    values = evaluation.rankings["bm25"].values["ndcg_at_10"]
    assert [float(line[column]) for line in lines[1:]] == pytest.approx(values.tolist(), abs=1e-6)


def test_the_same_evaluation_is_the_same_report(evaluation, folder, tmp_path):
    for path in write_report(evaluation, tmp_path):
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_a_single_ranking_is_compared_with_nothing(tmp_path):
    found = evaluate(write_set(tmp_path / "small"), rankings=[])
    write_report(found, tmp_path / "report")
    assert "Compared" not in (tmp_path / "report" / "report.md").read_text("utf-8")
    assert not (tmp_path / "report" / "differences.svg").exists()


def test_a_place_that_cannot_be_written_is_named(evaluation, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file cannot be written"):
        write_report(evaluation, tmp_path / "file")

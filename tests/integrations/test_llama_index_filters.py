import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from zenso.errors import InputError
from zenso.integrations.llama_index_filters import to_where
from zenso.memory import Memory

DOCUMENTS = {
    "bread": {"n": 1, "lang": "en", "tags": ["food", "home"], "title": "Bread"},
    "dog": {"n": 2, "lang": "de", "tags": [], "title": ""},
    "cat": {"n": 3, "lang": "fr", "tags": ["pets", "home"], "title": "Über Katzen"},
    "none": {"lang": None},
}
CASES = {
    FilterOperator.EQ: [("n", 1, {"bread"}), ("lang", "de", {"dog"})],
    FilterOperator.NE: [("n", 1, {"dog", "cat", "none"}), ("lang", "de", {"bread", "cat", "none"})],
    FilterOperator.GT: [("n", 2, {"cat"}), ("n", 1.5, {"dog", "cat"}), ("lang", "en", {"cat"})],
    FilterOperator.GTE: [("n", 2, {"dog", "cat"})],
    FilterOperator.LT: [("n", 2, {"bread"})],
    FilterOperator.LTE: [("n", 2, {"bread", "dog"})],
    FilterOperator.IN: [("n", [1, 3], {"bread", "cat"}), ("lang", [], set())],
    FilterOperator.NIN: [("n", [1, 3], {"dog", "none"}), ("lang", ["en", "de"], {"cat", "none"})],
    FilterOperator.ANY: [("tags", ["food", "pets"], {"bread", "cat"}), ("tags", [], set())],
    FilterOperator.ALL: [("tags", ["home", "pets"], {"cat"}), ("tags", [], {"bread", "dog", "cat"})],
    FilterOperator.CONTAINS: [("tags", "home", {"bread", "cat"}), ("tags", "hom", set())],
    FilterOperator.TEXT_MATCH: [("title", "Katze", {"cat"}), ("title", "katze", set())],
    FilterOperator.TEXT_MATCH_INSENSITIVE: [("title", "ÜBER", {"cat"})],
    FilterOperator.IS_EMPTY: [
        ("tags", None, {"dog", "none"}),
        ("lang", None, {"none"}),
        ("title", None, {"dog", "none"}),
    ],
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory, encoder):
    with Memory.open(tmp_path_factory.mktemp("filters"), encoder=encoder) as memory:
        memory.add(["text"] * len(DOCUMENTS), ids=list(DOCUMENTS), metadata=list(DOCUMENTS.values()))
        yield memory


def found(memory, filters):
    return {document.id for document in memory.find(to_where(filters))}


@pytest.mark.parametrize("operator", FilterOperator)
def test_every_operator(filled, operator):
    for key, value, expected in CASES[operator]:
        one = MetadataFilter(key=key, value=value, operator=operator)
        assert found(filled, MetadataFilters(filters=[one])) == expected, one


LARGE = MetadataFilter(key="n", value=2, operator=FilterOperator.GTE)
GERMAN = MetadataFilter(key="lang", value="de")


@pytest.mark.parametrize(
    ("filters", "condition", "expected"),
    [
        ([LARGE, GERMAN], FilterCondition.AND, {"dog"}),
        ([LARGE, GERMAN], None, {"dog"}),
        ([LARGE, GERMAN], FilterCondition.OR, {"dog", "cat"}),
        ([LARGE, GERMAN], FilterCondition.NOT, {"bread", "none"}),
        ([], FilterCondition.AND, set(DOCUMENTS)),
        ([], FilterCondition.OR, set(DOCUMENTS)),
        ([MetadataFilters(filters=[LARGE, GERMAN], condition="or"), GERMAN], FilterCondition.NOT, {"bread", "none"}),
        ([MetadataFilters(filters=[GERMAN], condition="not"), LARGE], FilterCondition.AND, {"cat"}),
        (
            [MetadataFilters(filters=[MetadataFilters(filters=[LARGE], condition="not"), LARGE], condition="or")],
            FilterCondition.AND,
            set(DOCUMENTS),
        ),
    ],
)
def test_conditions_and_nesting(filled, filters, condition, expected):
    assert found(filled, MetadataFilters(filters=filters, condition=condition)) == expected


def one_filter(operators, values):
    return st.builds(
        MetadataFilter, key=st.sampled_from(["n", "lang", "missing"]), value=values, operator=st.sampled_from(operators)
    )


# Only what LlamaIndex's own stores agree on in every version: some do not know NOT, or find nothing that is missing.
@settings(max_examples=60, deadline=None)
@given(
    filters=st.lists(
        st.one_of(
            one_filter([FilterOperator.EQ], st.sampled_from([1, 2, 3.0, "en", "fr"])),
            one_filter([FilterOperator.IN], st.sampled_from([[1, 2], ["en", "de"], []])),
            one_filter([FilterOperator.IS_EMPTY], st.none()),
        ),
        min_size=1,
        max_size=3,
    ),
    condition=st.sampled_from([FilterCondition.AND, FilterCondition.OR]),
)
def test_filters_mean_what_llama_index_says(filled, filters, condition):
    together = MetadataFilters(filters=filters, condition=condition)
    holds = build_metadata_filter_fn(DOCUMENTS.__getitem__, together)
    assert found(filled, together) == {name for name in DOCUMENTS if holds(name)}


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (MetadataFilter(key="tags", value="home", operator="all"), "'all' on 'tags' is 'home'; give a list"),
        (MetadataFilter(key="tags", value="home", operator="in"), "give a list"),
        (MetadataFilter(key="n", value=["x"], operator=">"), "give one value"),
        (MetadataFilter(key="title", value=3, operator="text_match"), "give a str"),
        (MetadataFilter(key="$or", value=3), "begins with"),
    ],
)
def test_values_that_do_not_fit_their_operator(filled, one, message):
    with pytest.raises(InputError, match=message):
        found(filled, MetadataFilters(filters=[one]))


def test_an_operator_of_a_later_version_is_named(filled):
    one = MetadataFilter(key="n", value=1).model_copy(update={"operator": "near"})
    with pytest.raises(InputError, match="unknown filter operator 'near' on 'n'"):
        found(filled, MetadataFilters(filters=[one]))
    later = MetadataFilters(filters=[GERMAN]).model_copy(update={"condition": "xor"})
    with pytest.raises(InputError, match="unknown filter condition 'xor'"):
        found(filled, later)

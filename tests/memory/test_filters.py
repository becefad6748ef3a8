import functools
import operator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zenso.errors import InputError
from zenso.memory import Memory
from zenso.memory.metadata import storable

NAMES = ["a", "b.c", 'q"uote', "back\\slash", "' OR 1=1 --", "\u00fc", "nul\x00", "$.a", "[0]", "a'"]
NAMES = [name for name in NAMES if not name.startswith("$")]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.1, 0.30000000000000004, -0.0, 1e22, 5e-324, 2.0**53, 1.0]),
    st.sampled_from(["", "x", "y", "1", "true", "null", "x\x00", "\U0001f600", "\uffff"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
)
metadata = st.dictionaries(st.sampled_from(NAMES), st.one_of(scalars, st.lists(scalars, max_size=3)), max_size=4)
ordered = st.one_of(
    st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["", "x", "x\x00", "\uffff"])
)
texts = st.one_of(st.sampled_from(["", "x", "X", "\x00", "ss", "ẞ", "İ"]), st.text(max_size=2))
conditions = st.one_of(
    scalars,
    st.dictionaries(st.sampled_from(["$eq", "$ne"]), scalars, min_size=1),
    st.dictionaries(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), ordered, min_size=1),
    st.dictionaries(st.sampled_from(["$in", "$nin"]), st.lists(scalars, max_size=3), min_size=1),
    st.dictionaries(st.sampled_from(["$contains", "$icontains"]), texts, min_size=1),
    st.dictionaries(st.sampled_from(["$exists", "$empty"]), st.booleans(), min_size=1),
    st.fixed_dictionaries({"$not": scalars}),
)
wheres = st.recursive(
    st.dictionaries(st.sampled_from(NAMES), conditions, max_size=2),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$ids": st.lists(st.sampled_from([*map(str, range(9)), "other"]), max_size=4)}),
        st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$not": inner}),
    ),
    max_leaves=4,
)

COMPARE = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}


def kind(value):
    if value is None or isinstance(value, bool):
        return type(value)
    return str if isinstance(value, str) else float


def equal(left, right):
    return kind(left) is kind(right) and left == right


def holds(name, document, where):
    """The meaning of filters, spelt out in plain Python."""
    return all(
        all(holds(name, document, part) for part in value)
        if key == "$and"
        else any(holds(name, document, part) for part in value)
        if key == "$or"
        else not holds(name, document, value)
        if key == "$not"
        else name in value
        if key == "$ids"
        else field_holds(document, key, value)
        for key, value in where.items()
    )


def texts_of(members):
    return [member for member in members if isinstance(member, str)]


def field_holds(document, name, condition):
    if not isinstance(condition, dict):
        condition = {"$eq": condition}
    value = document.get(name, [])
    members = value if isinstance(value, list) else [value]
    tests = {
        "$eq": lambda want: any(equal(member, want) for member in members),
        "$ne": lambda want: not any(equal(member, want) for member in members),
        "$in": lambda want: any(equal(member, one) for member in members for one in want),
        "$nin": lambda want: not any(equal(member, one) for member in members for one in want),
        "$contains": lambda want: any(storable(want) in member for member in texts_of(members)),
        "$icontains": lambda want: any(storable(want).casefold() in member.casefold() for member in texts_of(members)),
        "$exists": lambda want: (name in document) == want,
        "$empty": lambda want: all(member in (None, "") for member in members) == want,
        "$not": lambda want: not field_holds(document, name, want),
    }
    return all(
        any(kind(member) is kind(want) and COMPARE[sign](member, want) for member in members)
        if sign in COMPARE
        else tests[sign](want)
        for sign, want in condition.items()
    )


@settings(max_examples=60, deadline=None)
@given(described=st.lists(metadata, min_size=1, max_size=8), filters=st.lists(wheres, min_size=1, max_size=6))
@example(described=[{"a": True}, {"a": 1}, {"a": "1"}, {"a": 1.0}, {"a": []}, {}], filters=[{"a": 1}, {"a": True}])
def test_filters_mean_what_python_says(described, filters, encoder, tmp_path_factory):
    with Memory.open(tmp_path_factory.mktemp("filters"), encoder=encoder) as memory:
        ids = [str(number) for number in range(len(described))]
        memory.add(["text"] * len(ids), ids=ids, metadata=described)
        assert [document.metadata for document in memory] == described
        for where in filters:
            expected = [name for name, fields in zip(ids, described, strict=True) if holds(name, fields, where)]
            assert [hit.id for hit in memory.search("text", k=99, where=where)] == expected, where


def test_a_filter_sees_replaced_metadata(memory):
    memory.add("text", ids="a", metadata={"year": 2020, "old": 1})
    memory.add("text", ids="a", metadata={"year": 2021})
    assert memory.search("text", where={"year": 2020}) == []
    assert memory.search("text", where={"old": {"$exists": True}}) == []
    assert len(memory.search("text", where={"year": {"$gte": 2021}})) == 1


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("lang = 'en'", "where is .*give a dict"),
        ({"$near": 1}, r"unknown operator '\$near'"),
        ({"a": {"$regex": "x"}}, r"unknown operator '\$regex' on 'a'"),
        ({"a": {"gte": 1}}, "unknown operator 'gte'"),
        ({"a": {}}, "condition on 'a' is empty"),
        ({"a": ["x"]}, r"give one value, or \$in"),
        ({"a": {"$in": "x"}}, "give a list"),
        ({"a": {"$gt": None}}, "only numbers and texts have an order"),
        ({"a": {"$lt": True}}, "only numbers and texts have an order"),
        ({"a": {"$exists": 1}}, "give True or False"),
        ({"a": {"$empty": None}}, r"\$empty on 'a' is None; give True or False"),
        ({"a": {"$contains": 1}}, r"\$contains on 'a' is 1; give a str"),
        ({"a": {"$icontains": ["x"]}}, "give a str"),
        ({"$ids": "a"}, r"\$ids is 'a'; give a list"),
        ({"$ids": [1]}, "give a str"),
        ({"a": float("nan")}, "nan"),
        ({"a": 2**70}, "64 bits"),
        ({"$and": []}, "non-empty list"),
        ({"$or": {"a": 1}}, "non-empty list"),
        ({"": 1}, "empty string"),
        ({5: 1}, "of type int"),
        ({"a": b"x"}, "of type bytes"),
        ({"a": functools.reduce(lambda inner, _: {"$not": inner}, range(12), 1)}, "more than 12 deep"),
        (functools.reduce(lambda inner, _: {"$not": inner}, range(5000), {"a": 1}), "more than 12 deep"),
        ({"$or": [{"a": 1}] * 300}, "more than 250 conditions"),
        ({"a": {"$in": list(range(30_001))}}, "at most 30000"),
    ],
)
def test_filters_that_make_no_sense(memory, where, message):
    memory.add("text")
    with pytest.raises(InputError, match=message):
        memory.search("text", where=where)


def test_the_largest_filters_are_within_sqlites_limits(memory):
    memory.add("text", metadata={"a": 7})
    nested = {"a": {"$not": {"$not": {"$gte": 7, "$lte": 7}}}}
    for _ in range(9):
        nested = {"a": 7, "$and": [{"a": 7}, nested]}
    assert len(memory.search("text", where=nested)) == 1
    nested = {"a": 7}
    for _ in range(10):
        nested = {"a": 7, "$or": [{"a": 6}, {"$not": {"a": 6}, **nested}]}
    assert len(memory.search("text", where=nested)) == 1
    assert len(memory.search("text", where={"$or": [{"a": n} for n in range(249)]})) == 1
    assert len(memory.search("text", where={"a": {"$in": list(range(29_999))}})) == 1

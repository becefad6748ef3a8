import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bitdelta.strategies import BASIS, make_text, random_codes, seeds
from zenso.bitdelta import prepare_query, scan, score
from zenso.bitdelta.table import LANES, CodeTable, agreement, column, column_shape
from zenso.errors import InputError

quick = settings(max_examples=60, deadline=None)
WORST = 384 * 15


def make_query():
    text = make_text("random", 5)
    return prepare_query(text.tokens, text.weights, BASIS)


@pytest.fixture(scope="module")
def query():
    return make_query()


def costs_by_definition(planes, codes):
    """Sum over the planes p of 2^p times the bits of slot 0 that differ."""
    bits = np.unpackbits(codes[:, 4:52], axis=1)
    differ = [(np.unpackbits(plane.view(np.uint8)) != bits).sum(axis=1) << p for p, plane in enumerate(planes)]
    return np.sum(differ, axis=0)


def table_of(codes, cuts=()):
    pieces = [np.ascontiguousarray(piece) for piece in np.split(codes, sorted(cuts))]
    return CodeTable(pieces, [column(piece) for piece in pieces])


def expected(costs, keep, mask):
    """Rows that cost at most what the ``keep``-th of the allowed rows costs."""
    allowed = np.flatnonzero(mask)
    if len(allowed) > keep:
        allowed = allowed[costs[allowed] <= np.sort(costs[allowed])[keep - 1]]
    return allowed.tolist()


@quick
@given(
    seeds,
    st.integers(0, 150),
    st.integers(1, 170),
    st.lists(st.integers(0, 150), max_size=4),
    st.sampled_from([None, 0.0, 0.1, 0.9]),
    st.integers(1, 200),
)
def test_a_scan_equals_its_definition(seed, count, keep, cuts, share, distinct):
    rng = np.random.default_rng(seed)
    codes = random_codes(distinct, seed)[rng.integers(0, distinct, count)]  # few distinct codes, many ties
    planes = make_query().slot_planes
    mask = None if share is None else rng.random(count) < share
    costs = costs_by_definition(planes, codes)
    found = table_of(codes, [cut for cut in cuts if cut < count]).scan(planes, keep, mask)
    assert found.rows.tolist() == expected(costs, keep, np.ones(count, bool) if mask is None else mask)
    assert found.costs.tolist() == costs[found.rows].tolist()
    assert found.rows.dtype == found.costs.dtype == np.int64


@pytest.mark.parametrize("order", ["as they come", "best first", "worst first", "all the same"])
@pytest.mark.parametrize("keep", [1, 2000])
def test_a_scan_of_many_rows(query, order, keep, monkeypatch):
    """Enough rows for a sample to foretell the cut; also where the sample says nothing of the rest."""
    monkeypatch.setattr("zenso.bitdelta.table._ROWS_A_THREAD", 10_000)
    codes = random_codes(500)[np.random.default_rng(1).integers(0, 500, 150_000)]
    codes[:, 4:12] = np.random.default_rng(2).integers(0, 256, (len(codes), 8), np.uint8)
    planes = query.slot_planes
    costs = costs_by_definition(planes, codes)
    if order == "all the same":
        codes[:] = codes[0]
    elif order != "as they come":
        codes = codes[np.argsort(costs if order == "best first" else -costs)]
    costs = costs_by_definition(planes, codes)
    wanted = expected(costs, keep, np.ones(len(codes), bool))
    for cuts in ((), range(0, len(codes), 16_384), (7, 7, 149_999)):
        table = table_of(codes, cuts)
        for threads in (1, 2, 3, 16):
            found = table.scan(planes, keep, threads=threads)
            assert found.rows.tolist() == wanted
            assert found.costs.tolist() == costs[wanted].tolist()


def test_a_misleading_sample_costs_time_only(query):
    """The blocks that are looked at first hold all of the near rows, so that the foretold cut is too low."""
    codes = random_codes(200)[np.random.default_rng(3).integers(0, 200, 200_000)]
    planes = query.slot_planes
    near = np.frombuffer(np.ascontiguousarray(planes[3]).tobytes(), np.uint8)
    for block in range(0, len(codes) // LANES, 32):
        codes[block * LANES : (block + 1) * LANES, 4:52] = near
    costs = costs_by_definition(planes, codes)
    keep = 2 * int((costs == costs.min()).sum())
    found = table_of(codes).scan(planes, keep)
    assert found.rows.tolist() == expected(costs, keep, np.ones(len(codes), bool))
    assert len(found.rows) >= keep


def test_costs_and_the_score_of_slot_0_say_the_same(query):
    codes = random_codes(100)
    found = table_of(codes).scan(query.slot_planes, 100)
    scores = scan(query, codes)[found.rows]
    factor = scores.sum() // (WORST - 2 * found.costs).sum()
    assert scores.tolist() == (factor * (WORST - 2 * found.costs)).tolist()
    assert np.allclose(agreement(found.costs), 1 - 2 * found.costs / WORST)


@quick
@given(seeds, st.integers(1, 3000), st.lists(st.integers(0, 3000), max_size=5), st.floats(0, 1), st.integers(1, 4))
def test_scores_of_single_rows(seed, count, cuts, share, threads):
    query = make_query()
    codes = random_codes(50, seed)[np.random.default_rng(seed).integers(0, 50, count)]
    table = table_of(codes, [cut for cut in cuts if cut < count])
    rows = np.flatnonzero(np.random.default_rng(seed + 1).random(count) < share)
    for dimensions in (None, 1920):
        found = table.score(query, rows, dimensions, threads)
        assert np.array_equal(found, score(query, codes[rows], dimensions=dimensions))


def test_threads_may_scan_at_once(query):
    codes = random_codes(1000)[np.random.default_rng(1).integers(0, 1000, 300_000)]
    table = table_of(codes, (100_000, 200_000))
    wanted = table.scan(query.slot_planes, 500).rows
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: table.scan(query.slot_planes, 500, threads=3), range(12)):
            assert np.array_equal(found.rows, wanted)


def test_a_table_keeps_what_it_reads_alive(query):
    codes = random_codes(40)
    wanted = costs_by_definition(query.slot_planes, codes)
    table = table_of(codes.copy(), (11,))
    references = sys.getrefcount(table._columns[0])
    assert references >= 2
    assert np.array_equal(table.scan(query.slot_planes, 40).costs, wanted)


@pytest.mark.parametrize("rows", [0, 1, LANES - 1, LANES, LANES + 1, 100])
def test_the_layout_of_a_column(rows):
    codes = random_codes(rows)
    of_codes = column(codes)
    assert of_codes.shape == column_shape(rows) == (-(-rows // LANES), 6, LANES)
    for row in range(rows):
        assert of_codes[row // LANES, :, row % LANES].tobytes() == codes[row, 4:52].tobytes()


def test_a_table_of_nothing(query):
    for table in (CodeTable([], []), table_of(np.empty((0, 964), np.uint8))):
        assert len(table) == 0
        found = table.scan(query.slot_planes, 3)
        assert found.rows.tolist() == found.costs.tolist() == []
        assert table.score(query, np.empty(0, np.int64)).tolist() == []


def test_what_makes_no_sense_is_refused(query):
    codes = random_codes(20)
    table = table_of(codes)
    with pytest.raises(InputError, match="keep is 0"):
        table.scan(query.slot_planes, 0)
    for mask in (np.ones(19, bool), np.ones(20, np.uint8)):
        with pytest.raises(InputError, match="for 20 rows"):
            table.scan(query.slot_planes, 1, mask)
    for rows in ([-1], [20], [3, 2], [4, 4]):
        with pytest.raises(InputError, match="ascending, from 0 to 19"):
            table.score(query, np.array(rows))
    with pytest.raises(InputError, match="codes must be"):
        CodeTable([codes[:, :963]], [column(codes)])
    with pytest.raises(InputError, match="codes must be"):
        CodeTable([np.asfortranarray(codes)], [column(codes)])
    for wrong in (column(codes)[:1], column(codes).astype(np.int64), np.asfortranarray(column(codes))):
        with pytest.raises(InputError, match="the column of 20 codes"):
            CodeTable([codes], [wrong])

import time
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zenso.errors import InputError
from zenso.memory.ingest import Chunker
from zenso.memory.ingest.chunking import WINDOW_CHARS

KINDS = ["prose", "markdown", "code"]
PARAGRAPH = "The first sentence of the memory. The second sentence and the search. Coding returns the code. "

any_text = st.text(st.characters())  # surrogates and control characters included
PROSE_PIECES = ("the ", "search", ". ", "! ", "1,", "a" * 120, "漢字", "שלום ", "👩\u200d👩\u200d👧")
MARKUP_PIECES = ("\n", "\n\n", "\n\n\n", "# ", "## ", "- ", "> ", "```\n", "|", "*", "`", "[", "](", "\t")
ODD_PIECES = ("\x00", "\x0b", "\x1c", "\x85", "\u00a0", "\u200d", "\u0301", "\u2028", "\ud800", "\ufffd", " " * 20)
structured_text = st.lists(st.sampled_from(PROSE_PIECES + MARKUP_PIECES + ODD_PIECES), max_size=400).map("".join)


@pytest.fixture(scope="module")
def chunker(tokenizer):
    return Chunker(tokenizer)


@pytest.fixture(scope="module")
def small_chunker(tokenizer):
    return Chunker(tokenizer, max_tokens=12, overlap=4)


def check(chunker, tokenizer, text, kind, max_tokens):
    """Chunks fit, say where they come from, and lose nothing that the tokenizer sees."""
    chunks = chunker.chunks(text, kind)
    readable = "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
    for chunk in chunks:
        assert chunk.text == readable[chunk.start : chunk.end]
        assert chunk.text == chunk.text.strip() != ""
        assert 2 < len(tokenizer.encode(chunk.text).ids) <= max_tokens
        assert len(chunk.text) <= WINDOW_CHARS
    for earlier, later in pairwise(chunks):
        assert earlier.start <= later.start
        assert earlier.end < later.end
    end = 0
    for start, stop in [(chunk.start, chunk.end) for chunk in chunks] + [(len(text), len(text))]:
        left_out = readable[end:start].strip()
        assert not left_out or not tokenizer.encode(left_out, add_special_tokens=False).ids
        end = max(end, stop)
    return chunks


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=any_text | structured_text)
def test_chunks_fit_and_cover_any_text(small_chunker, tokenizer, kind, text):
    check(small_chunker, tokenizer, text, kind, 12)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=structured_text, times=st.integers(1, 40))
def test_chunks_fit_and_cover_text_of_many_windows(chunker, tokenizer, kind, text, times):
    check(chunker, tokenizer, text * times, kind, 256)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text",
    [
        "漢字かな交じり文。" * 500,
        "שלום עולם, זה מבחן. " * 300,
        "مرحبا بالعالم. " * 300,
        "👩‍👩‍👧‍👦🇫🇷😀" * 800,
        "x1," * 3_000,
        "a" * 25_000,
        "\u0301" * 5_000,
        "\ud800" + "the code" + "\udfff" * 50,
        "the\x00code\x01" * 900,
        "> " * 3_000,
        "[" * 3_000,
        "\n".join("- the code" for _ in range(900)),
    ],
    ids=(
        "cjk", "hebrew", "arabic", "emoji", "symbols", "word", "accents", "surrogates", "control", "quotes", "brackets",
        "list",
    ),
)  # fmt: skip
def test_difficult_texts(chunker, tokenizer, kind, text):
    check(chunker, tokenizer, text, kind, 256)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["", " ", "\n\t \u00a0\u2003" * 9_000, "\x00\x01\x02", "\u200b"])
def test_text_without_words_has_no_chunks(chunker, kind, text):
    assert chunker.chunks(text, kind) == []


def test_ten_megabytes_without_a_space_take_seconds(chunker):
    started = time.perf_counter()
    chunks = chunker.chunks("a" * 10_000_000)
    assert time.perf_counter() - started < 60
    assert [chunk.start for chunk in chunks] == list(range(0, 10_000_000, WINDOW_CHARS))
    assert chunks[-1].end == 10_000_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "unit",
    ["\n", "\n ", "\x01\n", "\u200b\n", "\u0301\u2028", "x" + "\n " * 20, "\ufffd\r\n", "".join(map(chr, range(33)))],
    ids=["breaks", "blanks", "control", "zero width", "separators", "sparse", "replaced", "all controls"],
)
def test_lines_without_tokens_cost_little(chunker, tokenizer, kind, unit):
    text = (unit * 100_000)[:100_000] + " the code"
    started = time.perf_counter()
    chunks = check(chunker, tokenizer, text, kind, 256)
    assert time.perf_counter() - started < 20
    assert chunks[-1].text.endswith("code")


def test_a_gap_keeps_the_words_on_its_sides_apart_or_joined(small_chunker, tokenizer):
    text = "the" + "\x01" * 40 + "search" + "\x0b \x0b" * 20 + "code" + "\n" * 50 + "memory"
    chunks = check(small_chunker, tokenizer, text, "prose", 12)
    assert [chunk.end for chunk in chunks][-1] == len(text)


def test_prose_is_cut_between_sentences_with_overlap(tokenizer):
    chunks = Chunker(tokenizer, 64, overlap=20).chunks(PARAGRAPH * 20)
    assert all(chunk.text[0].isupper() and chunk.text.endswith(".") for chunk in chunks)
    shared = [earlier.end - later.start for earlier, later in pairwise(chunks)]
    assert all(length > 0 for length in shared)
    assert all(len(tokenizer.encode(PARAGRAPH[:length]).ids) - 2 <= 20 for length in shared)


def test_overlap_can_be_turned_off(tokenizer):
    chunks = Chunker(tokenizer, 64, overlap=0).chunks(PARAGRAPH * 20)
    assert all(earlier.end <= later.start for earlier, later in pairwise(chunks))


def test_markdown_is_cut_at_headings(tokenizer):
    text = "".join(f"# search {letter}\n\n{PARAGRAPH * 2}\n\n" for letter in "abcd")
    chunks = Chunker(tokenizer, 64).chunks(text, "markdown")
    assert [chunk.text.split("\n")[0] for chunk in chunks] == [f"# search {letter}" for letter in "abcd"]


def test_long_text_is_cut_at_paragraphs_before_lines_and_words(chunker):
    paragraphs = ["the code " * 60 for _ in range(40)]
    chunks = chunker.chunks("\n\n".join(paragraphs))
    assert all(chunk.text.startswith("the") and chunk.text.endswith("code") for chunk in chunks)
    one_line = chunker.chunks("memory " * 5_000)
    assert all(set(chunk.text.split()) == {"memory"} for chunk in one_line)


def test_the_tokenizers_truncation_neither_counts_nor_changes(tokenizer):
    truncating = type(tokenizer).from_str(tokenizer.to_str())
    truncating.enable_truncation(16)
    truncating.enable_padding(length=16)
    text = PARAGRAPH * 30
    assert Chunker(truncating).chunks(text) == Chunker(tokenizer).chunks(text)
    assert truncating.truncation["max_length"] == 16


@pytest.mark.parametrize(("max_tokens", "overlap"), [(2, 0), (256, 254), (256, -1), (0, 0)])
def test_limits_that_leave_no_room(tokenizer, max_tokens, overlap):
    with pytest.raises(InputError, match=f"max_tokens={max_tokens} and overlap={overlap}"):
        Chunker(tokenizer, max_tokens, overlap)

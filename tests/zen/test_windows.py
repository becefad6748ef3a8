import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st


def test_a_short_text_is_one_window(encoder):
    (cut,) = encoder.cut_windows(["  Who wrote Hamlet?\n"])
    assert cut.pieces == ["Who wrote Hamlet?"]
    assert len(cut.ids) == 4


def test_a_long_text_is_read_whole(encoder):
    text = " ".join(f"word{number}" for number in range(600))
    (cut,) = encoder.cut_windows([text])
    assert len(cut.spans) > 5
    assert cut.spans[0][0] == 0
    assert cut.spans[-1][1] == len(text)
    for (_, end), (start, _) in zip(cut.spans, cut.spans[1:], strict=False):
        assert start < end  # neighbours overlap
    for tokens in encoder.token_sets(cut.pieces):
        assert len(tokens) <= encoder.max_tokens
    whole = set(cut.ids.tolist())
    assert set(np.concatenate(encoder.token_sets(cut.pieces)).tolist()) - {101, 102} == whole


def test_the_first_window_is_what_is_read_of_a_text(encoder):
    text = "the quick brown fox jumps over the lazy dog " * 60
    (cut,) = encoder.cut_windows([text])
    (one, other) = encoder.encode_tokens([text, cut.pieces[0]])
    assert one.tokens.tolist() == other.tokens.tolist()
    assert one.vector.tolist() == other.vector.tolist()


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1, max_size=400))
def test_any_text(encoder, text):
    (cut,) = encoder.cut_windows([text])
    assert len(cut.pieces) >= 1
    assert all(0 <= start <= end <= len(text) for start, end in cut.spans)

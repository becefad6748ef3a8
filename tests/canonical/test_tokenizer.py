import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenso.canonical import well_formed
from zenso.canonical.tokenizer import MAX_CHARACTERS, TextTokenizer, check_texts
from zenso.errors import InputError, IntegrityError

CLS, SEP, UNK = 101, 102, 100


@pytest.fixture(scope="module")
def tokenizer(encoder):
    return encoder.tokenizer


def ids(tokenizer, text):
    return tokenizer.encode([text])[0].tolist()


def test_hello_world(tokenizer):
    assert ids(tokenizer, "Hello, world!") == [101, 7592, 1010, 2088, 999, 102]


def test_ids_are_int32(tokenizer):
    assert tokenizer.encode(["Hello"])[0].dtype == np.int32


def test_no_texts_give_no_ids(tokenizer):
    assert tokenizer.encode([]) == []


def test_texts_are_not_padded_to_each_other(tokenizer):
    texts = ["one", "one two three", "one two"]
    assert [i.tolist() for i in tokenizer.encode(texts)] == [ids(tokenizer, text) for text in texts]


def test_long_text_is_cut_to_256_tokens(tokenizer):
    long = ids(tokenizer, "word " * 1000)
    assert len(long) == 256
    assert (long[0], long[-1]) == (CLS, SEP)
    assert long[:-1] == ids(tokenizer, "word " * 254)[:-1]
    assert len(ids(tokenizer, "word " * 254)) == 256
    assert len(ids(tokenizer, "word " * 253)) == 255


def test_text_is_cut_to_10_000_characters_before_it_is_tokenized(tokenizer):
    start = " " * (MAX_CHARACTERS - 7)
    assert MAX_CHARACTERS == 10_000
    assert ids(tokenizer, f"{start}hello worldly") == ids(tokenizer, "hello w")


def test_ten_megabytes_of_text(tokenizer):
    text = "many words " * 1_000_000
    assert ids(tokenizer, text) == ids(tokenizer, text[:MAX_CHARACTERS])


@pytest.mark.parametrize("text", ["", " ", "\n\t \r\n", "\u3000\u2003\xa0"])
def test_nothing_to_embed_is_an_error_that_names_the_text(text):
    with pytest.raises(InputError, match="text 1 is empty or only white space"):
        check_texts(["fine", text])


def test_what_lies_behind_ten_thousand_spaces_is_not_read():
    with pytest.raises(InputError, match="text 0 begins with only white space"):
        check_texts([" " * MAX_CHARACTERS + "hello"])


def test_one_string_is_not_a_list_of_texts():
    with pytest.raises(InputError, match="pass a list"):
        check_texts("hello")


@pytest.mark.parametrize("text", [None, 7, b"bytes", ["nested"]])
def test_what_is_not_a_string_is_an_error_that_names_its_type(text):
    with pytest.raises(InputError, match=f"text 0 is {type(text).__name__}, not str"):
        check_texts([text])


def test_lone_surrogates_are_replaced(tokenizer):
    assert well_formed("a\ud800b\udfffc") == "a\ufffdb\ufffdc"
    assert well_formed("whole \U0001f600") == "whole \U0001f600"
    assert ids(tokenizer, "a \udcff b") == ids(tokenizer, "a \ufffd b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hel\x00lo\x07", "hello"),  # control characters go
        ("a\tb\nc", "a b c"),
        ("HÉLLO", "hello"),
        ("日本", "日 本"),  # an ideograph is a word
        ("ﬁ", "ﬁ"),
    ],
)
def test_texts_that_are_the_same_to_the_model(tokenizer, text, expected):
    assert ids(tokenizer, text) == ids(tokenizer, expected)


@pytest.mark.parametrize("text", ["שלום עולם", "مرحبا بالعالم", "日本語の文章", "한국어", "Привет", "नमस्ते"])
def test_other_scripts_have_tokens(tokenizer, text):
    found = ids(tokenizer, text)
    assert (found[0], found[-1]) == (CLS, SEP)
    assert len(found) > 2


def test_emoji_are_one_unknown_token_each_word(tokenizer):
    assert ids(tokenizer, "👩‍👩‍👧‍👦 🦄") == [CLS, UNK, UNK, SEP]


def test_special_tokens_in_a_text(tokenizer):
    # As the model's published tokenizer reads them; a text cannot make the sequence longer or shift it.
    assert ids(tokenizer, "[CLS] [SEP] [PAD] [UNK]") == [CLS, 101, 102, 0, 100, SEP]


def test_a_text_of_only_control_characters_is_the_empty_sequence(tokenizer):
    assert ids(tokenizer, "\x00\x01\x02") == [CLS, SEP]


@given(st.text(min_size=1, max_size=300))
def test_any_text_gives_a_framed_sequence_or_an_input_error(tokenizer, text):
    if not text.strip():
        with pytest.raises(InputError):
            check_texts([text])
        return
    found = ids(tokenizer, text)
    assert (found[0], found[-1]) == (CLS, SEP)
    assert 2 <= len(found) <= 256
    assert min(found) >= 0
    assert max(found) < 30_522


def test_untruncated_does_not_cut_and_leaves_the_tokenizer_alone(tokenizer):
    text = "word " * 1000
    assert len(tokenizer.untruncated().encode(text).ids) == 1002
    assert len(ids(tokenizer, text)) == 256


def test_an_unreadable_tokenizer_is_an_integrity_error(artifact):
    with pytest.raises(IntegrityError, match="unreadable tokenizer"):
        TextTokenizer(dataclasses.replace(artifact, tokenizer=b"{}"))


def test_ids_outside_the_vocabulary_are_an_integrity_error(artifact):
    with pytest.raises(IntegrityError, match="outside the model's vocabulary"):
        TextTokenizer(dataclasses.replace(artifact, words=artifact.words[:1000])).encode(["hello"])

"""Text to token ids: the model's own WordPiece, with the limits of the protocol."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from zenso.canonical.artifact import Artifact
from zenso.errors import InputError, IntegrityError

MAX_CHARACTERS = 10_000  # longer input is cut before it is tokenized (CFS-010)
_SURROGATES = re.compile("[\ud800-\udfff]")


def well_formed(text: str) -> str:
    """Replace lone surrogates, which no Unicode encoding can carry, by U+FFFD."""
    return _SURROGATES.sub("\ufffd", text)


def check_texts(texts: Sequence[str]) -> None:
    """Refuse what cannot be embedded, before any work is done.

    Raises
    ------
    InputError
        ``texts`` is one string, or an item is not a string, or is empty or only white space.
    """
    if isinstance(texts, str):
        message = "texts is one str; pass a list of texts"
        raise InputError(message)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            message = f"text {index} is {type(text).__name__}, not str; decode bytes before you embed them"
            raise InputError(message)
        if not text[:MAX_CHARACTERS].strip():
            what = "begins with" if text.strip() else "is empty or"
            message = (
                f"text {index} {what} only white space (the first {MAX_CHARACTERS} characters count); leave it out"
            )
            raise InputError(message)


class TextTokenizer:
    """Tokenize as the model was trained, cut to 10,000 characters and to the model's number of tokens."""

    def __init__(self, artifact: Artifact) -> None:
        try:
            self._tokenizer = Tokenizer.from_str(artifact.tokenizer.decode("utf-8"))
        except Exception as error:  # tokenizers raises bare Exception
            message = f"{artifact.path} has an unreadable tokenizer ({error}); delete it and it is built again"
            raise IntegrityError(message) from error
        self._tokenizer.no_padding()
        self._most_tokens = int(artifact.config["max_tokens"])
        self._tokenizer.enable_truncation(self._most_tokens)
        self._vocabulary = len(artifact.words)

    def encode(self, texts: Sequence[str], prefix: str = "") -> list[NDArray[np.int32]]:
        """Token ids of each text, special tokens included; the texts have passed ``check_texts``."""
        encodings = self._tokenizer.encode_batch_fast([prefix + well_formed(text[:MAX_CHARACTERS]) for text in texts])
        ids = [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
        if any(len(i) and i.max() >= self._vocabulary for i in ids):
            message = "the tokenizer gives ids outside the model's vocabulary; fetch the model again"
            raise IntegrityError(message)
        return ids

    def with_special_tokens(self, ids: Sequence[int]) -> NDArray[np.int32]:
        """Return the token ids of one text between the model's special tokens, cut to its number of tokens.

        Raises
        ------
        InputError
            There are none, or one is not of the vocabulary.
        """
        given = np.array(ids, np.int64)
        if given.ndim != 1 or not len(given):
            message = "a list of token ids is empty; give at least one"
            raise InputError(message)
        wrong = given[(given < 0) | (given >= self._vocabulary)]
        if len(wrong):
            message = (
                f"token id {wrong[0]} is not of this model, which has {self._vocabulary:,}; send text, or ids of the "
                "model's own tokenizer (LangChain's OpenAIEmbeddings sends text with check_embedding_ctx_length=False)"
            )
            raise InputError(message)
        empty = self._tokenizer.encode("").ids  # the special tokens alone: some before the text, one after it
        before, after = empty[:-1], empty[-1:]
        inner = [token for token in given.tolist() if token not in empty]
        room = self._most_tokens - len(empty)
        return np.array([*before, *inner[:room], *after], np.int32)

    def untruncated(self) -> Tokenizer:
        """Return a tokenizer that does not cut, for measuring and splitting long texts."""
        tokenizer = Tokenizer.from_str(self._tokenizer.to_str())
        tokenizer.no_truncation()
        return tokenizer

"""What different nodes may see of one document: the same text, cut, shuffled, misspelt or worded in another way.

Everything is drawn from the document and the number of the view, so a view is the same on every run.
"""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
# Words of any text, and others that say about the same.
# fmt: off
_OTHER_WORDS = {
    "however": "but", "also": "too", "many": "numerous", "several": "some", "large": "big", "small": "little",
    "important": "significant", "show": "indicate", "shows": "indicates", "use": "employ", "used": "employed",
    "using": "with", "because": "since", "although": "though", "often": "frequently", "usually": "generally",
    "about": "around", "approximately": "about", "first": "initial", "last": "final", "new": "recent",
    "old": "former", "make": "produce", "made": "produced", "begin": "start", "began": "started", "help": "assist",
    "people": "persons", "children": "kids", "increase": "rise", "increased": "rose", "decrease": "fall",
    "decreased": "fell", "found": "discovered", "find": "discover", "need": "require", "needs": "requires",
    "get": "obtain", "give": "provide", "gives": "provides", "given": "provided", "part": "portion",
    "between": "among", "within": "inside", "until": "till", "while": "whereas", "this": "that", "these": "those",
    "can": "may", "will": "shall", "must": "should", "very": "quite", "more": "further", "most": "mostly",
    "only": "just", "such": "like", "other": "another", "known": "called", "year": "annum", "main": "primary",
    "high": "great", "low": "slight", "good": "fine", "bad": "poor", "fast": "quick", "slow": "gradual",
    "difficult": "hard", "easy": "simple",
}
# fmt: on


def _sentences(keep: Callable[[list[str], Random], Sequence[str]]) -> Callable[[str, Random], str]:
    """Leave a text of one sentence as it is."""

    def change(text: str, draws: Random) -> str:
        sentences = _SENTENCE_END.split(text)
        return " ".join(keep(sentences, draws)) if len(sentences) > 1 else text

    return change


def _words(keep: Callable[[list[str], Random], Sequence[str]]) -> Callable[[str, Random], str]:
    return lambda text, draws: " ".join(keep(text.split(), draws))


def _beginning(sentences: list[str], draws: Random) -> list[str]:
    return sentences[: max(1, round(draws.uniform(0.4, 0.7) * len(sentences)))]


def _end(sentences: list[str], draws: Random) -> list[str]:
    return sentences[min(len(sentences) - 1, round(draws.uniform(0.3, 0.6) * len(sentences))) :]


def _without_one(sentences: list[str], draws: Random) -> list[str]:
    del sentences[draws.randrange(len(sentences))]
    return sentences


def _shuffled(sentences: list[str], draws: Random) -> list[str]:
    return draws.sample(sentences, len(sentences))


def _fewer(share: float) -> Callable[[list[str], Random], list[str]]:
    return lambda words, draws: [word for word in words if draws.random() >= share]


def _cut(words: list[str], draws: Random) -> list[str]:
    return words[: draws.randint(32, 64)]


def _worded(words: list[str], draws: Random) -> list[str]:
    return [_OTHER_WORDS.get(word.lower(), word) if draws.random() < 0.8 else word for word in words]


def _misspelt(words: list[str], draws: Random) -> list[str]:
    """Swap two neighbouring letters of one in twenty longer words."""

    def swap(word: str) -> str:
        if len(word) < 4 or draws.random() >= 0.05:
            return word
        place = draws.randrange(1, len(word) - 2)
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]

    return [swap(word) for word in words]


def _plain(words: list[str], draws: Random) -> list[str]:
    """Leave out nearly all punctuation."""
    return [re.sub(r"[^\w\s]", " ", word) if draws.random() < 0.9 else word for word in words]


def _swapped(words: list[str], draws: Random) -> list[str]:
    for first, second in pairwise(range(len(words))):
        if draws.random() < 0.1:
            words[first], words[second] = words[second], words[first]
    return words


# By turns; what is drawn differs from turn to turn.
_KINDS: tuple[Callable[[str, Random], str], ...] = (
    _words(_fewer(0.1)),
    _sentences(_without_one),
    _words(_worded),
    _words(_misspelt),
    _words(_cut),
    _sentences(_beginning),
    _words(_fewer(0.25)),
    _sentences(_shuffled),
    _words(_plain),
    _words(_swapped),
    _sentences(_end),
)


def view(text: str, number: int) -> str:
    """Return what node ``number`` sees of a text: 0 the text itself, the others a paraphrase each, never empty."""
    if number == 0:
        return text
    seen = _KINDS[(number - 1) % len(_KINDS)](text, Random(f"{number} {text}"))
    return seen if seen.strip() else text

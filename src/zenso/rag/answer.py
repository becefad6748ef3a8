"""Find passages, put them before the model with numbers, and keep track of which number is which document."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, Unpack

from zenso.errors import InputError
from zenso.memory import Memory
from zenso.models import ChatOptions, Generation, Generator, Message, Usage

CHARACTERS_PER_TOKEN = 2  # of context, for all passages together: about half of it in English
_INSTRUCTION = (
    "Answer the question from the numbered passages below. After each statement give the number of the passage it "
    "comes from in square brackets, such as [1]. If the passages do not answer the question, say so."
)
_NEXT_QUESTION = "\nQuestion:"  # a model that goes on to ask itself is stopped there


@dataclass(frozen=True, slots=True)
class Passage:
    """A document that was put before the model as ``[number]``; ``text`` is what of it was shown."""

    number: int
    id: str
    text: str
    score: float
    metadata: Mapping[str, object]


class Answer(Iterator[str]):
    """A running answer: pieces of its text, as `Generation` gives them, and the passages behind its citations."""

    def __init__(self, generation: Generation, passages: tuple[Passage, ...]) -> None:
        self.generation = generation
        self.passages = passages

    def __next__(self) -> str:
        return next(self.generation)

    def text(self) -> str:
        """Wait for the end and return all text that was not yet taken."""
        return self.generation.text()

    def close(self) -> None:
        """Stop generating."""
        self.generation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def finish_reason(self) -> Literal["stop", "length"] | None:
        """As of the generation."""
        return self.generation.finish_reason

    @property
    def usage(self) -> Usage | None:
        """As of the generation."""
        return self.generation.usage


def answer(
    memory: Memory,
    generator: Generator,
    messages: Sequence[Message | Mapping[str, str]],
    *,
    k: int = 5,
    where: Mapping[str, object] | None = None,
    **options: Unpack[ChatOptions],
) -> Answer:
    """Answer the last message, which must be the user's, from the ``k`` best passages that the memory has for it.

    The passages are put before the question, numbered from 1; together they take at most about half of the model's
    context, so long ones are cut. The other arguments are those of `Memory.search` and `Generator.chat`.

    Raises
    ------
    InputError
        The last message is not the user's, or a value is out of its range.
    ModelError
        The memory was made with another embedding model.
    """
    last = messages[-1] if messages else None
    question = last.get("content") if isinstance(last, Mapping) and last.get("role") == "user" else None
    if not isinstance(question, str):
        raise InputError("the last message must be the user's, with text: it is what the memory is searched for")
    passages = _passages(memory, question, k, where, generator.context * CHARACTERS_PER_TOKEN)
    stop = options.get("stop", ())
    options["stop"] = [*([stop] if isinstance(stop, str) else stop), _NEXT_QUESTION]
    return Answer(generator.chat(_grounded(messages[:-1], question, passages), **options), passages)


def cited(text: str, passages: Iterable[Passage]) -> list[Passage]:
    """Return the passages whose numbers a text gives in square brackets, in the order in which it first does."""
    by_number = {str(passage.number): passage for passage in passages}
    groups = re.findall(r"\[(\d+(?:\s*,\s*\d+)*)\]", text)
    numbers = [number for group in groups for number in re.split(r"\s*,\s*", group)]
    return [by_number[number] for number in dict.fromkeys(numbers) if number in by_number]


def _passages(
    memory: Memory, question: str, k: int, where: Mapping[str, object] | None, room: int
) -> tuple[Passage, ...]:
    """Search, and give each passage an equal share of ``room`` characters, and what others leave of theirs."""
    hits = memory.search(question, k, where=where)
    shown = [""] * len(hits)
    left = room
    for done, index in enumerate(sorted(range(len(hits)), key=lambda index: len(hits[index].text))):
        shown[index] = hits[index].text[: left // (len(hits) - done)]
        left -= len(shown[index])
    return tuple(
        Passage(number, hit.id, text, hit.score, hit.metadata)
        for number, (hit, text) in enumerate(zip(hits, shown, strict=True), start=1)
    )


def _grounded(
    before: Sequence[Message | Mapping[str, str]], question: str, passages: tuple[Passage, ...]
) -> list[Message | Mapping[str, str]]:
    """Put the passages before the question, in its own message: some chat templates have no place for the system's."""
    listed = "\n\n".join(f"[{passage.number}] {passage.text}" for passage in passages) or "(nothing was found)"
    return [*before, {"role": "user", "content": f"{_INSTRUCTION}\n\n{listed}\n\nQuestion: {question}"}]

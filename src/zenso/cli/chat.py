"""`zenso chat`: talk to a language model on this machine, about the documents of a memory if one is given."""

import sys
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import zenso
from zenso.cli.hits import ShownHit
from zenso.cli.options import AsJson
from zenso.cli.output import handle_errors, note, print_json, printable, require_memory
from zenso.cli.progress import FetchReporter, encoder_loader
from zenso.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zenso.memory import Memory
    from zenso.models import ChatOptions, Generation, Generator, Message
    from zenso.rag import Answer

_HELP = "Ctrl-C stops an answer; /new forgets the conversation; /exit or Ctrl-D leaves."


@handle_errors()
def chat(  # noqa: PLR0913 - options
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="[PROMPT]",
            help="One question; without it standard input is one, or on a terminal a conversation begins.",
        ),
    ] = None,
    *,
    model: Annotated[
        str, typer.Option("--model", metavar="NAME|FILE", help="A model of the catalogue, or a GGUF file.")
    ] = "gemma-3-270m",
    sha256: Annotated[
        str | None,
        typer.Option(
            "--sha256", metavar="HASH", help="What the GGUF file must hash to.", show_default="from FILE.sha256"
        ),
    ] = None,
    memory: Annotated[
        Path | None,
        typer.Option("--memory", "-m", metavar="FOLDER", help="Answer from this memory's documents, with citations."),
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", metavar="N", min=1, help="Documents to answer from.")] = 5,
    system: Annotated[
        str | None, typer.Option("--system", metavar="TEXT", help="What the model is told before the conversation.")
    ] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", metavar="N", help="Most tokens of an answer.")] = 512,
    temperature: Annotated[
        float, typer.Option("--temperature", metavar="T", help="0 to 2; 0 always takes the likeliest token.")
    ] = 0.7,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="N", help="The same seed gives the same answer on this machine.", show_default="any"
        ),
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", metavar="TEXT", help="Ends the answer. May be given several times.")
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            "--context", metavar="N", help="Most tokens of a conversation.", show_default="4096, or the model's own"
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", metavar="N", min=1, help="Processors to use.", show_default="all that may be used"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Talk to a language model that runs on this machine.

    The model's file is verified by its SHA-256 before it is loaded. With `--memory` each question is answered from the
    documents that the memory finds for it, and the sources are listed below the answer. Needs `zenso[llm]`.
    """
    from zenso import models  # noqa: PLC0415 - `zenso --help` does not wait for it

    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read()
    if as_json and prompt is None:
        raise InputError("--json answers one question; give it as PROMPT or on standard input")
    if prompt is not None and not prompt.strip():
        raise InputError("the prompt is empty; give a question as PROMPT or on standard input")
    if memory is not None:
        require_memory(memory)
    options: ChatOptions = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed, "stop": stop or []}
    with FetchReporter() as reporter:
        generator = models.load_generator(model, sha256=sha256, threads=threads, context=context, on_progress=reporter)
    with generator, _opened(memory, threads) as source:
        conversation = _Conversation(generator, source, k, options, system)
        if prompt is None:
            _converse(conversation)
        elif as_json:
            print_json(_answer_json(conversation, prompt))
        else:
            _show(conversation, prompt)


class _Conversation:
    """The messages so far, and what the next one is asked with."""

    def __init__(
        self, generator: "Generator", memory: "Memory | None", k: int, options: "ChatOptions", system: str | None
    ) -> None:
        self.generator = generator
        self._memory = memory
        self._k = k
        self._options = options
        self._beginning: list[Message] = [{"role": "system", "content": system}] if system else []
        self.forget()

    def forget(self) -> None:
        """Start anew."""
        self._messages = list(self._beginning)

    def ask(self, question: str) -> "Generation | Answer":
        """Start an answer; whoever reads it says with `remember` what it was."""
        from zenso import rag  # noqa: PLC0415 - `zenso --help` does not wait for it

        asked: list[Message] = [*self._messages, {"role": "user", "content": question}]
        if self._memory is None:
            return self.generator.chat(asked, **self._options)
        return rag.answer(self._memory, self.generator, asked, k=self._k, **self._options)

    def remember(self, question: str, answered: str) -> None:
        """Keep a question and its answer for the questions after it."""
        self._messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answered}]


@contextmanager
def _opened(folder: Path | None, threads: int | None) -> "Iterator[Memory | None]":
    if folder is None:
        yield None
        return
    with zenso.Memory.open(folder, encoder=encoder_loader(threads)) as memory:
        yield memory


def _converse(conversation: _Conversation) -> None:
    """Take questions from the terminal until it ends."""
    note(f"{conversation.generator.name}. {_HELP}")
    while True:
        try:
            question = input("> ").strip()
        except EOFError:
            typer.echo()
            return
        if question == "/exit":
            return
        if question == "/new":
            conversation.forget()
        elif question:
            try:
                _show(conversation, question)
            except KeyboardInterrupt:
                typer.echo()
            except InputError as error:
                # Such as a conversation that has outgrown the context: the next question may be shorter.
                note(f"error: {error}")


def _show(conversation: _Conversation, question: str) -> None:
    """Print an answer as it comes, and its sources."""
    pieces = []
    with conversation.ask(question) as answer:
        for piece in answer:
            pieces.append(piece)
            typer.echo(printable(piece), nl=False)
    typer.echo()
    conversation.remember(question, "".join(pieces))
    passages = getattr(answer, "passages", None)
    if passages is not None:
        typer.echo("\nSources:" if passages else "\nSources: none; the memory has nothing on this")
        for passage in passages:
            heading = ShownHit(passage.number, passage.score, passage.id, passage.text, passage.metadata).heading
            typer.echo(f"[{passage.number}] {printable(heading)}")


def _answer_json(conversation: _Conversation, question: str) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    from zenso import rag  # noqa: PLC0415 - loaded already

    began = time.monotonic()
    with conversation.ask(question) as answer:
        text = answer.text()
    assert answer.usage is not None  # it has ended
    found: dict[str, Any] = {
        "model": conversation.generator.name,
        "prompt": question,
        "answer": text,
        "finish_reason": answer.finish_reason,
        "usage": {**asdict(answer.usage), "total_tokens": answer.usage.total_tokens},
        "seconds": round(time.monotonic() - began, 4),
    }
    if isinstance(answer, rag.Answer):
        cited = rag.cited(text, answer.passages)
        found["sources"] = [{**asdict(passage), "cited": passage in cited} for passage in answer.passages]
    return found

"""Text generation with GGUF models through llama.cpp (extra ``llm``): verified, memory-mapped, streamed."""

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict

from zenso.errors import InputError, ModelError, ZensoError
from zenso.models.catalogue import ModelEntry
from zenso.models.gguf import Value, named, read_metadata, verified_gguf
from zenso.models.llama import Engine, import_xllamacpp, parameters, trained_context
from zenso.models.progress import OnProgress, silent

DEFAULT_GENERATOR = "gemma-3-270m"
DEFAULT_CONTEXT = 4096
LARGEST_SEED = 2**32 - 2  # llama.cpp takes 2**32 - 1 for "any"

# For files without a chat template: base models continue such a transcript, and stop where the user would speak again.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'system' %}{{ message.content }}{% else %}"
    "{{ message.role | capitalize }}: {{ message.content }}{% endif %}\n\n"
    "{% endfor %}Assistant:"
)
PLAIN_STOP = "\nUser:"
_ROLES = ("system", "user", "assistant")
_WAIT_SECONDS = 0.05


class Message(TypedDict):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatOptions(TypedDict, total=False):
    """What `Generator.chat` takes besides the messages, for functions that pass it on."""

    max_tokens: int
    temperature: float
    top_p: float
    stop: str | Sequence[str]
    seed: int | None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written by one generation."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        """Both together."""
        return self.prompt_tokens + self.completion_tokens


class Generation(Iterator[str]):
    """A running generation: an iterator over pieces of its text, as they come.

    When the iterator has ended by itself, ``finish_reason`` is ``"stop"`` (the model ended, or a stop string came) or
    ``"length"`` (``max_tokens``, or the context is full), and ``usage`` has the counts. Closing stops the generation; a
    generation that is thrown away is closed. Use it from one thread at a time; ``close`` may be called from any.
    """

    def __init__(self, run: "_Run") -> None:
        self._run = run
        self.finish_reason: Literal["stop", "length"] | None = None
        self.usage: Usage | None = None
        self._ended = False

    def __next__(self) -> str:
        """Wait for the next piece.

        Raises
        ------
        InputError
            The engine refuses the request: it has more tokens than the context, or the file's chat template has no
            place for these roles. This comes with the first piece.
        ModelError
            The engine failed.
        """
        if self._ended:
            raise StopIteration
        item = self._run.pieces.get()
        if isinstance(item, str):
            return item
        self._ended = True
        if isinstance(item, Exception):
            raise item
        self.finish_reason, self.usage = self._run.finish_reason, self._run.usage
        raise StopIteration

    def text(self) -> str:
        """Wait for the end and return all text that was not yet taken; raises as ``next`` does."""
        return "".join(self)

    def close(self) -> None:
        """Stop generating; nothing more comes out of this iterator. What has ended stays as it is."""
        self._ended = True
        self._run.cancelled.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self._run.cancelled.set()


class Generator:
    """A loaded model that writes text; made by `load_generator`. Any number of threads may use it.

    At most ``parallel`` generations run at the same time, each with ``context`` tokens of its own; others wait.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        threads: int | None,
        context: int | None,
        parallel: int,
        metadata: dict[str, Value],
    ) -> None:
        trained = trained_context(metadata, path)
        self.path = path
        self.name = name
        self.context = min(DEFAULT_CONTEXT, trained) if context is None else context
        if self.context > trained:
            raise InputError(f"context {context} is more than the {trained} tokens that {name} was trained for")
        self.has_template = bool(metadata.get("tokenizer.chat_template"))
        given = parameters(path, threads=threads, context=self.context, parallel=parallel)
        if not self.has_template:
            given.chat_template = PLAIN_TEMPLATE
        self._engine = Engine(path, given)
        self._slots = threading.Semaphore(parallel)
        self._closed = threading.Event()

    def chat(
        self,
        messages: Sequence[Message | Mapping[str, str]],
        *,
        max_tokens: int = 512,
        temperature: float = 0.7,
        top_p: float = 0.95,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
    ) -> Generation:
        """Start the next turn of a conversation.

        Parameters
        ----------
        messages : sequence of {"role": ..., "content": ...}
            The conversation so far; roles are ``system``, ``user`` and ``assistant``.
        max_tokens : int
            Most tokens to write.
        temperature : float
            0 to 2; 0 always takes the likeliest token.
        top_p : float
            Above 0, to 1: only the likeliest tokens that have this share together are drawn from.
        stop : str or sequence of str
            Strings that end the text; they are not part of it.
        seed : int, optional
            0 to 2**32 - 2. The same seed gives the same text from the same file on the same machine, as long as
            ``parallel`` is 1; this is a float engine, so elsewhere it may differ.

        Raises
        ------
        InputError
            A value is out of its range, or a message is not of the form above.
        """
        server = self._engine.server
        if server is None:
            raise InputError(f"the generator of {self.name} is closed; load it again")
        request: dict[str, Any] = {
            "messages": _checked_messages(messages),
            "max_tokens": _checked_integer("max_tokens", max_tokens, 1, 2**31 - 1),
            "temperature": _checked_number("temperature", temperature, 0, 2),
            "top_p": _checked_number("top_p", top_p, 0, 1, above=True),
            "stop": [*_checked_stop(stop), *(() if self.has_template else [PLAIN_STOP])],
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,  # so that a long prompt can be given up too
        }
        if seed is not None:
            request["seed"] = _checked_integer("seed", seed, 0, LARGEST_SEED)
            # With a prompt half read already the sums run in another order, which may change a token.
            request["cache_prompt"] = False
        run = _Run(self._closed, transcript=not self.has_template)
        threading.Thread(target=run.work, args=(server, self._slots, request), name="zenso-chat").start()
        return Generation(run)

    def close(self) -> None:
        """Stop all generations and free the model as soon as they have noticed; further calls raise InputError."""
        self._closed.set()
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def load_generator(
    path_or_name: str | Path | ModelEntry = DEFAULT_GENERATOR,
    *,
    sha256: str | None = None,
    threads: int | None = None,
    context: int | None = None,
    parallel: int = 1,
    on_progress: OnProgress = silent,
) -> Generator:
    """Load a GGUF model that writes text, after its whole file was verified.

    Parameters
    ----------
    path_or_name : str, path or ModelEntry
        A model of the catalogue, fetched when it is not there, or the path of a GGUF file.
    sha256 : str, optional
        What a file must hash to; without it ``FILE.sha256`` beside it says so. See `verified_gguf`.
    threads : int, optional
        Processors to use; all that may be used by default.
    context : int, optional
        Most tokens of a conversation with its answer; 4,096 by default, or what the model was trained for if less.
    parallel : int
        Generations that may run at the same time.

    Raises
    ------
    ModelError
        The model is unknown or cannot be fetched, llama.cpp cannot load the file, or the extra ``llm`` is missing.
    IntegrityError
        The file has another hash than it must, or nothing says which; nothing was loaded.
    InputError
        A number is out of its range.
    """
    import_xllamacpp()
    if threads is not None:
        _checked_integer("threads", threads, 1, 1024)
    if context is not None:
        _checked_integer("context", context, 64, 2**31 - 1)
    _checked_integer("parallel", parallel, 1, 256)
    model = named(path_or_name)
    path = verified_gguf(model, sha256, on_progress)
    metadata = read_metadata(path)
    name = model.name if isinstance(model, ModelEntry) else path.stem
    return Generator(path, name, threads=threads, context=context, parallel=parallel, metadata=metadata)


class _Run:
    """One generation as its thread sees it: what came out goes into ``pieces``, ended by None or an error."""

    def __init__(self, closed: threading.Event, *, transcript: bool) -> None:
        self.pieces: queue.SimpleQueue[str | ZensoError | None] = queue.SimpleQueue()
        self.cancelled = threading.Event()
        self.finish_reason: Literal["stop", "length"] | None = None
        self.usage: Usage | None = None
        self._closed = closed
        self._transcript = transcript  # whose blanks before and after an answer are no part of it
        self._begun = False
        self._held = ""
        self._error: ZensoError | None = None

    def work(self, server: Any, slots: threading.Semaphore, request: dict[str, Any]) -> None:  # noqa: ANN401 - an extra's class
        while not slots.acquire(timeout=_WAIT_SECONDS):
            if self._stopped():
                break
        else:
            try:
                if not self._stopped():
                    server.handle_chat_completions(request, self._receive)
            except ValueError as error:
                reason = " ".join(str(error).split())
                self._error = InputError(f"the chat template of this model refuses the messages: {reason}")
            except RuntimeError as error:
                self._error = ModelError(f"llama.cpp failed: {error}")
            finally:
                slots.release()
        if self._error is None and self.finish_reason is None and not self.cancelled.is_set():
            self._error = ModelError("the generation broke off, because its generator was closed")
        self.pieces.put(self._error)

    def _stopped(self) -> bool:
        return self.cancelled.is_set() or self._closed.is_set()

    def _receive(self, chunk: dict[str, Any]) -> bool:
        """Take what llama.cpp sends; True stops the generation."""
        if "error" in chunk:
            message = chunk["error"].get("message", "no reason given")
            refused = chunk["error"].get("code") == 400
            self._error = InputError(message) if refused else ModelError(f"llama.cpp failed: {message}")
            return True
        if usage := chunk.get("usage"):
            self.usage = Usage(usage["prompt_tokens"], usage["completion_tokens"])
        for choice in chunk["choices"]:
            if choice["finish_reason"] is not None:
                self.finish_reason = "length" if choice["finish_reason"] == "length" else "stop"
            piece = choice["delta"].get("content") or ""
            if self._transcript:
                piece = self._without_outer_blanks(piece)
            if piece:
                self.pieces.put(piece)
        return self._stopped()

    def _without_outer_blanks(self, piece: str) -> str:
        """Take blanks off the beginning, and hold those at the end back until more text comes."""
        piece = self._held + piece if self._begun else piece.lstrip()
        kept = piece.rstrip()
        self._held = piece[len(kept) :]
        self._begun = self._begun or bool(kept)
        return kept


def _checked_messages(messages: Sequence[Message | Mapping[str, str]]) -> list[dict[str, str]]:
    if not messages or isinstance(messages, str):
        raise InputError("give at least one message, such as {'role': 'user', 'content': 'a question'}")
    checked = []
    for number, message in enumerate(messages):
        role, content = (
            (message.get(key) for key in ("role", "content")) if isinstance(message, Mapping) else (None, None)
        )
        if role not in _ROLES or not isinstance(content, str):
            raise InputError(
                f"message {number} needs a role ({', '.join(_ROLES)}) and a content that is text, not {message!r:.200}"
            )
        # llama.cpp takes UTF-8, which has no lone surrogates.
        checked.append({"role": str(role), "content": content.encode("utf-8", "replace").decode()})
    return checked


def _checked_integer(name: str, value: int, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InputError(f"{name} is {value!r}; it must be a whole number from {least} to {most}")
    return value


def _checked_number(name: str, value: float, least: float, most: float, *, above: bool = False) -> float:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
    if not usable or (above and value == least):
        raise InputError(f"{name} is {value!r}; it must be a number {'above' if above else 'from'} {least} to {most}")
    return float(value)


def _checked_stop(stop: str | Sequence[str]) -> list[str]:
    strings = [stop] if isinstance(stop, str) else list(stop)
    if not all(isinstance(string, str) and string for string in strings):
        raise InputError(f"stop is {stop!r}; it must be a string or several, none of them empty")
    return strings

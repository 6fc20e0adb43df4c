"""Watching what the kernel is asked for: operations, the steps they belong to, and the tracer that hears of both.

A function that asks the kernel for something is an *operation*; a *step* says why a group of them happens:

    with step("give the container its own /proc", topic="procfs", why="It shows its processes only."):
        mount("proc", target, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)

A tracer hears of an operation before the kernel does and after. Before, it may wait, answer in the kernel's place, or
raise the error that the kernel is to have said (see `set_tracer`): that makes single-stepping, dry runs and the
injection of faults.

With no tracer an operation costs one test for None. Processes that minirun forks inherit the tracer; in them it sends
each event over a socket to the process that prints (see `forward_to`), so the story is whole.

Step titles are imperative phrases without a capital: an error that passes through a step is reported as
"cannot <title>: <reason>", so one text serves the reader of the code, of the trace and of the error.
"""

from __future__ import annotations

import errno
import os
from time import monotonic_ns

from minirun.errors import MinirunError
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket as socket
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Literal, ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")


class Event(Record):
    """One operation that the kernel is asked for; before it is done, there is no result, error and duration.

    `arguments` maps parameter names to text; `error` is an errno name such as "EPERM" or empty; times are nanoseconds
    of CLOCK_MONOTONIC; `steps` are the (title, topic, why) triples it happened in, outermost first; `process` says
    who asked ("minirun", "container", "network helper", ...).
    """

    process: str
    pid: int
    steps: tuple[tuple[str, str, str], ...]
    operation: str
    arguments: dict[str, str]
    result: str
    error: str
    started_ns: int
    duration_ns: int
    man: str
    shell: str


class Answer(Record):
    """What an operation returns although the kernel was not asked: what its function would have returned."""

    value: Any


_tracer: Callable[[Event], None] | None = None
_before: Callable[[Event], Answer | None] | None = None
_process = "minirun"
_steps: list[tuple[str, str, str]] = []


def set_tracer(tracer: Callable[[Event], None] | None, before: Callable[[Event], Answer | None] | None = None) -> None:
    """Tell `tracer` of every further operation of this process, and of those it forks, once its outcome is known.

    `before` is called before the kernel is asked, in the process that asks. It may take its time; return an `Answer`,
    so that the kernel is not asked; or raise an OSError as if the kernel had said so. None for `tracer` ends both.

    An exec that succeeds does not come back: only a tracer that is `forward_to` hears of it afterwards, too.

    Programs in C (native/exec_stub.c, the monitor) and the network helper only tell of what they have done.
    """
    import shlex  # noqa: F401 - in a container nothing can be imported any more (see kernel.process.close_imports)

    global _tracer, _before
    _tracer = tracer
    _before = before if tracer else None


def tracing() -> bool:
    """Say whether there is a tracer; for work that is done only to be shown."""
    return _tracer is not None


def name_process(name: str) -> None:
    """Name this process in the events it emits."""
    global _process
    _process = name


def forget_steps() -> None:
    """Leave the steps in which this process was forked, for a process that outlives them."""
    _steps.clear()


def operation(
    man: str,
    shell: str | Callable[[dict[str, Any]], str] = "",
    returns: Callable[[Any], str | None] = str,
    is_exec: bool = False,
    **show: Callable[[Any], str],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function as something asked of the kernel.

    `man` names the manual page, "mount(2)". `shell` is the equivalent shell line with {parameter} places, a function
    that makes it of the arguments, or empty where there is none. `show` gives, by parameter name, a function that
    turns the argument into text (flag names, for example), `returns` one for the result; others are shown by `str`.
    A result of which `returns` makes None is not told: in the child of a fork, whose parent tells of it. `is_exec` is
    for what does not come back if it succeeds.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        def traced(*args: P.args, **kwargs: P.kwargs) -> R:
            if _tracer is None:
                return function(*args, **kwargs)
            values = _by_name(function, args, kwargs)
            texts = {name: show[name](value) if name in show else str(value) for name, value in values.items()}
            line = _shell_line(shell, texts) if isinstance(shell, str) else shell(values)
            started = monotonic_ns()
            event = Event(_process, os.getpid(), tuple(_steps), function.__name__, texts, "", "", started, 0, man, line)
            outcome = -1
            try:
                answer = _before(event) if _before else None
                started = monotonic_ns()
                if is_exec and answer is None and isinstance(_tracer, forward_to):
                    outcome = _tracer.announce(event.replace(started_ns=started))
                result: R = function(*args, **kwargs) if answer is None else answer.value
            except OSError as error:
                name = errno.errorcode.get(error.errno or 0, "error")
                if outcome >= 0:
                    os.write(outcome, name.encode())
                    os.close(outcome)
                else:
                    _tell(event.replace(error=name, started_ns=started, duration_ns=monotonic_ns() - started))
                raise
            text = "" if result is None else returns(result)
            if text is not None:
                _tell(event.replace(result=text, started_ns=started, duration_ns=monotonic_ns() - started))
            return result

        traced.__name__ = function.__name__
        traced.__doc__ = function.__doc__
        return traced

    return decorate


def _tell(event: Event) -> None:
    """Tell the tracer, if there still is one: the operation may have ended it."""
    if _tracer is not None:
        _tracer(event)


def _by_name(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a call's parameters, in the order in which the function has them."""
    code = function.__code__
    positional = code.co_varnames[: code.co_argcount]
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    values = dict(zip(reversed(positional), reversed(function.__defaults__ or ()), strict=False))
    values |= (function.__kwdefaults__ or {}) | dict(zip(names, args, strict=False)) | kwargs
    return {name: values[name] for name in names if name in values}


def _shell_line(template: str, arguments: dict[str, str]) -> str:
    """Fill a shell line's places with the arguments, quoted where the shell needs it."""
    from re import sub
    from shlex import quote

    return sub(r"\{(\w+)\}", lambda place: quote(arguments.get(place[1], place[0])), template)


class step:  # noqa: N801 - reads as a statement: with step("..."):
    """A titled group of operations; a context manager.

    `topic` names the chapter of the explanation it belongs to ("procfs", "overlayfs", "cgroup"); `why` is one
    sentence. An OSError that leaves the block becomes a MinirunError "cannot <title>: <reason>"; `hint` and
    `exit_code` go with it.
    """

    __slots__ = ("exit_code", "hint", "title", "topic", "why")

    def __init__(self, title: str, topic: str = "", why: str = "", hint: str = "", exit_code: int = 125) -> None:
        self.title = title
        self.topic = topic
        self.why = why
        self.hint = hint
        self.exit_code = exit_code

    def __enter__(self) -> step:
        _steps.append((self.title, self.topic, self.why))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        _steps.pop()
        if isinstance(error, OSError):
            reason = reason_of(error, said=self.title)
            raise MinirunError(f"cannot {self.title}: {reason}", self.hint, self.exit_code) from error
        return False


def reason_of(error: OSError, said: str = "") -> str:
    """Say in one clause why a call failed: "mount proc on /x/proc: operation not permitted".

    Its words are in lower case, as engines look for them. What is `said` before it is not repeated.
    """
    reason = error.strerror or str(error)
    if error.errno and reason == os.strerror(error.errno):
        reason = reason.lower()
    subject = "" if error.filename is None or isinstance(error.filename, int) else str(error.filename)
    words = ": ".join(part for part in (_unsaid(subject, said), reason) if part)
    return f"{words} (with {error.filename2})" if error.filename2 else words


_SIGNS = str.maketrans(dict.fromkeys("()',\"", " "))


def _unsaid(subject: str, said: str) -> str:
    """Return an error's subject, such as "open_tree /x" or "mount proc on /x", without the paths that are `said`.

    A path that is named twice reads like two. What the kernel was asked for stays.
    """
    around = f" {said} {said.translate(_SIGNS)} "
    if f" {subject} " in around:
        return ""
    asked_for, _, rest = subject.partition(" ")
    if rest and f" {rest} " in around:  # a path may hold spaces
        return asked_for
    words = [word for word in subject.split(" ") if not ("/" in word and f" {word} " in around)]
    while words and words[-1] in ("on", "to", "of"):
        words.pop()
    return " ".join(words)


class forward_to:  # noqa: N801 - reads as what it does: set_tracer(forward_to(channel))
    """A tracer that sends each event as one JSON datagram over `channel` to the process that prints."""

    def __init__(self, channel: socket.socket) -> None:
        from json import dumps

        self._channel = channel
        self._dumps = dumps
        self.descriptor = channel.fileno()

    def __call__(self, event: Event, outcome: int = -1) -> None:
        """Send an event; with `outcome` also the descriptor of a pipe that will tell how it went."""
        rights = [(1, 1, outcome.to_bytes(4, "little"))] if outcome >= 0 else []  # SOL_SOCKET, SCM_RIGHTS
        try:
            self._channel.sendmsg([self._dumps(event.as_dict()).encode()], rights)
        except OSError:
            pass  # the reader has gone; that must not make the work fail

    def announce(self, event: Event) -> int:
        """Send the event of an exec; return the end of a pipe for the name of the errno if it fails, or -1.

        If it succeeds, the kernel closes that end.
        """
        try:
            told, outcome = os.pipe2(os.O_CLOEXEC)
        except OSError:
            return -1  # then only a failure is told
        self(event, told)
        os.close(told)
        return outcome


def trace_descriptor() -> int:
    """Return the descriptor to which a program that is executed next may send events itself, or -1."""
    return _tracer.descriptor if isinstance(_tracer, forward_to) else -1


def event_from_json(text: str | bytes) -> Event:
    """Read an event that `forward_to` has sent."""
    import json

    fields = json.loads(text)
    fields["steps"] = tuple((title, topic, why) for title, topic, why in fields["steps"])
    return Event(**fields)


def relay(event: Event, outcome: int = -1) -> None:
    """Hand an event that another process has sent to this process's tracer, inside the steps under way here.

    `outcome` is the descriptor of a pipe that came with it, or -1 (see `forward_to`).
    """
    whole = event.replace(steps=tuple(_steps) + event.steps)
    if isinstance(_tracer, forward_to):
        _tracer(whole, outcome)
    else:
        _tell(whole)

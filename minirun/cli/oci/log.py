"""Where `minirun-oci` tells of failures, twice as callers expect: on standard error, and in the file of --log."""

from __future__ import annotations

import os

from minirun.errors import MinirunError, tell
from minirun.model import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.kernel.trace import Event


class Log:
    """Where failures are told: standard error, and the file that the caller reads.

    Raises MinirunError or OSError for a log that nothing could be told to.
    """

    def __init__(self, path: str, form: str) -> None:
        if form not in ("text", "json"):
            raise MinirunError(f"invalid log format '{form}'", "Use text or json.")
        if path.startswith(("journald:", "syslog:")):
            raise MinirunError(f"cannot log to {path}", "minirun-oci logs to a file: --log PATH.")
        self._path = path.removeprefix("file:")
        self._form = form
        if self._path:
            os.close(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644))

    def failure(self, error: MinirunError) -> None:
        """Tell an error, first where the caller looks for it: standard error may be one that cannot be written."""
        if self._path:
            try:
                with open(self._path, "ab") as file:
                    file.write(self._line("error", error.message))
            except OSError:
                pass  # the caller has the exit code and standard error
        tell(f"minirun-oci: {error.message}", *([f"hint: {error.hint}"] if error.hint else []))

    def tell_operations(self) -> None:
        """From here on tell each operation that the kernel is asked for, by this process or by one that it forks."""
        from minirun.kernel.trace import set_tracer

        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        file = os.open(self._path, flags) if self._path else os.dup(2)  # in the container, 2 will be another one

        def tell(event: Event) -> None:
            steps = "".join(f"{title}: " for title, _, _ in event.steps)
            arguments = ", ".join(f"{name}={value}" for name, value in event.arguments.items())
            outcome = f" = {event.error or event.result}" if event.error or event.result else ""
            line = self._line("debug", f"{event.process}: {steps}{event.operation}({arguments}){outcome}")
            try:
                os.write(file, line)
            except OSError:
                pass  # the container is made also where nobody can be told how

        set_tracer(tell)

    def _line(self, level: str, message: str) -> bytes:
        import time

        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._form == "json":
            return f"{jsontext.dumps({'level': level, 'msg': message, 'time': now})}\n".encode()
        return f"time={jsontext.dumps(now)} level={level} msg={jsontext.dumps(message)}\n".encode()

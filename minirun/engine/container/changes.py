"""Dockerfile instructions that change an image's config, as `import --change` takes them.

Source: the Dockerfile reference; each has the JSON form (exec form) or the shell form.
"""

from __future__ import annotations

import json

from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SHELL = ["/bin/sh", "-c"]
_SECOND = 1_000_000_000
_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": _SECOND, "m": 60 * _SECOND, "h": 3600 * _SECOND}
_HEALTH_FLAGS = {
    "--interval": "Interval",
    "--timeout": "Timeout",
    "--start-period": "StartPeriod",
    "--start-interval": "StartInterval",
    "--retries": "Retries",
}


def apply_changes(config: dict[str, Any], changes: tuple[str, ...]) -> dict[str, Any]:
    """Return a copy of an OCI config with the instructions applied in turn.

    Raises MinirunError (1) for an instruction that is unknown or malformed.
    """
    changed = dict(config)
    for line in changes:
        name, _, rest = line.strip().partition(" ")
        apply = _INSTRUCTIONS.get(name.upper())
        if apply is None:
            raise _wrong(f"{name or line!r} is not a valid change command")
        if not rest.strip():
            raise _wrong(f"{name.upper()} requires at least one argument")
        apply(changed, rest.strip())
    return changed


def duration_ns(text: str) -> int:
    """Read a Go duration such as "1m30s" or "500ms" and return nanoseconds. Raises MinirunError (1)."""
    import re

    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise _wrong(f"{text!r} is not a duration such as 30s")
    return sum(int(float(number) * _UNITS[unit]) for number, unit in parts)


def split_words(text: str) -> list[str]:
    """Split as a Dockerfile does: at white space, except within quotes or after a backslash."""
    import shlex

    try:
        return shlex.split(text)
    except ValueError as error:
        raise _wrong(f"{text!r}: {error}") from error


def _wrong(problem: str) -> MinirunError:
    return MinirunError(f"invalid --change: {problem}", "For example --change 'CMD [\"/bin/sh\"]'.", exit_code=1)


def _exec_form(text: str) -> list[str] | None:
    """Return the words of a JSON list of strings, or None where it is not one and so is the shell form."""
    if not text.startswith("["):
        return None
    try:
        words = json.loads(text)
    except ValueError:
        return None
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def _command(config: dict[str, Any], text: str) -> list[str]:
    words = _exec_form(text)
    return [*(config.get("Shell") or _SHELL), text] if words is None else words


def _cmd(config: dict[str, Any], text: str) -> None:
    config["Cmd"] = _command(config, text)


def _entrypoint(config: dict[str, Any], text: str) -> None:
    config["Entrypoint"] = _command(config, text)


def _pairs(name: str, text: str) -> dict[str, str]:
    """Read NAME=VALUE ..., or the old form NAME VALUE."""
    words = split_words(text)
    if "=" not in words[0]:
        key, _, value = text.partition(" ")
        if not value.strip():
            raise _wrong(f"{name} must have two arguments")
        return {key: value.strip()}
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise _wrong(f"{name}: {word!r} is not NAME=VALUE")
        pairs[key] = value
    return pairs


def _env(config: dict[str, Any], text: str) -> None:
    old = dict(item.partition("=")[::2] for item in config.get("Env") or ())
    config["Env"] = [f"{name}={value}" for name, value in (old | _pairs("ENV", text)).items()]


def _label(config: dict[str, Any], text: str) -> None:
    config["Labels"] = (config.get("Labels") or {}) | _pairs("LABEL", text)


def _expose(config: dict[str, Any], text: str) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in split_words(text):
        port, _, protocol = word.lower().partition("/")
        first, _, last = port.partition("-")
        if not first.isdigit() or not (last or first).isdigit() or protocol not in ("", "tcp", "udp", "sctp"):
            raise _wrong(f"EXPOSE: {word!r} is not PORT[/PROTOCOL]")
        if not 1 <= int(first) <= int(last or first) <= 65535:
            raise _wrong(f"EXPOSE: {word!r} is no port")
        ports |= {f"{number}/{protocol or 'tcp'}": {} for number in range(int(first), int(last or first) + 1)}
    config["ExposedPorts"] = ports


def _volume(config: dict[str, Any], text: str) -> None:
    paths = _exec_form(text) or split_words(text)
    if not all(path.strip() for path in paths):
        raise _wrong("VOLUME specified can not be an empty string")
    config["Volumes"] = (config.get("Volumes") or {}) | {path: {} for path in paths}


def _workdir(config: dict[str, Any], text: str) -> None:
    import posixpath

    config["WorkingDir"] = posixpath.normpath(posixpath.join("/", config.get("WorkingDir") or "/", text))


def _user(config: dict[str, Any], text: str) -> None:
    config["User"] = text


def _stop_signal(config: dict[str, Any], text: str) -> None:
    import signal

    name = text.upper().removeprefix("SIG")
    if not (text.isdigit() and 1 <= int(text) <= 64) and f"SIG{name}" not in signal.Signals.__members__:
        raise _wrong(f"STOPSIGNAL: {text!r} is no signal")
    config["StopSignal"] = text


def _on_build(config: dict[str, Any], text: str) -> None:
    if text.split()[0].upper() in ("ONBUILD", "FROM", "MAINTAINER"):
        raise _wrong(f"{text.split()[0].upper()} isn't allowed as an ONBUILD trigger")
    config["OnBuild"] = [*(config.get("OnBuild") or ()), text]


def _shell(config: dict[str, Any], text: str) -> None:
    words = _exec_form(text)
    if not words:
        raise _wrong("SHELL requires the arguments to be in JSON form")
    config["Shell"] = words


def _healthcheck(config: dict[str, Any], text: str) -> None:
    check: dict[str, Any] = {}
    while text.startswith("--"):
        flag, _, text = text.partition(" ")
        name, _, value = flag.partition("=")
        if name not in _HEALTH_FLAGS:
            raise _wrong(f"HEALTHCHECK: unknown flag {name}")
        if name == "--retries" and not value.isdigit():
            raise _wrong(f"HEALTHCHECK: {value!r} is no number of retries")
        check[_HEALTH_FLAGS[name]] = int(value) if name == "--retries" else duration_ns(value)
        text = text.strip()
    kind, _, command = text.partition(" ")
    if kind.upper() == "NONE" and not command and not check:
        check["Test"] = ["NONE"]
    elif kind.upper() == "CMD" and command.strip():
        words = _exec_form(command.strip())
        check["Test"] = ["CMD-SHELL", command.strip()] if words is None else ["CMD", *words]
    else:
        raise _wrong("HEALTHCHECK is [OPTIONS] CMD command, or NONE")
    config["Healthcheck"] = check


_INSTRUCTIONS = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _on_build,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}

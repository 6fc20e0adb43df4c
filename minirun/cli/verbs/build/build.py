"""`build`: an image from a Dockerfile."""

from __future__ import annotations

import os
import sys

from minirun.cli.grammar import Verb, many, switch, text
from minirun.cli.output.build_progress import progress_on
from minirun.cli.output.pull_progress import progress_on as pulls_on
from minirun.cli.output.to_file import check_output, write_output
from minirun.cli.streams import say
from minirun.engine.request import options
from minirun.engine.spec import environment
from minirun.errors import MinirunError
from minirun.kernel.hostfiles import make_directories, replace
from minirun.model.image import ImageRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.build.context import Context
    from minirun.build.request import BuildRequest, Secret
    from minirun.cli.call import Call

_STYLES = ("auto", "plain", "tty", "quiet")
_NETWORKS = {"default": "bridge", "bridge": "bridge", "none": "none", "host": "host"}


def build(call: Call) -> None:
    """Build an image from a Dockerfile and the files of a directory, its context.

    The context is a directory, or '-': then standard input is a Dockerfile, or a tar with the context in it. Every
    step is a container; what it has changed becomes a layer, which the next build finds again if nothing that the step
    depends on has changed: 'minirun builder prune' forgets them.
    """
    from minirun.build import builder, context

    layout = call.swept_layout()
    form, path = _output(call)
    if form == "tar":
        check_output(path)
    quiet = call.switch("quiet") or call.text("progress", "auto") == "quiet"
    (place,) = call.arguments
    with context.opened(layout, place, call.text("file")) as found:
        request = _request(call, found)
        progress = progress_on(sys.stderr, call.text("progress", "auto"), quiet=quiet)
        pulls = pulls_on(sys.stderr, quiet=quiet)
        try:
            if form == "local":
                make_directories(path)
                builder.build_files(layout, request, progress, pulls, path)
                return
            if form == "tar":
                write_output(path, builder.build_tar(layout, request, progress, pulls))
                return
            image = builder.build(layout, request, progress, pulls)
        except MinirunError as error:
            progress.explain(error, request)
            raise
        progress.exported(image.id, [name.familiar for name in request.tags])
    if call.text("iidfile"):
        _write(call.text("iidfile"), image.id)
    if quiet:
        say(image.id)


def _output(call: Call) -> tuple[str, str]:
    """Read --output: "DIRECTORY", "-", "type=local,dest=DIRECTORY" or "type=tar[,dest=FILE]"; ("", "") is an image.

    Raises MinirunError.
    """
    text = call.text("output")
    if not text:
        return "", ""
    if text == "-":
        return "tar", ""
    if "=" not in text:
        return "local", text
    fields = _fields("output", text, ("type", "dest"))
    form, path = fields.get("type", "local"), fields.get("dest", "")
    if form in ("image", "docker") and not path:
        return "", ""
    if form not in ("local", "tar"):
        raise MinirunError(f"unknown exporter {form!r}", "The types are local, tar and image.", 1)
    if form == "local" and path in ("", "-"):
        raise MinirunError("dest is required for the local exporter", "For example -o type=local,dest=out.", 1)
    return form, "" if path == "-" else path


def _request(call: Call, found: Context) -> BuildRequest:
    from minirun.build.request import BuildRequest
    from minirun.build.variables.scope import build_platform
    from minirun.model.platform import parse_platform

    network = call.text("network", "default")
    if network not in _NETWORKS:
        raise MinirunError(f"network mode {network!r} is not supported in a build", "It is default, none or host.", 1)
    return BuildRequest(
        dockerfile=found.dockerfile,
        dockerfile_name=found.dockerfile_name,
        context=found.directory,
        ignore=found.ignore,
        platform=parse_platform(call.text("platform"), build_platform()) if call.text("platform") else build_platform(),
        tags=tuple(dict.fromkeys(_tag(name) for name in call.many("tag"))),
        build_args=_build_args(call.many("build-arg")),
        labels=environment.labels_from_flags((), call.many("label")),
        target=call.text("target"),
        no_cache=call.switch("no-cache"),
        no_cache_filter=tuple(name for names in call.many("no-cache-filter") for name in names.split(",")),
        network=_NETWORKS[network],
        extra_hosts=options.extra_hosts(call.many("add-host")),
        pull=call.switch("pull"),
        shm_size=options.shm_size(call.text("shm-size")),
        ulimits=options.ulimits(call.many("ulimit")),
        secrets=tuple(_secret(flag) for flag in call.many("secret")),
        ssh=dict(_agent(flag) for flag in call.many("ssh")),
        contexts=dict(_named_context(flag) for flag in call.many("build-context")),
    )


def _tag(name: str) -> ImageRef:
    reference = ImageRef.parse(name)
    if reference.digest:
        raise MinirunError(f"invalid tag {name!r}: a name for an image has no digest", "Name it REPOSITORY[:TAG].", 1)
    return reference


def _build_args(flags: tuple[str, ...]) -> dict[str, str]:
    """Read NAME=VALUE; a NAME alone takes minirun's own value, if it has one."""
    found = {}
    for flag in flags:
        name, equals, value = flag.partition("=")
        if not name:
            raise MinirunError(f"invalid --build-arg {flag!r}", "It is NAME=VALUE, or NAME.")
        if equals or name in os.environ:
            found[name] = value if equals else os.environ[name]
    return found


def _fields(flag: str, text: str, known: tuple[str, ...]) -> dict[str, str]:
    """Read "id=a,src=b". Raises MinirunError (125)."""
    found = {}
    for field in text.split(","):
        name, equals, value = field.partition("=")
        if not equals or name not in known:
            raise MinirunError(
                f"invalid --{flag} field {field!r}", f"There is {', '.join(f'{each}=' for each in known)}."
            )
        found[name] = value
    return found


def _secret(text: str) -> Secret:
    from minirun.build.request import Secret

    fields = _fields("secret", text, ("id", "src", "source", "env", "type"))
    name = fields.get("id", "")
    path = fields.get("src") or fields.get("source") or ""
    env = fields.get("env", "")
    if fields.get("type", "file") not in ("file", "env"):
        raise MinirunError(f"unsupported secret type {fields['type']!r}", "It is file or env.")
    if fields.get("type") == "env" and path:
        path, env = "", path
    if not path and not env:
        path, env = ("", name) if name in os.environ else (name, "")
    name = name or os.path.basename(path)
    if not name:
        raise MinirunError(f"--secret {text!r} has no id", "For example --secret id=token,src=token.txt.")
    if path and not os.path.isfile(path):
        raise MinirunError(f"failed to stat {path}: no such file", "A secret is a file, or env=NAME.", exit_code=1)
    return Secret(name, os.path.abspath(path) if path else "", env)


def _agent(text: str) -> tuple[str, str]:
    """Read "default" or "id=SOCKET"; default is the caller's SSH agent. Raises MinirunError."""
    name, _, path = text.partition("=")
    path = path or os.environ.get("SSH_AUTH_SOCK", "")
    if not path:
        raise MinirunError("invalid empty ssh agent socket", "Start one: eval $(ssh-agent), or --ssh id=SOCKET.", 1)
    if not os.path.exists(path):
        raise MinirunError(f"--ssh {name}: there is no socket {path}", "ssh-agent(1) says where its own is.", 1)
    return name, os.path.abspath(path)


def _named_context(text: str) -> tuple[str, str]:
    """Read "name=DIRECTORY" or "name=docker-image://NAME". Raises MinirunError."""
    name, equals, place = text.partition("=")
    if not equals or not name or not place:
        raise MinirunError(f"invalid context value: {text}, expected key=value", "", 1)
    if place.startswith("docker-image://"):
        return name.lower(), place
    if "://" in place:
        raise MinirunError(
            f"--build-context {text}: only directories and docker-image:// are supported", "Fetch it first.", 1
        )
    if not os.path.isdir(place):
        raise MinirunError(f"failed to get build context path {place}: no such directory", "", 1)
    return name.lower(), os.path.abspath(place)


def _write(path: str, content: str) -> None:
    try:
        replace(path, content)
    except OSError as error:
        raise MinirunError(f"cannot write {path}: {error.strerror}", exit_code=1) from error


VERBS = {
    "build": Verb(
        build,
        (
            many("-t/--tag", "Name of the image; may be given several times."),
            text("-f/--file", "The Dockerfile (default CONTEXT/Dockerfile); '-' is standard input."),
            many("--build-arg", "Value of an ARG; a NAME alone takes minirun's own variable."),
            text("--target", "Stage to build (default the last)."),
            switch("--no-cache", "Do all steps anew."),
            many("--no-cache-filter", "Do all steps of these stages anew."),
            text("--network", "Network of RUN: default, none or host."),
            many("--add-host", "A line of /etc/hosts for RUN."),
            many("--label", "Label of the image."),
            text("--shm-size", "Size of /dev/shm for RUN (default 64m)."),
            many("--ulimit", "Limit of each process of RUN, such as nofile=1024."),
            # So it is in any case: a step leaves no container, and the image is here.
            switch("--rm", default=True),
            switch("--force-rm"),
            switch("--load"),
            switch("--pull", "Pull the base images, even those that are here."),
            text("--platform", "Platform of the image (default the host's)."),
            many("--secret", "A secret for RUN --mount=type=secret: id=NAME,src=FILE or id=NAME,env=NAME."),
            many("--ssh", "An SSH agent for RUN --mount=type=ssh: default, or id=SOCKET."),
            many("--build-context", "A further context: name=DIRECTORY or name=docker-image://IMAGE."),
            text("-o/--output", "Files in place of an image: DIRECTORY, type=local|tar,dest=..., or '-' for a tar."),
            text("--iidfile", "Write the image's id to this file."),
            text("--progress", "How to tell of it: auto, plain, tty or quiet.", choices=_STYLES),
            switch("-q/--quiet", "Print only the image's id."),
        ),
        "CONTEXT",
        summary="Build an image from a Dockerfile",
        examples=(("minirun build -t web .", "the Dockerfile of this directory"),),
    ),
}

"""What `--help` prints: options with the names of their values, sorted, those of `run` in groups, and examples.

Imported for help only.
"""

from __future__ import annotations

import click

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# What the value of an option is called, in all commands; by its first long name.
METAVARS = {
    "--add-host": "NAME:ADDRESS",
    "--annotation": "NAME=VALUE",
    "--attach": "STREAM",
    "--cap-add": "CAPABILITY",
    "--cap-drop": "CAPABILITY",
    "--change": "INSTRUCTION",
    "--cidfile": "FILE",
    "--cgroupns": "MODE",
    "--cpu-period": "MICROSECONDS",
    "--cpu-quota": "MICROSECONDS",
    "--cpu-shares": "WEIGHT",
    "--cpus": "NUMBER",
    "--cpuset-cpus": "LIST",
    "--cpuset-mems": "LIST",
    "--detach-keys": "KEYS",
    "--device": "FILE[:FILE][:rwm]",
    "--device-cgroup-rule": "RULE",
    "--dns": "ADDRESS",
    "--dns-option": "OPTION",
    "--dns-search": "DOMAIN",
    "--domainname": "NAME",
    "--entrypoint": "PROGRAM",
    "--env": "NAME[=VALUE]",
    "--env-file": "FILE",
    "--expose": "PORT[/PROTOCOL]",
    "--filter": "NAME=VALUE",
    "--format": "TEMPLATE",
    "--group-add": "GROUP",
    "--hostname": "NAME",
    "--input": "FILE",
    "--ipc": "MODE",
    "--label": "NAME=VALUE",
    "--label-file": "FILE",
    "--last": "COUNT",
    "--log-driver": "DRIVER",
    "--log-opt": "NAME=VALUE",
    "--memory": "SIZE",
    "--memory-reservation": "SIZE",
    "--memory-swap": "SIZE",
    "--message": "COMMENT",
    "--mount": "FIELD=VALUE,...",
    "--name": "NAME",
    "--network": "NETWORK",
    "--oom-score-adj": "NUMBER",
    "--pid": "MODE",
    "--pids-limit": "COUNT",
    "--platform": "PLATFORM",
    "--publish": "[[IP:]PORT:]PORT",
    "--pull": "POLICY",
    "--restart": "POLICY",
    "--root": "DIRECTORY",
    "--security-opt": "OPTION",
    "--shm-size": "SIZE",
    "--signal": "SIGNAL",
    "--since": "TIME",
    "--state": "DIRECTORY",
    "--stop-signal": "SIGNAL",
    "--stop-timeout": "SECONDS",
    "--sysctl": "NAME=VALUE",
    "--tail": "COUNT",
    "--timeout": "SECONDS",
    "--tmpfs": "DIRECTORY[:OPTIONS]",
    "--type": "KIND",
    "--ulimit": "NAME=SOFT[:HARD]",
    "--until": "TIME",
    "--user": "USER[:GROUP]",
    "--uts": "MODE",
    "--volume": "SOURCE:DIRECTORY[:ro]",
    "--volumes-from": "CONTAINER[:ro]",
    "--workdir": "DIRECTORY",
}
_WATCHING = ("explain", "debug", "help")
# The options of `run` and `create` by what they are about.
_GROUPS = {
    "Most used": "detach interactive tty rm name env publish volume workdir user entrypoint network memory cpus",
    "Network": "add-host dns dns-option dns-search domainname expose hostname publish-all",
    "Files": "device mount read-only shm-size tmpfs volumes-from",
    "Limits": (
        "cpu-period cpu-quota cpu-shares cpuset-cpus cpuset-mems memory-reservation memory-swap oom-score-adj"
        " pids-limit ulimit"
    ),
    "Isolation and rights": (
        "cap-add cap-drop cgroupns device-cgroup-rule group-add ipc pid privileged security-opt sysctl uts"
    ),
    "The process, its streams and its end": (
        "attach detach-keys env-file init log-driver log-opt no-healthcheck restart sig-proxy stop-signal stop-timeout"
    ),
    "Image, and what is noted": "annotation cidfile label label-file platform pull quiet",
}
EXAMPLES = {
    "run": (
        ("minirun run --rm -it busybox", "a shell in a new container, which goes when the shell ends"),
        ("minirun run -d --name web -p 8080:80 nginx", "a server in the background, on port 8080 of this host"),
        ('minirun run --rm -v "$PWD":/work -w /work busybox ls', "a command on the files that are here"),
    ),
    "create": (("minirun create --name box busybox sleep 100", "'minirun start box' starts it"),),
    "exec": (
        ("minirun exec -it web sh", "a shell in a running container"),
        ("minirun exec -u 0 -e DEBUG=1 web env", "one command as root, with a variable"),
    ),
    "logs": (("minirun logs -f --tail 10 web", "the last ten lines, and what comes"),),
    "ps": (
        ("minirun ps -a --filter status=exited", "the containers that have ended"),
        ("minirun ps --format '{{.Names}}: {{.Status}}'", "a line of your own for each"),
    ),
    "inspect": (("minirun inspect -f '{{.State.Pid}}' web", "one field"),),
    "load": (("docker save nginx | minirun load", "an image from Docker"),),
    "import": (("tar -C rootfs -c . | minirun import -c 'CMD [\"sh\"]' - own:1", "an image from a directory"),),
    "explain": (("minirun --explain run --rm busybox true", "see the steps at work"),),
    "completion": (("source <(minirun completion bash)", "completion in this shell"),),
    "kill": (("minirun kill -s HUP web", "have a server read its configuration again"),),
    "rm": (("minirun ps -aq | xargs minirun rm -f", "remove all containers"),),
}


def write_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write a command's options, and examples."""
    options = [option for option in command.get_params(ctx) if isinstance(option, click.Option) and not option.hidden]
    for option in options:
        option.metavar = option.metavar or METAVARS.get(long_name(option))
    own = sorted((option for option in options if option.name not in _WATCHING), key=long_name)
    watching = [option for option in options if option.name in _WATCHING]
    if command.name in ("run", "create"):
        for title, names in _GROUPS.items():
            order = [f"--{name}" for name in names.split()]
            # Not by the alphabet but by use: the first group is what most people need.
            key = order.index if title == "Most used" else str
            group = sorted((option for option in own if long_name(option) in order), key=lambda o: key(long_name(o)))
            _write(title, group, ctx, formatter)
        _write("Every command", watching, ctx, formatter)
    else:
        _write("Options", [*own, *watching], ctx, formatter)
    _write_examples(EXAMPLES.get(command.name or "", ()), formatter)


def _write(title: str, options: Iterable[click.Option], ctx: click.Context, formatter: click.HelpFormatter) -> None:
    rows = [row for option in options if (row := option.get_help_record(ctx))]
    with formatter.section(title):
        formatter.write_dl(rows)


def _write_examples(examples: Sequence[tuple[str, str]], formatter: click.HelpFormatter) -> None:
    if not examples:
        return
    with formatter.section("Examples" if len(examples) > 1 else "Example"):
        for line, meaning in examples:
            formatter.write(
                f"{'':>{formatter.current_indent}}{line}\n{'':>{formatter.current_indent + 4}}# {meaning}\n"
            )


def long_name(option: click.Option) -> str:
    """Return the first long name of an option, which sorts it."""
    return next((name for name in option.opts if name.startswith("--")), option.opts[0])

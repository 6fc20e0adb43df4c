"""What `--help` prints, made of the tables by click: options sorted, those of `run` in groups, verbs, and examples.

Imported for help only.
"""

from __future__ import annotations

from textwrap import dedent

import click

from minirun.cli.call import with_common
from minirun.cli.verbs.table import MINIRUN, SECTIONS, Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from minirun.cli.grammar import Flag, Verb

# What the value of an option is called, in all commands; by its first long name.
METAVARS = {
    "--add-host": "NAME:ADDRESS",
    "--annotation": "NAME=VALUE",
    "--aux-address": "NAME=ADDRESS",
    "--attach": "STREAM",
    "--author": "NAME",
    "--build-arg": "NAME[=VALUE]",
    "--build-context": "NAME=DIRECTORY",
    "--cap-add": "CAPABILITY",
    "--cap-drop": "CAPABILITY",
    "--change": "INSTRUCTION",
    "--compression": "FORMAT",
    "--cidfile": "FILE",
    "--cgroupns": "MODE",
    "--cpu-period": "MICROSECONDS",
    "--cpu-quota": "MICROSECONDS",
    "--cpu-shares": "WEIGHT",
    "--cpus": "NUMBER",
    "--cpuset-cpus": "LIST",
    "--cpuset-mems": "LIST",
    "--detach-keys": "KEYS",
    "--driver": "DRIVER",
    "--gateway": "ADDRESS",
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
    "--file": "FILE",
    "--filter": "NAME=VALUE",
    "--format": "TEMPLATE",
    "--group-add": "GROUP",
    "--hostname": "NAME",
    "--htpasswd": "FILE",
    "--iidfile": "FILE",
    "--input": "FILE",
    "--ip": "ADDRESS",
    "--ip-range": "SUBNET",
    "--ipc": "MODE",
    "--label": "NAME=VALUE",
    "--label-file": "FILE",
    "--last": "COUNT",
    "--listen": "[ADDRESS]:PORT",
    "--log-driver": "DRIVER",
    "--log-opt": "NAME=VALUE",
    "--mac-address": "ADDRESS",
    "--memory": "SIZE",
    "--memory-reservation": "SIZE",
    "--memory-swap": "SIZE",
    "--message": "COMMENT",
    "--mount": "FIELD=VALUE,...",
    "--name": "NAME",
    "--no-cache-filter": "STAGE",
    "--network": "NETWORK",
    "--network-alias": "NAME",
    "--oom-score-adj": "NUMBER",
    "--opt": "NAME=VALUE",
    "--output": "FILE",
    "--pid": "MODE",
    "--pids-limit": "COUNT",
    "--password": "PASSWORD",
    "--platform": "PLATFORM",
    "--progress": "STYLE",
    "--publish": "[[IP:]PORT:]PORT",
    "--pull": "POLICY",
    "--restart": "POLICY",
    "--root": "DIRECTORY",
    "--secret": "FIELD=VALUE,...",
    "--security-opt": "OPTION",
    "--shm-size": "SIZE",
    "--signal": "SIGNAL",
    "--since": "TIME",
    "--ssh": "ID[=SOCKET]",
    "--state": "DIRECTORY",
    "--stop-signal": "SIGNAL",
    "--subnet": "SUBNET",
    "--stop-timeout": "SECONDS",
    "--sysctl": "NAME=VALUE",
    "--tag": "NAME[:TAG]",
    "--tail": "COUNT",
    "--target": "STAGE",
    "--timeout": "SECONDS",
    "--tls-cert": "FILE",
    "--tls-key": "FILE",
    "--tmpfs": "DIRECTORY[:OPTIONS]",
    "--type": "KIND",
    "--ulimit": "NAME=SOFT[:HARD]",
    "--until": "TIME",
    "--username": "USER",
    "--user": "USER[:GROUP]",
    "--uts": "MODE",
    "--volume": "SOURCE:DIRECTORY[:ro]",
    "--volume-driver": "DRIVER",
    "--volumes-from": "CONTAINER[:ro]",
    "--workdir": "DIRECTORY",
}
_WIDEST = 120  # columns
_WATCHING = ("explain", "debug", "help")
# The options of `run` and `create` by what they are about.
_GROUPS = {
    "Most used": "detach interactive tty rm name env publish volume workdir user entrypoint network memory cpus",
    "Network": (
        "add-host dns dns-option dns-search domainname expose hostname ip mac-address network-alias publish-all"
    ),
    "Files": "device mount read-only shm-size tmpfs volume-driver volumes-from",
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


def help_text(path: str, here: Group | Verb) -> str:
    """Return the help of what was reached by `path`."""
    formatter = click.HelpFormatter(max_width=_WIDEST)
    arguments = "COMMAND [ARGS]..." if isinstance(here, Group) else here.arguments
    formatter.write_usage(path, f"[OPTIONS] {arguments}".rstrip())
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(_about(here))
    name = path.rpartition(" ")[2]
    flags = [flag for flag in with_common(here.flags) if flag.about]
    own = sorted((flag for flag in flags if flag.key not in _WATCHING), key=lambda flag: flag.key)
    watching = [flag for flag in flags if flag.key in _WATCHING]
    if name in ("run", "create"):
        for title, names in _GROUPS.items():
            order = names.split()
            # Not by the alphabet but by use: the first group is what most people need.
            by = order.index if title == "Most used" else str
            _write(title, sorted((f for f in own if f.key in order), key=lambda f: by(f.key)), formatter)
        _write("Every command", watching, formatter)
    else:
        _write("Options", [*own, *watching], formatter)
    if isinstance(here, Group):
        for section, verbs in SECTIONS.items() if here is MINIRUN else (("Commands", here.verbs),):
            with formatter.section(section):
                formatter.write_dl([(verb, summary(here.find(verb))) for verb in verbs])
    else:
        _write_examples(here.examples, formatter)
    return formatter.getvalue().rstrip("\n")


def _about(here: Group | Verb) -> str:
    return here.about if isinstance(here, Group) else dedent(f"    {here.function.__doc__}").strip()


def summary(here: Group | Verb | None) -> str:
    """Return the line that lists show: the first sentence, unless there is a shorter one."""
    if here is None:
        return ""
    return here.summary or _about(here).partition("\n\n")[0].replace("\n", " ").rstrip(".")


def _write(title: str, flags: Iterable[Flag], formatter: click.HelpFormatter) -> None:
    rows = [(_spelled(flag), flag.about) for flag in flags]
    with formatter.section(title):
        formatter.write_dl(rows)


def _spelled(flag: Flag) -> str:
    value = "" if flag.kind == "switch" else f" {METAVARS[f'--{flag.key}']}"
    return f"{', '.join(flag.names)}{value}"


def _write_examples(examples: Sequence[tuple[str, str]], formatter: click.HelpFormatter) -> None:
    if not examples:
        return
    with formatter.section("Examples" if len(examples) > 1 else "Example"):
        for line, meaning in examples:
            formatter.write(
                f"{'':>{formatter.current_indent}}{line}\n{'':>{formatter.current_indent + 4}}# {meaning}\n"
            )

"""Variables: which there are at each place of a Dockerfile.

Source: Dockerfile reference, "ARG" ("Scope", "Using ARG variables", "Predefined ARGs", "Automatic platform ARGs") and
"ENV". Of ARG and ENV with one name, the later counts, as BuildKit has it.
"""

from __future__ import annotations

from minirun.build.dockerfile.error import DockerfileError
from minirun.build.variables.words import expand
from minirun.kernel.cpu import host_platform
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from minirun.build.dockerfile.instructions import Arg, Env
    from minirun.model.platform import Platform

_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
# The builder's own arguments, which no ARG has to take: "BuildKit built-in build args".
_BUILDERS = ("BUILDKIT_", "SOURCE_DATE_EPOCH")
_DEFAULT_TARGET = "default"  # what TARGETSTAGE says of a target that has no name


class Scope(Record):
    """The variables of a stage at one place: a new Scope comes after each ARG and ENV.

    `variables` is what `$x` stands for, and also the environment of RUN. `environment` is the part of it that the image
    keeps. `args` are those that ARG has declared, in this order, with their values, None where there is none: history
    names them.
    """

    variables: dict[str, str]
    environment: dict[str, str]
    args: dict[str, str | None]

    def after_arg(self, arg: Arg, build_args: Mapping[str, str], global_args: Mapping[str, str], escape: str) -> Scope:
        """Return the scope after an ARG: values are those of the build's caller, or else the defaults, or else global.

        Without any, a variable of this name stays what it is. Raises DockerfileError.
        """
        variables = dict(self.variables)
        args = dict(self.args)
        for word, default in arg.variables:
            name = _value("", word, {}, variables, escape, arg.line) or word
            value = _value(name, default, build_args, variables, escape, arg.line)
            if value is None:
                value = global_args.get(name)
            args[name] = value
            if value is not None:
                variables[name] = value
        return self.replace(variables=variables, args=args)

    def after_env(self, env: Env) -> Scope:
        """Return the scope after an ENV whose words are expanded."""
        new = dict(env.variables)
        return self.replace(variables=self.variables | new, environment=self.environment | new)


def first_scope(environment: Iterable[str]) -> Scope:
    """Return the scope of a stage that begins with an image, whose config's "Env" this is."""
    variables = {name: value for name, _, value in (item.partition("=") for item in environment)}
    return Scope(variables, variables, {})


def global_scope(
    args: Iterable[Arg], build_args: Mapping[str, str], predefined: Mapping[str, str], escape: str
) -> dict[str, str]:
    """Return the variables that FROM sees: those of ARGs before the first one, and the predefined ones.

    An ARG without a value takes away what there was of its name. Raises DockerfileError.
    """
    variables = dict(predefined)
    for arg in args:
        for name, default in arg.variables:
            value = _value(name, default, build_args, variables, escape, arg.line)
            if value is None:
                variables.pop(name, None)
            else:
                variables[name] = value
    return variables


def _value(
    name: str,
    default: str | None,
    build_args: Mapping[str, str],
    variables: Mapping[str, str],
    escape: str,
    line: int,
) -> str | None:
    """Return what the caller gave for an ARG, or else its default expanded, if it has one."""
    if name in build_args:
        return build_args[name]
    try:
        return None if default is None else expand(default, variables, escape)
    except DockerfileError as error:
        raise error.at(line) from None


def build_platform() -> Platform:
    """Return the platform that builds run on, and build for if nothing else is said: any amd64, as BuildKit has it."""
    platform = host_platform()
    return platform.replace(variant="") if platform.architecture == "amd64" else platform


def platform_variables(target: Platform, build: Platform, target_stage: str = "") -> dict[str, str]:
    """Return the automatic platform ARGs; `target_stage` is the name of the stage that is asked for."""
    return {
        "BUILDPLATFORM": str(build),
        "BUILDOS": build.os,
        "BUILDARCH": build.architecture,
        "BUILDVARIANT": build.variant,
        "TARGETPLATFORM": str(target),
        "TARGETOS": target.os,
        "TARGETARCH": target.architecture,
        "TARGETVARIANT": target.variant,
        "TARGETSTAGE": target_stage or _DEFAULT_TARGET,
    }


def proxy_environment(build_args: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that the predefined proxy ARGs give to RUN without being declared, in either case.

    They are neither in the image, nor in its history, nor does a step miss the cache for them.
    """
    environment: dict[str, str] = {}
    for name, value in build_args.items():
        if name.lower() in _PROXIES:
            environment |= {name.upper(): value, name.lower(): value}
    return environment


def unused_build_args(build_args: Iterable[str], args: Iterable[Arg]) -> tuple[str, ...]:
    """Return the build arguments that no ARG of the Dockerfile takes, sorted: BuildKit warns of them."""
    declared = {name for arg in args for name, _ in arg.variables}
    return tuple(
        sorted(
            name
            for name in build_args
            if name not in declared and name.lower() not in _PROXIES and not name.startswith(_BUILDERS)
        )
    )

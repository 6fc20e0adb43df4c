"""Dockerfile instructions of `import --change` and `commit --change`."""

from __future__ import annotations

from typing import Any

import pytest

from minirun.build.changes import apply_changes
from minirun.engine.durations import duration_ns
from minirun.errors import MinirunError


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        (['CMD ["a", "b c"]'], {"Cmd": ["a", "b c"]}),
        (["CMD a  $b"], {"Cmd": ["/bin/sh", "-c", "a  $b"]}),
        (["cmd [not json"], {"Cmd": ["/bin/sh", "-c", "[not json"]}),
        (
            ['SHELL ["/bin/ash", "-c"]', "ENTRYPOINT x"],
            {"Shell": ["/bin/ash", "-c"], "Entrypoint": ["/bin/ash", "-c", "x"]},
        ),
        (["ENV A=b C='d e'", "ENV A=f"], {"Env": ["A=f", "C=d e"]}),
        (["ENV PATH /a b"], {"Env": ["PATH=/a b"]}),
        (["LABEL a=b", "LABEL c=d"], {"Labels": {"a": "b", "c": "d"}}),
        (
            ["EXPOSE 80 53/udp 90-92"],
            {"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "90/tcp": {}, "91/tcp": {}, "92/tcp": {}}},
        ),
        (["VOLUME /a /b", 'VOLUME ["/c d"]'], {"Volumes": {"/a": {}, "/b": {}, "/c d": {}}}),
        (["WORKDIR /a", "WORKDIR b/../c"], {"WorkingDir": "/a/c"}),
        (["USER www:www", "STOPSIGNAL SIGUSR1"], {"User": "www:www", "StopSignal": "SIGUSR1"}),
        (["ONBUILD RUN x", "ONBUILD CMD y"], {"OnBuild": ["RUN x", "CMD y"]}),
        (["HEALTHCHECK NONE"], {"Healthcheck": {"Test": ["NONE"]}}),
        (
            ["HEALTHCHECK --interval=1m30s --retries=2 CMD curl x"],
            {"Healthcheck": {"Interval": 90 * 10**9, "Retries": 2, "Test": ["CMD-SHELL", "curl x"]}},
        ),
        (['HEALTHCHECK CMD ["x"]'], {"Healthcheck": {"Test": ["CMD", "x"]}}),
    ],
)
def test_instructions(changes: list[str], config: dict[str, Any]) -> None:
    assert apply_changes({}, tuple(changes)) == config


@pytest.mark.parametrize(
    "change",
    [
        "",
        "RUN x",
        "FROM y",
        "ENV A",
        "EXPOSE x",
        "EXPOSE 80/icmp",
        "STOPSIGNAL NOPE",
        "LABEL a=b c",
        "HEALTHCHECK x",
        "HEALTHCHECK --interval=x CMD y",
        "HEALTHCHECK --no=1 CMD y",
        "ONBUILD FROM x",
        "SHELL x",
        "ENV 'A=b",
    ],
)
def test_wrong_instructions_are_errors(change: str) -> None:
    with pytest.raises(MinirunError, match="invalid --change") as caught:
        apply_changes({}, (change,))
    assert caught.value.exit_code == 1


def test_durations() -> None:
    assert duration_ns("1h1m1.5s") == 3_661_500_000_000
    with pytest.raises(MinirunError):
        duration_ns("10")


def test_the_given_config_is_left_alone() -> None:
    config = {"Env": ["A=b"]}
    apply_changes(config, ("ENV C=d",))
    assert config == {"Env": ["A=b"]}

"""References as Docker reads them (distribution/reference)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.errors import MinirunError
from minirun.model.image import ImageRef

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("someone/app:v1", "docker.io/someone/app:v1", "someone/app:v1"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app:x", "localhost:5000/app:x", "localhost:5000/app:x"),
        ("quay.io/a/b/c", "quay.io/a/b/c:latest", "quay.io/a/b/c:latest"),
        ("Registry/app", "Registry/app:latest", "Registry/app:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}", f"busybox@{DIGEST}"),
        (f"busybox:1@{DIGEST}", f"docker.io/library/busybox:1@{DIGEST}", f"busybox:1@{DIGEST}"),
        ("a__b/c--d.e_f", "docker.io/a__b/c--d.e_f:latest", "a__b/c--d.e_f:latest"),
    ],
)
def test_names_are_completed(text: str, full: str, familiar: str) -> None:
    ref = ImageRef.parse(text)
    assert (str(ref), ref.familiar) == (full, familiar)
    assert ImageRef.parse(str(ref)) == ref
    assert ImageRef.parse(ref.familiar) == ref


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":x",
        "/a",
        "a/",
        "a//b",
        "BUSYBOX",
        "a:b:c",
        "a:",
        "a:-x",
        "a@sha256:123",
        "a@",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "a b",
        "a\n",
        "a:b\n",
        "ä",
        "a:" + "x" * 129,
        "x" * 300,
        "a" * 64,
        "http://a/b",
        "host:port/a",
    ],
)
def test_bad_references_are_refused_as_docker_words_it(text: str) -> None:
    with pytest.raises(MinirunError, match="invalid reference format") as caught:
        ImageRef.parse(text)
    assert caught.value.exit_code == 125


@given(st.text(max_size=40))
def test_any_text_is_a_reference_or_an_error_of_ours(text: str) -> None:
    try:
        ref = ImageRef.parse(text)
    except MinirunError:
        return
    assert ImageRef.parse(str(ref)) == ref

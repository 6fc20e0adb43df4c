"""Capability names, masks and Docker's arithmetic."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.engine.spec.capabilities import DEFAULT, container_capabilities, oci_capabilities
from minirun.errors import MinirunError
from minirun.kernel.privilege import available_capabilities
from minirun.model.capabilities import NAMES, mask, names

EVERYTHING = frozenset(NAMES)


def test_the_numbers_are_the_kernel_headers() -> None:
    with open("/usr/include/linux/capability.h", encoding="ascii") as header:
        defined = re.findall(r"^#define\s+(CAP_[A-Z_]+)\s+(\d+)\s*$", header.read(), re.MULTILINE)
    assert [(name, str(number)) for number, name in enumerate(NAMES)] == defined


def test_masks() -> None:
    assert mask(()) == 0
    assert mask(["CAP_CHOWN"]) == 1
    assert mask(["CAP_CHECKPOINT_RESTORE", "CAP_CHOWN"]) == 1 << 40 | 1
    assert names(0x3) == ("CAP_CHOWN", "CAP_DAC_OVERRIDE")
    assert names(2**64 - 1) == NAMES  # a newer kernel's bits have no names yet
    with pytest.raises(MinirunError, match='invalid capability: "CAP_FLY"'):
        mask(["CAP_FLY"])


@given(st.sets(st.sampled_from(NAMES)))
def test_a_mask_and_its_names_are_the_same(some: set[str]) -> None:
    assert set(names(mask(some))) == some


def test_the_default_is_dockers() -> None:
    assert mask(DEFAULT) == 0xA80425FB


def granted(add: tuple[str, ...] = (), drop: tuple[str, ...] = (), privileged: bool = False) -> frozenset[str]:
    return container_capabilities(add, drop, privileged, EVERYTHING - {"CAP_SYS_RESOURCE"})


@pytest.mark.parametrize("spelling", ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_Net_Admin"])
def test_spellings(spelling: str) -> None:
    assert granted(add=(spelling,)) == DEFAULT | {"CAP_NET_ADMIN"}
    assert granted(add=("NET_ADMIN",), drop=("ALL",)) == {"CAP_NET_ADMIN"}


def test_dockers_arithmetic() -> None:
    host = EVERYTHING - {"CAP_SYS_RESOURCE"}
    assert granted() == DEFAULT
    assert granted(drop=("CHOWN", "sys_time")) == DEFAULT - {"CAP_CHOWN"}
    assert granted(add=("CHOWN",), drop=("CHOWN",)) == DEFAULT  # dropped first, then added
    assert granted(drop=("ALL",)) == frozenset()
    assert granted(drop=("all",), add=("KILL", "chown")) == {"CAP_KILL", "CAP_CHOWN"}
    assert granted(add=("ALL",)) == host
    assert granted(add=("ALL",), drop=("SYS_ADMIN",)) == host - {"CAP_SYS_ADMIN"}
    assert granted(add=("CAP_ALL",), drop=("ALL",)) == host
    assert granted(privileged=True) == host
    assert granted(privileged=True, drop=("ALL",)) == host


@pytest.mark.parametrize("word", ["", "CAP_", "FLY", "CAP_CAP_CHOWN", "CHOWN ", "CHOWN,KILL", "21"])
def test_what_is_no_capability_is_an_error(word: str) -> None:
    for arguments in (((word,), ()), ((), (word,))):
        with pytest.raises(MinirunError) as caught:
            container_capabilities(*arguments, False, EVERYTHING)
        assert caught.value.message == f'invalid capability: "{word}"'
        assert caught.value.exit_code == 125


def test_nobody_can_give_what_he_has_not() -> None:
    with pytest.raises(MinirunError, match="CAP_SYS_RESOURCE: minirun does not have it itself"):
        granted(add=("SYS_RESOURCE",))
    assert granted(drop=("SYS_RESOURCE",)) == DEFAULT
    assert container_capabilities((), (), False, frozenset({"CAP_KILL"})) == {"CAP_KILL"}


def test_root_has_them_in_force() -> None:
    sets = oci_capabilities(frozenset({"CAP_KILL", "CAP_CHOWN"}), uid=0)
    both = ["CAP_CHOWN", "CAP_KILL"]
    assert sets == {"bounding": both, "effective": both, "permitted": both, "inheritable": [], "ambient": []}


def test_another_user_could_only_regain_them() -> None:
    sets = oci_capabilities(DEFAULT, uid=1000)
    assert mask(sets["bounding"]) == 0xA80425FB
    assert [sets[name] for name in ("effective", "permitted", "inheritable", "ambient")] == [[]] * 4


def test_what_this_process_has() -> None:
    with open("/proc/self/status", encoding="ascii") as status:
        fields = dict(line.split(":") for line in status if line.startswith("Cap"))
    both = int(fields["CapPrm"], 16) & int(fields["CapBnd"], 16)
    assert mask(available_capabilities()) == both & mask(NAMES)

"""The verbs `spec` and `features` of `minirun-oci`: what it needs, and what it can do."""

from __future__ import annotations

from minirun.cli.grammar import Verb, switch
from minirun.cli.oci.call import BUNDLE
from minirun.model import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.oci.call import Call


def spec(call: Call) -> None:
    """Write a template of config.json into the bundle."""
    from minirun.runtime.compat import spec_template

    spec_template.write(call.bundle(), rootless=call.switch("rootless"))


def features(call: Call) -> None:  # noqa: ARG001 - every verb takes the call
    """Print what this runtime can do (runtime-spec features.md)."""
    from minirun.runtime.compat import features as features_

    print(jsontext.dumps_for_people(features_.document()))


VERBS = {
    "spec": Verb(spec, (BUNDLE, switch("--rootless", "For a user without root."))),
    "features": Verb(features),
}

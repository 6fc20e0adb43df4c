"""A bundle on disk: a directory with a config.json and, mostly, a root file system (runtime-spec bundle.md)."""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.model import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import Spec


def load_spec(bundle: str, name: str = "config.json") -> Spec:
    """Read a bundle's config.json. Raises MinirunError."""
    from minirun.model.spec import Spec

    path = os.path.join(bundle, name)
    try:
        with open(path, encoding="utf-8") as file:
            return Spec.from_dict(jsontext.loads(file.read()))
    except FileNotFoundError:
        raise MinirunError(f"there is no {path}", "A bundle is a directory with a config.json.") from None
    except (ValueError, RecursionError) as error:
        raise MinirunError(f"{path} is not JSON: {error}") from None

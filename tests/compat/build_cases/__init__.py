"""Dockerfiles that Docker and minirun must agree on: each clause of the Dockerfile reference once."""

from __future__ import annotations

from .add import ADD
from .cache import CACHE
from .config import CONFIG
from .copy import COPY
from .language import LANGUAGE
from .mistakes import MISTAKES
from .run import RUN
from .stages import STAGES

CASES = [*LANGUAGE, *CONFIG, *STAGES, *COPY, *ADD, *RUN, *CACHE]

__all__ = ["CASES", "MISTAKES"]

"""Audit how well a model will generalize, why, and what to do next.

`heldout.audit(model, train=..., test=..., shifted={...})` returns a report. The verbs are
imported when they are first used, so that `import heldout` takes milliseconds.

>>> import heldout
>>> callable(heldout.audit)
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heldout.audit.api import audit as audit

__version__ = "0.1.0.dev0"

__all__ = ["__version__", "audit"]

# A verb is a package that can be called: `heldout.audit(...)` beside `heldout.audit.checks`.
_VERBS = ("audit",)


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_VERBS})

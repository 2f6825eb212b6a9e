"""Collect what a model does on its data, check it, and report: `heldout.audit(model, ...)`.

The package is also the verb: calling it calls `heldout.audit.api.audit`, which is imported only
then, since it needs torch.

>>> import heldout.audit
>>> callable(heldout.audit)
True
"""

from __future__ import annotations

import sys
from importlib import import_module
from inspect import Signature, signature
from types import ModuleType
from typing import Any


class _Verb(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function()(*args, **kwargs)

    # What `help`, completion and notebooks read: the signature of the function behind it.
    @property
    def __signature__(self) -> Signature:
        return signature(self._function())

    def _function(self) -> Any:
        return import_module(f"{self.__name__}.api").audit


sys.modules[__name__].__class__ = _Verb

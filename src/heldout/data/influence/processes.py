"""Processes that share the work: what torchrun started, or one alone."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

Say = Callable[[str], None]


@dataclass(frozen=True)
class Group:
    """Processes that work together; files are on a disk that all of them see."""

    rank: int = 0
    """Number of this process."""
    size: int = 1
    """How many there are."""
    device: torch.device = torch.device("cpu")
    """Where this process computes."""

    def share(self, n: int) -> range:
        """Return the consecutive numbers below n that are this process's.

        >>> [list(Group(r, 2).share(5)) for r in range(2)]
        [[0, 1, 2], [3, 4]]
        """
        each = -(-n // self.size)
        return range(min(n, self.rank * each), min(n, (self.rank + 1) * each))

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over the processes, in place."""
        if self.size > 1:
            sent = tensor.contiguous()
            dist.all_reduce(sent)
            tensor.copy_(sent)
        return tensor

    def from_(self, tensor: Tensor, rank: int) -> Tensor:
        """Overwrite a tensor with that of one process, in place."""
        if self.size > 1:
            # memory is sent as it lies, and eigenvectors lie column by column where they were made
            sent = tensor.contiguous()
            dist.broadcast(sent, rank)
            tensor.copy_(sent)
        return tensor

    def largest(self, value: int) -> int:
        """Return the largest of the processes' values on all of them.

        >>> Group().largest(3)
        3
        """
        if self.size == 1:
            return value
        found = torch.tensor(value, device=self.device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def agree(self, value: Any) -> Any:
        """Return the first process' value on all of them: what it saw on disk."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0)
        return box[0]


@contextmanager
def processes() -> Iterator[Group]:
    """Join the processes that torchrun started; alone without it.

    NCCL where CUDA is, gloo elsewhere. A process group that exists already is used and left.
    """
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
    own = not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", 1)) > 1
    if own:
        # Its functions hold the group that there is when they are defined, as a default argument.
        # Imported later (transformers does), they would keep it and its threads past its end, and
        # such a thread may crash a process that exits.
        importlib.import_module("torch.distributed.nn")
        dist.init_process_group("nccl" if cuda else "gloo")
    try:
        if dist.is_initialized():
            yield Group(dist.get_rank(), dist.get_world_size(), device)
        else:
            yield Group(device=device)
    finally:
        if own:
            dist.destroy_process_group()

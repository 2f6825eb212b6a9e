"""What every test shares: one thread, and the same hypothesis examples on every run of CI."""

from __future__ import annotations

import os

import hypothesis
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, database=None)
hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

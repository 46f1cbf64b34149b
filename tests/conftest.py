"""Settings that all tests share."""

from __future__ import annotations

import os

import hypothesis
import pytest
import torch

# The examples are the same in every run ("ci"), fewer in the fast loop ("fast"), unless someone hunts for new ones with
# HYPOTHESIS_PROFILE=search.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None, max_examples=25)
hypothesis.settings.register_profile("fast", hypothesis.settings.get_profile("ci"), max_examples=10)
hypothesis.settings.register_profile("search", deadline=None, max_examples=500)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(20)

"""One healthy corpus for all; every test gets lists of its own."""

from __future__ import annotations

import pytest
from tests.diagnosis.patients import Splits, healthy


@pytest.fixture(scope="session")
def _healthy(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return healthy(tmp_path_factory.mktemp("healthy"))


@pytest.fixture
def splits(_healthy: Splits) -> Splits:
    return {side: list(utterances) for side, utterances in _healthy.items()}

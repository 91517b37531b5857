"""Apertium unpacked: translations come back line by line, whatever a line holds."""

from __future__ import annotations

import pytest
from benchmarks.machine_translated import PACKAGES, translate
from tests.conftest import fetched

from xlasr.data.readers.debian import fetch_tree


@pytest.mark.real
def test_translations_in_their_order() -> None:
    fetched(lambda: fetch_tree(PACKAGES))
    found, unknown = translate(
        ["La conferencia ha sido extendida.", "Agente conectado", "El xyzzy [1] es * mío.", "¿Sí?"]
    )
    assert found[:2] == ["La conferenza è stata estesa.", "Agente connesso"]
    assert "xyzzy [1]" in found[2] and "*xyzzy" not in found[2]
    assert found[3].startswith("¿") or "Sì" in found[3]
    assert unknown == 1

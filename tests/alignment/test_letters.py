"""Letters that begin as phones: a pronunciation that was planted is found again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from xlasr.alignment.letters import HeardLetters, begin_as, hear_letters
from xlasr.errors import DataError

Phones = list[tuple[int, ...]]
BLANK, P, A, U, SH, N = range(6)
PLAIN: Phones = [(P,), (A,), (U,), (SH,), (N,)]  # letters: p a u š n
SILENT: Phones = [*PLAIN, ()]  # and one that nobody says
DOUBLE: Phones = [*PLAIN, (N, A)]  # and one that is two phones


def say(
    rng: np.random.Generator, phones: Phones, letters: list[int], wrong: float
) -> NDArray[np.float64]:
    """Peaky posteriors as CTC gives them: a spike a phone, blanks and pauses between."""
    rows: list[int] = [BLANK] * int(rng.integers(1, 20))
    for letter in letters:
        for phone in phones[letter]:
            rows += [int(rng.integers(1, 6)) if rng.random() < wrong else phone]
            rows += [BLANK] * int(rng.integers(1, 5))
        if rng.random() < 0.2:
            rows += [BLANK] * int(rng.integers(5, 30))
    rows += [BLANK] * int(rng.integers(1, 40))
    posteriors = np.full((len(rows), 6), 0.004)
    posteriors[np.arange(len(rows)), rows] = 0.98
    return np.log(posteriors)


@pytest.mark.parametrize("wrong", [0.0, 0.2])
@pytest.mark.parametrize("phones", [PLAIN, SILENT, DOUBLE], ids=["plain", "silent", "double"])
def test_each_letter_is_heard_as_its_phone(phones: Phones, wrong: float) -> None:
    rng = np.random.default_rng(3)
    n = len(phones)
    texts = [rng.integers(0, n, size=int(rng.integers(4, 15))).tolist() for _ in range(60)]
    heard = [say(rng, phones, text, wrong) for text in texts]
    ids = [[letter + 1 for letter in text] for text in texts]
    table = hear_letters(heard, ids, n + 1)  # the last one is never written
    for letter, own in enumerate(phones):
        if own:
            assert int(table.phones[letter].argmax()) in own
            if len(own) == 1 and phones is not DOUBLE:
                assert table.phones[letter, own[0]] > 0.9 - wrong
            assert table.mass[letter] > 0.6
    if phones is SILENT and not wrong:
        assert table.mass[5] < 0.2
    assert table.mass[n] == 0 and not table.phones[n].any()
    assert not table.phones[:, BLANK].any()
    assert table.phones[:n].sum(axis=1) == pytest.approx(1.0)
    # an even start alone does not know it
    even = hear_letters(heard, ids, n, rounds=0)
    if phones is not PLAIN:
        assert even.phones[0, P] < 0.75 * table.phones[0, P]


def test_rows_of_a_head() -> None:
    torch.manual_seed(0)
    phones, letters = nn.Linear(4, 6), nn.Linear(4, 4)
    random = letters.weight.detach().clone()
    table = HeardLetters(
        np.array([[0, 1.0, 0, 0, 0, 0], [0, 0, 0.25, 0.75, 0, 0], [0, 0, 0, 0, 1.0, 0]]),
        np.array([1.0, 0.9, 0.1]),
    )
    begin_as(letters, phones, table)
    assert torch.equal(letters.weight[0], phones.weight[0])  # the blank stays what it was
    assert torch.equal(letters.weight[1], phones.weight[1])
    torch.testing.assert_close(letters.bias[1], phones.bias[1])
    mixed = 0.25 * phones.weight[2] + 0.75 * phones.weight[3]
    torch.testing.assert_close(letters.weight[2], mixed)
    assert torch.equal(letters.weight[3], random[3])  # heard as nothing


def test_nothing_to_hear() -> None:
    with pytest.raises(DataError, match="found no clip"):
        hear_letters([], [], 3)

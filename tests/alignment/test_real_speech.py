"""Real speech through a real encoder: words of an unsegmented text are found in their clips.

No CTC model can be fetched cheaply, so one is made here: tiny.en's encoder, frozen, and a head of
letters that hears fourteen telephone prompts ninety times. It knows these prompts by heart, so this
says that cutting works on real sound and real posteriors, not how well it works on new speech
(``benchmarks/alignment.py`` does).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from xlasr.alignment.segment import segment
from xlasr.config import ObjectiveSettings
from xlasr.data.audio import decode
from xlasr.data.quarantine import Quarantine
from xlasr.data.readers import READERS, ReadOptions
from xlasr.data.text import normalise
from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.run import from_base
from xlasr.models.tokenizer import CharTokenizer
from xlasr.objectives.ctc import ctc_loss

Clip = NDArray[np.float32]


def prompts(tree: Path) -> tuple[list[Clip], list[str]]:
    """Prompts of 3 to 6 s without numbers, and their texts with punctuation."""
    records = [
        record
        for record in READERS["asterisk"](tree, ReadOptions(language="en"), Quarantine())
        if 24_000 <= record.audio.stat().st_size <= 48_000
        and not set("0123456789…") & {*record.text}
    ]
    chosen = [r for r in records[::3] if not set("(.#") & {*r.text[:-1]}][:14]
    return [decode(r.audio) for r in chosen], [r.text for r in chosen]


def by_heart(model: CTCModel, clips: list[Clip], texts: list[str]) -> CTCModel:
    """Train the head on what the frozen encoder makes of the clips."""
    with torch.no_grad():
        features = [model.features([clip]) for clip in clips]
        states = [model.encoder(f)[0, : int(model.out_lens(f.input_lens)[0])] for f in features]
    lens = torch.tensor([len(clip) for clip in clips])
    together = pad_sequence(states, batch_first=True)
    optimizer = torch.optim.Adam(model.head.parameters(), lr=0.03)
    for _ in range(90):
        loss = ctc_loss(model, together, lens, texts, ObjectiveSettings(kind="ctc"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.4  # natural log a letter: most of it is known
    return model


@pytest.mark.real
@pytest.mark.slow
def test_the_words_of_real_prompts_are_found_in_their_clips(
    asterisk_tree: Path, tiny_en_dir: Path
) -> None:
    clips, texts = prompts(asterisk_tree)
    assert len(clips) == 14
    spelled = [normalise(text) for text in texts]
    torch.manual_seed(0)
    alphabet = CharTokenizer.from_texts(spelled)
    base = find_base(str(tiny_en_dir))
    model = from_base(base, "ctc", context=Context(), language="en", alphabet=alphabet).eval()
    assert isinstance(model, CTCModel)
    by_heart(model, clips, spelled)
    borders = np.cumsum([0, *map(len, clips)]) / 16_000
    untold, unsaid = 9, "Quick brown foxes jump over lazy dogs in my garden every evening."
    written = [(i, text) for i, text in enumerate(texts) if i != untold]
    written.insert(4, (-1, unsaid))
    found = segment(model, [np.concatenate(clips)], " ".join(text for _, text in written))

    told = [(i, word) for i, text in written for word in text.split()]
    words = [word for u in found.utterances for word in u.words]
    inside, at = 0, 0
    for word in words:  # in the order of the text; some may be left out
        at = next(k for k in range(at, len(told)) if told[k][1] == word.text)
        clip = told[at][0]
        middle = (word.start_s + word.end_s) / 2
        inside += clip >= 0 and borders[clip] <= middle <= borders[clip + 1]
        at += 1
    assert inside >= 0.9 * (len(told) - len(unsaid.split()))
    assert inside >= 0.95 * len(words)
    assert max(u.end_s - u.start_s for u in found.utterances) <= 15
    left = " ".join(item.text for item in found.left_out if item.what == "text")
    assert "brown foxes jump over lazy dogs in my garden" in left
    first, last = borders[untold] + 0.3, borders[untold + 1] - 0.3
    assert not [u for u in found.utterances if u.start_s < last and u.end_s > first]
    assert [i for i in found.left_out if i.what == "audio" and i.start_s < last and i.end_s > first]

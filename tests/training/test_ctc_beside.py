"""A CTC head beside a transducer warms the encoder up, writes meanwhile, aligns.

And runs of one family are bases of the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import torch

from xlasr import api
from xlasr.alignment.posteriors import aligner
from xlasr.decoding import ctc
from xlasr.decoding.recognise import recognise
from xlasr.errors import UsageError
from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.run import from_base, load_model, save_model
from xlasr.models.tokenizer import CharTokenizer
from xlasr.models.transducer import Transducer, TransducerShape

SIZES = {"predictor_dim": 32, "joiner_dim": 32}
CTC = {"kind": "ctc"}
LATTICE = {"kind": "transducer", "transducer": {"kind": "fused"}}
SHORT: dict[str, Any] = {"stop": {"updates": 6}, "evaluate": {"every": 6}}


def tiny(folder: Path, letters: str = "ab") -> Transducer:
    torch.manual_seed(0)
    model = from_base(
        find_base(str(folder)), "transducer", context=Context(8, 8), language="cs",
        alphabet=CharTokenizer(list(letters)), shape=TransducerShape(1, 8, 8),
    )  # fmt: skip
    assert isinstance(model, Transducer)
    return model.eval()


def test_warm_up_then_both_then_the_lattice_alone(
    whisper_dir: Path, speech: Path, tmp_path: Path
) -> None:
    warm = small.stage("transducer", name="warm", objectives=[CTC], **SHORT)
    both = small.stage(
        "transducer",
        name="both",
        init="warm",
        objectives=[LATTICE, {**CTC, "weight": 0.3}],
        **SHORT,
    )
    alone = small.stage("transducer", name="alone", init="both", objectives=[LATTICE], **SHORT)
    recipe = small.recipe("transducer", warm, both, alone, transducer=SIZES)
    run = api.adapt(speech, base=str(whisper_dir), recipe=recipe, out=tmp_path / "run", threads=1)
    folders = sorted((run.folder / "stages").iterdir())
    first, second, third = (load_model(folder / "model") for folder in folders)
    assert isinstance(first, Transducer) and isinstance(second, Transducer)
    assert isinstance(third, Transducer)
    assert (first.by_ctc, second.by_ctc, third.by_ctc) == (True, False, False)
    assert ["ctc" in m.aids for m in (first, second, third)] == [True, True, False]

    names = {n for n, _ in first.named_parameters() if n.startswith(("predictor", "joiner"))}
    started, went_on = dict(first.named_parameters()), dict(second.named_parameters())
    counted = [summary["trainable_parameters"] for summary in run.summaries]
    resting = sum(
        p.numel() for n, p in started.items() if n.startswith(("predictor", "joiner", "simple"))
    )
    head = sum(p.numel() for p in second.aids.parameters())
    assert counted[1] == counted[0] + resting == counted[2] + head
    assert all(not torch.equal(started[n], went_on[n]) for n in names if "weight" in n)
    assert not torch.equal(started["aids.ctc.weight"], went_on["aids.ctc.weight"])


def test_it_writes_by_its_ctc_head_until_the_joiner_is_trained(whisper_dir: Path) -> None:
    model = tiny(whisper_dir)
    head = model.aids["ctc"] = torch.nn.Linear(model.encoder.dim, 3)
    with torch.no_grad():
        head.bias.copy_(torch.tensor([-50.0, -50.0, 50.0]))  # writes b, whatever it hears
    clip = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    features = model.features([clip], None)
    with torch.inference_mode():
        states = model.encoder(features)
        best = ctc.greedy(model.log_probs(states), model.out_lens(features.input_lens))[0]
    lattice = recognise(model, [clip], [1.0])[0].text
    model.info["decoder"] = "ctc"
    assert recognise(model, [clip], [1.0])[0].text == model.tokenizer.decode(best).strip() == "b"
    assert lattice != "b"


def test_the_head_beside_aligns_and_nothing_else_does(whisper_dir: Path) -> None:
    model = tiny(whisper_dir)
    with pytest.raises(UsageError, match="no frames that stand for letters"):
        aligner(model)
    model.aids["ctc"] = torch.nn.Linear(model.encoder.dim, 3)
    beside = aligner(model)
    states = torch.randn(1, 4, model.encoder.dim)
    assert torch.equal(beside.log_probs(states), model.log_probs(states))


def test_a_ctc_run_becomes_a_transducer_and_back(
    whisper_dir: Path, speech: Path, tmp_path: Path
) -> None:
    of_ctc = small.recipe("ctc", small.stage("ctc", output={"mode": "replace"}, **SHORT))
    run = api.adapt(speech, base=str(whisper_dir), recipe=of_ctc, out=tmp_path / "ctc", threads=1)
    base = find_base(str(run.folder))
    kept = from_base(base, "transducer", context=Context(8, 8), language="cs")
    assert isinstance(kept, Transducer) and isinstance(run.model, CTCModel)
    assert kept.tokenizer.symbols == run.model.tokenizer.symbols
    assert torch.equal(kept.aids["ctc"].weight, run.model.head.weight)
    states = torch.randn(1, 4, kept.encoder.dim)
    assert torch.equal(kept.eval().log_probs(states), run.model.log_probs(states))

    lattice = small.stage("transducer", objectives=[LATTICE, CTC], **SHORT)
    recipe = small.recipe("transducer", lattice, transducer=SIZES)
    second = api.adapt(
        speech, base=str(run.folder), recipe=recipe, out=tmp_path / "lattice", threads=1
    )
    assert isinstance(second.model, Transducer) and not second.model.by_ctc
    assert second.model.tokenizer.symbols == run.model.tokenizer.symbols

    third = api.adapt(
        speech, base=str(second.folder), recipe=of_ctc, out=tmp_path / "again", threads=1
    )
    assert isinstance(third.model, CTCModel)


def test_min_wer_needs_a_joiner_that_writes(
    whisper_dir: Path, speech: Path, tmp_path: Path
) -> None:
    warm = small.stage("transducer", name="warm", objectives=[CTC], **SHORT)
    too_soon = small.stage(
        "transducer", name="sharpen", init="warm", objectives=[{"kind": "min_wer"}, CTC], **SHORT
    )
    recipe = small.recipe("transducer", warm, too_soon, transducer=SIZES)
    with pytest.raises(UsageError, match="stage 'sharpen': min_wer chooses between"):
        api.adapt(speech, base=str(whisper_dir), recipe=recipe, out=tmp_path / "run", threads=1)


def test_new_letters_leave_what_is_written_with_the_old_ones(
    whisper_dir: Path, tmp_path: Path
) -> None:
    model = tiny(whisper_dir)
    model.aids["ctc"] = torch.nn.Linear(model.encoder.dim, 3)
    states = torch.randn(1, 5, model.encoder.dim)

    def logits() -> torch.Tensor:
        encoder = model.joiner.encoder(states)[:, :, None]
        predictor = model.joiner.predictor(model.predict(torch.tensor([[1, 2]])))[:, None]
        return model.joiner(encoder, predictor)

    with torch.inference_mode():
        before, beside = logits(), model.aids["ctc"](states)
        simple = model.simple.encoder(states)
        model.extend(CharTokenizer(["a", "b", "c", "d"]))
        model.eval()
        now = (logits(), model.aids["ctc"](states), model.simple.encoder(states))
    for wider, narrow in zip(now, (before, beside, simple), strict=True):
        assert wider.shape[-1] == 5
        assert torch.allclose(wider[..., :3], narrow, atol=1e-6)
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(model, folder, whisper_dir)
    again = load_model(folder)
    assert torch.equal(again.state_dict()["aids.ctc.weight"], model.aids["ctc"].weight)


def test_letters_are_extended_by_a_recipe_and_pieces_are_not(
    whisper_dir: Path, speech: Path, tmp_path: Path
) -> None:
    other = small.write_speech(tmp_path / "nl", train=["abc", "cab", "bca xy"], language="nl")
    first = small.stage("transducer", name="one", objectives=[LATTICE], **SHORT)
    second = small.stage(
        "transducer", name="two", init="one", objectives=[LATTICE], output={"mode": "extend"},
        data=[{"path": str(other.path)}], **SHORT,
    )  # fmt: skip
    recipe = small.recipe("transducer", first, second, transducer=SIZES)
    run = api.adapt(speech, base=str(whisper_dir), recipe=recipe, out=tmp_path / "run", threads=1)
    letters = run.model.tokenizer.symbols
    assert {"x", "y"} <= set(letters)
    pieces = small.stage("transducer", name="one", output={"pieces": 10}, **SHORT)
    recipe = small.recipe("transducer", pieces, second, transducer=SIZES)
    with pytest.raises(UsageError, match="models that write letters"):
        api.adapt(speech, base=str(whisper_dir), recipe=recipe, out=tmp_path / "no", threads=1)

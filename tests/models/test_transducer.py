"""Predictor, joiner, pieces; a transducer on disk is what it was."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from tests import tiny

from xlasr.config import load_recipe
from xlasr.errors import BaseError, DataError, UsageError
from xlasr.models.aids import aids_wanted, set_aids
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.pieces import PieceTokenizer, load_symbols, symbol_tokenizer
from xlasr.models.run import from_base, load_model, save_model
from xlasr.models.tokenizer import CharTokenizer
from xlasr.models.transducer import Predictor, Transducer, TransducerShape

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
LINES = [" ".join(words) for words in itertools.permutations(tiny.WORDS.split()[:7], 3)]
SHAPE = TransducerShape(predictor_layers=2, predictor_dim=12, joiner_dim=10, modified=True)
KINDS = ["whisper", "wav2vec2", "w2v-bert"]


def build(folder: Path, kind: str, *, pieces: int | None = None) -> Transducer:
    path = tiny.whisper_dir(folder) if kind == "whisper" else tiny.speech_dir(folder, kind)
    torch.manual_seed(1)
    model = from_base(
        find_base(str(path)),
        "transducer",
        context=Context(8, 32),
        language="cs",
        alphabet=symbol_tokenizer(LINES, pieces),
        shape=SHAPE,
    )
    assert isinstance(model, Transducer)
    return model.eval()


def outputs(model: Transducer) -> tuple[torch.Tensor, torch.Tensor]:
    features = model.features([tiny.clip(0.5), tiny.clip(0.4, 1)])
    with torch.no_grad():
        logits, lens = model(features, torch.tensor([[1, 2, 3], [4, 4, 0]]))
    return logits, lens


# ---- the parts


def test_shapes() -> None:
    torch.manual_seed(0)
    predictor = Predictor(9, SHAPE).eval()
    found, (hidden, cell) = predictor(torch.tensor([[0, 3, 8], [0, 1, 1]]))
    assert found.shape == (2, 3, 12)
    assert hidden.shape == cell.shape == (2, 2, 12)
    large = Predictor(5001, TransducerShape(3, 512, 1024))
    lstm = sum(p.numel() for p in large.lstm.parameters())
    assert lstm == 3 * (4 * 512 * (512 + 512) + 2 * 4 * 512)  # as torch counts them
    assert sum(p.numel() for p in large.parameters()) == lstm + 5001 * 512 + 3 * 2 * 512


def test_token_by_token_is_teacher_forcing() -> None:
    torch.manual_seed(0)
    predictor = Predictor(9, SHAPE).eval()
    ids = torch.tensor([[0, 3, 8, 1], [0, 1, 1, 5]])
    whole, last = predictor(ids)
    state, steps = None, []
    for at in range(4):
        step, state = predictor(ids[:, at : at + 1], state)
        steps.append(step)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole)
    assert state is not None
    torch.testing.assert_close(state[0], last[0])


@pytest.mark.parametrize("kind", KINDS)
def test_logits_of_padded_clips_are_those_alone(tmp_path: Path, kind: str) -> None:
    model = build(tmp_path / "base", kind)
    logits, lens = outputs(model)
    n_classes = len(model.tokenizer)
    assert logits.shape == (2, logits.shape[1], 4, n_classes)
    assert (lens <= logits.shape[1]).all()
    positions = logits.shape[1] if kind == "whisper" else None
    with torch.no_grad():
        alone, _ = model(model.features([tiny.clip(0.4, 1)], positions), torch.tensor([[4, 4]]))
    frames = int(lens[1])
    torch.testing.assert_close(logits[1, :frames, :3], alone[0, :frames], atol=1e-4, rtol=1e-4)
    with pytest.raises(UsageError, match=r"targets of \(B, U\)"):
        model(model.features([tiny.clip(0.4)]), torch.tensor([1, 2]))


# ---- on disk


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pieces", [None, 24])
def test_what_was_saved_is_loaded_bit_by_bit(tmp_path: Path, kind: str, pieces: int | None) -> None:
    model = build(tmp_path / "base", kind, pieces=pieces)
    model.info["text"] = "raw"
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(model, folder, tmp_path / "base")
    again = load_model(folder)
    assert isinstance(again, Transducer)
    assert not again.training
    assert again.shape == SHAPE
    assert again.tokenizer.symbols == model.tokenizer.symbols
    assert again.info["text"] == "raw"
    assert torch.equal(outputs(again)[0], outputs(model)[0])


def test_a_finished_transducer_is_a_base(tmp_path: Path) -> None:
    model = build(tmp_path / "base", "whisper", pieces=24)
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(model, folder, tmp_path / "base")
    base = find_base(str(folder))
    assert base.families == ("ctc", "transducer")
    again = from_base(base, "transducer", context=Context(8, 32), language="nl")
    assert isinstance(again, Transducer)
    assert again.info["language"] == "nl"
    assert again.info["transducer"] == model.info["transducer"]
    assert torch.equal(outputs(again.eval())[0], outputs(model)[0])
    with pytest.raises(BaseError, match="families it serves: ctc, transducer"):
        from_base(base, "seq2seq", context=None, language="cs")


def large(n_symbols: int) -> Transducer:
    with torch.device("meta"):
        model = from_base(
            find_base("emformer-20"),
            "transducer",
            context=None,
            language="en",
            alphabet=CharTokenizer([chr(0x4E00 + i) for i in range(n_symbols - 1)]),
            shape=TransducerShape(**load_recipe("emformer-20").transducer.model_dump()),
        )
        assert isinstance(model, Transducer)
        set_aids(model, aids_wanted(model, ["transducer", "ctc"]), None)
    return model


def millions(*parts: torch.nn.Module) -> float:
    return round(sum(p.numel() for part in parts for p in part.parameters()) / 1e6, 1)


def test_the_large_one_has_the_size_of_torchaudios() -> None:
    model = large(4097)
    joiner = (model.joiner.predictor, model.joiner.output)
    assert millions(model.encoder, model.predictor, *joiner) == 76.7  # emformer_rnnt_base
    model = large(5001)
    assert millions(model.encoder) == 63.6
    assert millions(model.encoder, model.predictor, model.joiner) == 79.2
    assert millions(model) == 92.0  # and what only training needs


def test_new_symbols_keep_the_encoder(tmp_path: Path) -> None:
    model = build(tmp_path / "base", "whisper")
    before = {n: v.clone() for n, v in model.encoder.state_dict().items()}
    model.replace(CharTokenizer(list("abc")))
    assert model.joiner.output.out_features == model.simple.encoder.out_features == 4
    assert model.predictor.embedding.num_embeddings == 4
    assert all(torch.equal(v, before[n]) for n, v in model.encoder.state_dict().items())


def test_which_bases_serve_transducers(tmp_path: Path) -> None:
    assert "transducer" in find_base(str(tiny.whisper_dir(tmp_path / "w"))).families
    base = find_base(str(tiny.speech_dir(tmp_path / "s", "wav2vec2")))
    assert base.families == ("ctc", "transducer")
    with pytest.raises(BaseError, match="needs an alphabet"):
        from_base(base, "transducer", context=None, language="cs")
    pieces = PieceTokenizer.from_texts(LINES, 24)
    with pytest.raises(BaseError, match="spells letters"):
        from_base(base, "ctc", context=None, language="cs", alphabet=pieces)


# ---- pieces


def test_pieces_spell_the_text(tmp_path: Path) -> None:
    pieces = PieceTokenizer.from_texts(LINES, 30)
    assert len(pieces) == 30 == len(pieces.symbols) + 1
    for line in LINES[:20]:
        ids = pieces.encode(line)
        assert pieces.decode(ids) == line
        assert all(1 < i < 30 for i in ids)
        assert len(ids) < len(line)
    assert pieces.encode("") == []
    assert pieces.decode(pieces.encode("ahoj Ξ rybo")).split() == ["ahoj", "rybo"]
    assert pieces.unknown(["ahoj ΞΞ", "Ξß"]) == {"Ξ": 3, "ß": 1}
    pieces.save(tmp_path)
    again = load_symbols(tmp_path)
    assert isinstance(again, PieceTokenizer)
    assert again.symbols == pieces.symbols
    assert PieceTokenizer.from_texts(LINES, 30).symbols == pieces.symbols


def test_text_that_is_too_small_says_how_many_pieces_it_gives() -> None:
    with pytest.raises(DataError, match="too small for 5001 pieces: it gives at most") as caught:
        PieceTokenizer.from_texts(LINES, 5001)
    most = int(str(caught.value).split("at most ")[1].split(".")[0])
    assert len(PieceTokenizer.from_texts(LINES, most)) == most
    with pytest.raises(DataError, match="too small"):
        PieceTokenizer.from_texts(LINES, most + 1)
    with pytest.raises(DataError, match=r"5 pieces are too few.*at least") as caught:
        PieceTokenizer.from_texts(LINES, 5)
    least = int(str(caught.value).split("at least ")[1].split(".")[0])
    assert len(PieceTokenizer.from_texts(LINES, least)) == least
    with pytest.raises(DataError, match="no pieces could be learnt"):
        PieceTokenizer.from_texts([], 24)


def test_what_is_no_model_of_pieces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseError, match="cannot be read"):
        PieceTokenizer.load(tmp_path)
    (tmp_path / "pieces.model").write_bytes(b"rubbish")
    with pytest.raises(BaseError, match="no SentencePiece"):
        load_symbols(tmp_path)

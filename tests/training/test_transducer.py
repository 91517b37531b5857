"""A transducer is trained by the same loop: it learns to spell tones, and resumes exactly."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from tests.objectives.transducer_paths import by_hand

from xlasr import api
from xlasr.config import DecodeSettings, ObjectiveSettings, Recipe
from xlasr.data.learnt_text import LearntText
from xlasr.errors import ConfigError, DataError, Interrupted
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.pieces import PieceTokenizer
from xlasr.models.run import from_base
from xlasr.models.tokenizer import CharTokenizer
from xlasr.models.transducer import Transducer, TransducerShape
from xlasr.objectives import OBJECTIVES
from xlasr.training.engine import Trainer

SIZES = {"predictor_dim": 32, "joiner_dim": 32}


def plan(kind: str, *, modified: bool = False, **changes: Any) -> Recipe:
    objective = {"kind": "transducer", "transducer": {"kind": kind}}
    stage = small.stage("transducer", **{"objectives": [objective], **changes})
    context = {"slack": 8, "multiple": 8, "full_share": 0.0}
    sizes = {**SIZES, "modified": modified}
    return small.recipe("transducer", stage, transducer=sizes, context=context)


def tiny_transducer(folder: Path, *, modified: bool = False) -> Transducer:
    torch.manual_seed(0)
    shape = TransducerShape(1, 8, 8, modified)
    model = from_base(
        find_base(str(folder)), "transducer", context=Context(8, 8), language="cs",
        alphabet=CharTokenizer(["a", "b"]), shape=shape,
    )  # fmt: skip
    assert isinstance(model, Transducer)
    return model.eval()


def loss_of(model: Transducer, states: torch.Tensor, texts: list[str], **settings: Any) -> float:
    lens = torch.tensor([len(row) * 320 for row in states])
    objective = ObjectiveSettings.model_validate({"kind": "transducer", "transducer": settings})
    with torch.inference_mode():
        return float(OBJECTIVES["transducer"](model, states, lens, texts, objective))


# ---- the objective


@pytest.mark.parametrize("modified", [False, True])
def test_the_objective_is_the_loss_per_symbol(whisper_dir: Path, modified: bool) -> None:
    model = tiny_transducer(whisper_dir, modified=modified)
    states = torch.randn(3, 4, 16, generator=torch.Generator().manual_seed(0))
    texts = ["ab", "b?a", ""]  # the letter that is not in the alphabet is left out
    total = 0.0
    for row, ids in zip(states, ([1, 2], [2, 1], []), strict=True):
        joiner = model.joiner
        predicted = joiner.predictor(model.predict(torch.tensor([ids], dtype=torch.int64)))
        logits = joiner(joiner.encoder(row)[:, None], predicted)
        total += by_hand(logits.detach(), ids, 4, modified=modified)
    for kind in ("exact", "fused"):
        assert loss_of(model, states, texts, kind=kind) == pytest.approx(total / 4, rel=1e-5)
    wide = {"kind": "pruned", "range": 9}
    both = loss_of(model, states, texts, **wide, simple_scale=1.0, start_until=1e9)
    half = loss_of(model, states, texts, **wide, simple_scale=0.5, start_until=1e9)
    simple = 2 * (both - half)
    assert both - simple == pytest.approx(total / 4, rel=1e-4)
    early = loss_of(
        model, states, texts, **wide, simple_scale=1.0, start_scale=0.25, start_until=1e-9
    )
    assert early - simple == pytest.approx(0.25 * total / 4, rel=1e-4)
    assert loss_of(model, states, [""] * 3, kind="fused") > 0


@pytest.mark.parametrize("kind", ["exact", "fused", "pruned"])
def test_everything_but_what_a_kind_leaves_out_learns(whisper_dir: Path, kind: str) -> None:
    model = tiny_transducer(whisper_dir).train()
    states = torch.randn(2, 12, 16, requires_grad=True)
    settings = ObjectiveSettings.model_validate(
        {"kind": "transducer", "transducer": {"kind": kind}}
    )
    lens = torch.tensor([3840, 3000])
    OBJECTIVES["transducer"](model, states, lens, ["abba", "ba"], settings).backward()
    assert states.grad is not None and states.grad.abs().sum() > 0
    missing = {
        name.split(".")[0]
        for name, p in model.named_parameters()
        if p.grad is None and not name.startswith("encoder.")
    }
    assert missing == (set() if kind == "pruned" else {"simple"})


# ---- runs


@pytest.mark.slow
def test_it_learns_to_spell_what_it_hears(tmp_path: Path) -> None:
    base = small.write_whisper(tmp_path / "base", dropout=0.0)
    speech = small.write_speech(tmp_path / "tones", dev=small.TRAIN)
    recipe = plan(
        "pruned",
        optim={"lr": 3e-3, "head_lr": 5e-3, "warmup": 20},
        stop={"updates": 300},
        evaluate={"every": 100},
        batch_s=20.0,
    )
    run = api.adapt(speech.path, base=str(base), recipe=recipe, out=tmp_path / "run", threads=1)
    assert min(row["dev_cer"] for row in run.metrics if "dev_cer" in row) < 0.1
    assert run.model.family == "transducer"
    greedy = run.evaluate(speech.path, split="dev", with_base=False)
    assert greedy.adapted.cer < 0.1
    decode = DecodeSettings(beam=4, lm_order=3, lm_weight=0.1, length_bonus=0.3)
    beam = run.evaluate(speech.path, split="dev", with_base=False, decode=decode)
    assert beam.adapted.cer < 0.3


def test_a_resumed_run_ends_as_one_that_was_left_alone(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = plan("pruned", augment=small.AUGMENT, optim={"average": 2})
    whole = api.adapt(speech, base=str(whisper_dir), recipe=recipe, out=tmp_path / "a", threads=1)
    real = Trainer._save

    def dies(self: Trainer) -> None:
        real(self)
        if self.state.update == 6:
            raise KeyboardInterrupt

    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "other-cache"))  # nothing to reuse
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save", dies)
        with pytest.raises(Interrupted):
            api.adapt(speech, base=str(whisper_dir), recipe=recipe, out=tmp_path / "b", threads=1)
    again = api.adapt(None, resume=tmp_path / "b")
    one, other = ((r.folder / "model" / "model.safetensors").read_bytes() for r in (whole, again))
    assert one == other
    assert whole.summaries == again.summaries


@pytest.mark.parametrize("base", ["whisper", "wav2vec2"])
@pytest.mark.parametrize("part", ["head", "layers", "lora", "adapter"])
def test_every_part_can_be_trained(
    whisper_dir: Path, wav2vec2_dir: Path, speech: Path, tmp_path: Path, base: str, part: str
) -> None:
    settings = {"part": part, "top_layers": 1 if part == "layers" else 0}
    if part == "lora":
        settings["lora"] = {"r": 2, "targets": ["q_proj"]}
    if part == "adapter":
        settings["adapter"] = {"width": 4}
    recipe = plan(
        "pruned", modified=True, train=settings, stop={"updates": 3}, evaluate={"every": 3}
    )
    folder = whisper_dir if base == "whisper" else wav2vec2_dir
    run = api.adapt(speech, base=str(folder), recipe=recipe, out=tmp_path / "run", threads=1)
    assert isinstance(run.model, Transducer)
    assert run.model.shape.modified
    head = {n for n, _ in run.model.named_parameters() if n.startswith(("predictor.", "joiner."))}
    assert len(head) == 12


def test_pieces_and_a_second_stage(whisper_dir: Path, speech: Path, tmp_path: Path) -> None:
    short = {"stop": {"updates": 2}, "evaluate": {"every": 2}}
    first = small.stage("transducer", name="one", output={"pieces": 10}, **short)
    second = small.stage("transducer", name="two", init="one", **short)
    third = small.stage("transducer", name="three", init="two", output={"mode": "replace"}, **short)
    recipe = small.recipe("transducer", first, second, third, transducer=SIZES)
    run = api.adapt(speech, base=str(whisper_dir), recipe=recipe, out=tmp_path / "run", threads=1)
    sizes = [
        len(api.opened.load_model(stage / "model").tokenizer)
        for stage in sorted((run.folder / "stages").iterdir())
    ]
    assert sizes[:2] == [10, 10]
    assert sizes[2] == 8  # six letters, the space and the blank
    big = small.stage("transducer", output={"pieces": 5001})
    with pytest.raises(DataError, match="too small for 5001 pieces: it gives at most"):
        api.adapt(
            speech, base=str(whisper_dir), recipe=small.recipe("transducer", big),
            out=tmp_path / "big", threads=1,
        )  # fmt: skip


# ---- what a recipe may not say


@pytest.mark.parametrize(
    ("family", "changes", "problem"),
    [
        (
            "transducer",
            {"objectives": [{"kind": "cross_entropy"}]},
            "does not fit the family 'transducer'",
        ),
        ("ctc", {"objectives": [{"kind": "transducer"}]}, "does not fit the family 'ctc'"),
        ("ctc", {"objectives": [{"kind": "ctc", "transducer": {}}]}, "objective 'transducer' only"),
        ("transducer", {"output": {"mode": "cut"}}, "which takes keep, replace"),
        ("ctc", {"output": {"pieces": 10}}, "output.pieces is for the family 'transducer'"),
        (
            "transducer",
            {"objectives": [{"kind": "transducer", "transducer": {"kind": "prund"}}]},
            "'pruned'",
        ),
        (
            "transducer",
            {"objectives": [{"kind": "transducer", "transducer": {"am_scale": 0.8}}]},
            "shares of one",
        ),
        (
            "transducer",
            {"objectives": [{"kind": "transducer", "label_smoothing": 0.1}]},
            "cross_entropy only",
        ),
        (
            "transducer",
            {"train": {"part": "adapter", "adapter": {"where": "both"}}},
            "needs a decoder",
        ),
    ],
)
def test_contradictions_are_told(family: str, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        small.recipe(family, small.stage(family, **changes))


def test_sizes_are_for_transducers() -> None:
    with pytest.raises(ConfigError, match="sizes are for the family 'transducer'"):
        small.recipe("ctc", transducer=SIZES)


# ---- alignment-restricted


def test_the_restricted_objective_is_held_to_the_alignment(whisper_dir: Path) -> None:
    model = tiny_transducer(whisper_dir)
    states = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0))
    texts = [LearntText("a?b", (0.021, 0.05, 0.09)), LearntText("b", (9.0,))]  # beyond the end
    settings = {"kind": "restricted", "aligner": "x", "left_ms": 20, "right_ms": 40}
    total = 0.0
    for row, ids, at in zip(states, ([1, 2], [2]), ([1, 4], [5]), strict=True):
        joiner = model.joiner
        predicted = joiner.predictor(model.predict(torch.tensor([ids])))
        logits = joiner(joiner.encoder(row)[:, None], predicted)

        def allowed(t: int, u: int, symbol: int, at: list[int] = at) -> bool:
            return not symbol or -1 <= t - at[u] <= 2

        total += by_hand(logits.detach(), ids, 6, allowed=allowed)
    assert loss_of(model, states, texts, **settings) == pytest.approx(total / 3, rel=1e-5)
    plain = ["a?b", "b"]
    whole = loss_of(model, states, plain, kind="fused")
    assert loss_of(model, states, plain, **settings) == pytest.approx(whole)
    assert whole < total / 3


def test_pieces_end_with_their_last_letter() -> None:
    lines = [" ".join(p) for p in itertools.permutations(["ahoj", "rybo", "kde", "jsi"], 3)]
    pieces = PieceTokenizer.from_texts(lines, 19)
    for text in (*lines[:5], "ahoj Ξ kde"):
        ends = pieces.last_letters(text)
        assert len(ends) == len(pieces.encode(text))
        spelt = [pieces.symbols[i - 1] for i in pieces.encode(text)]
        for piece, end in zip(spelt, ends, strict=True):
            assert piece == "▁" or text[end] == piece[-1]
    assert CharTokenizer(["a", "b"]).last_letters("a?b") == [0, 2]


def test_a_restricted_stage(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"stop": {"updates": 3}, "evaluate": {"every": 3}}
    ctc = api.adapt(
        speech, base=str(whisper_dir), recipe=small.recipe("ctc", small.stage("ctc", **short)),
        out=tmp_path / "ctc", threads=1,
    )  # fmt: skip
    seen: list[LearntText] = []
    real = OBJECTIVES["transducer"]

    def spy(model: Any, states: Any, lens: Any, texts: Any, settings: Any) -> torch.Tensor:
        if model.training:
            seen.extend(texts)
        return real(model, states, lens, texts, settings)

    monkeypatch.setitem(OBJECTIVES._items, "transducer", spy)
    settings = {"kind": "restricted", "aligner": str(ctc.folder)}
    objective = {"kind": "transducer", "transducer": settings}
    stage = small.stage(
        "transducer", objectives=[objective], augment={"speed": [0.7, 1.9]}, stop={"updates": 9}
    )
    recipe = small.recipe("transducer", stage, transducer=SIZES)
    run = api.adapt(speech, base=str(whisper_dir), recipe=recipe, out=tmp_path / "run", threads=1)
    assert isinstance(run.model, Transducer)
    assert seen and all(isinstance(text, LearntText) and text.ends_s for text in seen)
    assert all(len(text.ends_s or ()) == len(text) for text in seen)
    times = {text: {t.ends_s for t in seen if t == text} for text in seen}
    assert any(len(found) > 1 for found in times.values())  # they follow the speed

    other = small.recipe(
        "transducer",
        small.stage(
            "transducer",
            objectives=[{**objective, "transducer": {**settings, "aligner": str(whisper_dir)}}],
        ),
        transducer=SIZES,
    )
    with pytest.raises(ConfigError, match="no finished CTC run"):
        api.adapt(speech, base=str(whisper_dir), recipe=other, out=tmp_path / "o", threads=1)


@pytest.mark.parametrize(
    ("settings", "sizes", "problem"),
    [
        ({"kind": "restricted"}, SIZES, "belong together"),
        ({"kind": "fused", "aligner": "x"}, SIZES, "belong together"),
        ({"kind": "restricted", "aligner": "x"}, {"modified": True}, "regular topology"),
    ],
)
def test_restricted_contradictions(
    settings: dict[str, Any], sizes: dict[str, Any], problem: str
) -> None:
    objective = {"kind": "transducer", "transducer": settings}
    with pytest.raises(ConfigError, match=problem):
        small.recipe(
            "transducer", small.stage("transducer", objectives=[objective]), transducer=sizes
        )

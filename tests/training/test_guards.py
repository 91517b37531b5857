"""Every guard fires on planted trouble, and keeps quiet on health."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import torch

from xlasr.errors import DataError, TrainingStopped
from xlasr.models.aids import aids_wanted, set_aids
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.run import from_base
from xlasr.models.tokenizer import CharTokenizer
from xlasr.models.transducer import TransducerShape
from xlasr.objectives.ctc import min_frames
from xlasr.training.guards import Guards, keep_usable
from xlasr.training.sets import bucket_function, drop_unusable, load_batch, open_set


def guards(family: str = "ctc", total: int = 1000, **changes: Any) -> Guards:
    return Guards(family, total, **changes)


def evaluate(
    guard: Guards, curve: list[tuple[float, float, float]], blank: float = 0.0, every: int = 100
) -> Guards:
    """(train loss, dev loss, dev CER) after every hundredth update."""
    for at, (train, dev, cer) in enumerate(curve, start=1):
        guard.after_evaluation(every * at, train_loss=train, dev_loss=dev, dev_cer=cer, blank=blank)
    return guard


HEALTHY = [(3.0 / n, 3.2 / n, 1.0 / n) for n in range(1, 11)]


@pytest.mark.parametrize("family", ["ctc", "seq2seq"])
def test_health_is_silent(family: str) -> None:
    guard = guards(family, clip=1.0)
    rng = np.random.default_rng(0)
    for update in range(1000):
        # norms fall a hundredfold and jump about, as they do
        norm = 20.0 * 0.995**update * float(rng.lognormal(0, 0.5))
        assert guard.step_is_sane(update, 3.0, norm)
        assert not guard.wants_rollback()
    evaluate(guard, HEALTHY)
    assert guard.events == []
    assert guard.counts == {}


@pytest.mark.parametrize(
    ("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)]
)
def test_not_finite_is_skipped_and_three_in_a_row_roll_back(loss: float, norm: float) -> None:
    guard = guards()
    for update in range(2):
        assert not guard.step_is_sane(update, loss, norm)
    assert guard.step_is_sane(2, 1.0, 1.0)  # not in a row
    for update in range(3, 6):
        assert not guard.wants_rollback()
        assert not guard.step_is_sane(update, loss, norm)
    assert guard.wants_rollback()
    guard.rolled_back(6, 0, guard.rate_scale)
    assert not guard.wants_rollback()
    assert guard.rate_scale == 0.5
    assert guard.counts == {"not_finite": 5, "rollback": 1}


def test_exploding_gradient() -> None:
    guard = guards(clip=1.0)
    for update in range(30):
        assert guard.step_is_sane(update, 1.0, 2.0)
    assert guard.norm == pytest.approx(2.0)
    assert guard.step_is_sane(30, 1.0, 59.0)
    assert not guard.step_is_sane(31, 1.0, 200.0)
    assert guard.counts == {"exploding_gradient": 1}
    assert guard.step_is_sane(32, 1.0, 2.0)


def test_first_steps_and_tiny_gradients_do_not_explode() -> None:
    guard = guards(clip=1.0)
    assert guard.step_is_sane(0, 1.0, 0.01)
    assert guard.step_is_sane(1, 1.0, 50.0)  # too early to know what is usual
    settled = guards(clip=1.0)
    for update in range(100):
        settled.step_is_sane(update, 1.0, 0.001)
    assert settled.step_is_sane(100, 1.0, 0.9)  # 900 times the usual, and smaller than the clip
    assert not settled.step_is_sane(101, 1.0, 1.1)


def test_rollbacks_end_with_advice() -> None:
    guard = guards()
    for _ in range(3):
        guard.rolled_back(10, 5, guard.rate_scale)
    assert guard.rate_scale == 0.125
    with pytest.raises(TrainingStopped, match=r"lower optim\.lr"):
        guard.rolled_back(10, 5, guard.rate_scale)


def test_all_blank_plateau_is_named_and_then_stopped() -> None:
    flat = [(5.0, 5.0, 1.0)] * 4
    guard = evaluate(guards(total=1000), flat, blank=1.0)
    assert guard.counts == {"all_blank": 1}  # told once
    with pytest.raises(TrainingStopped, match=r"after 800 of 1000 .*batch_s"):
        evaluate(guard, [(5.0, 5.0, 1.0)] * 10, blank=0.99, every=200)
    late = evaluate(guards(total=1000), HEALTHY[:3], blank=1.0)
    evaluate(late, HEALTHY[3:6], blank=0.1)  # it left the plateau
    late.after_evaluation(900, train_loss=1.0, dev_loss=1.0, dev_cer=0.3, blank=0.97)
    assert set(late.counts) == {"all_blank"}
    seq2seq = evaluate(guards("seq2seq", total=200), flat, blank=1.0)
    assert "all_blank" not in seq2seq.counts


def test_overfitting() -> None:
    parts_way = [
        (2.0, 2.0, 0.5), (1.5, 1.8, 0.4), (1.0, 1.9, 0.41), (0.7, 2.1, 0.42), (0.5, 2.3, 0.43),
        (0.4, 2.5, 0.44),
    ]  # fmt: skip
    guard = evaluate(guards(), parts_way)
    assert guard.counts == {"overfitting": 1}
    assert "1.50" in guard.events[0]["message"]
    better = [(t, d, 0.5 - 0.01 * i) for i, (t, d, _) in enumerate(parts_way)]
    assert evaluate(guards(), better).counts == {}  # dev loss rises and dev CER falls: fine
    assert evaluate(guards(), parts_way[:3]).counts == {}
    below = [(-0.02, 0.30 + 0.01 * i, 0.20 + 0.01 * i) for i in range(6)]  # min_wer, standing still
    assert evaluate(guards(total=10_000), below).counts == {}
    falling = [(-0.02 * (i + 1), dev, cer) for i, (_, dev, cer) in enumerate(below)]
    assert evaluate(guards(total=10_000), falling).counts["overfitting"] == 1


def test_underfitting() -> None:
    plateau = [(3.0, 3.0, 0.9), (2.95, 3.0, 0.9), (2.96, 3.0, 0.91), (2.9, 3.0, 0.89)] * 2
    guard = evaluate(guards(total=1000), plateau)
    assert guard.counts == {"underfitting": 1}
    assert guard.events[0]["update"] >= 500
    early = evaluate(guards(total=10_000), plateau)
    assert early.counts == {}
    fast = [(2.0, 0.5, 0.05), (0.4, 0.5, 0.05), (0.3, 0.45, 0.05), (0.25, 0.45, 0.05)] * 1
    quick = evaluate(guards(total=600), [*fast, *[(0.2, 0.44, 0.049)] * 2])
    assert quick.counts == {}  # it had learnt before its first evaluation


# (train loss, dev loss, dev CER) of real runs on Czech, every 300 updates (200 for whisper-full)
CTC = [
    (5.785, 3.101, 0.978), (1.972, 1.130, 0.361), (1.256, 0.935, 0.285), (0.998, 0.929, 0.266),
    (0.803, 0.855, 0.235), (0.645, 0.842, 0.227), (0.531, 0.867, 0.224), (0.401, 0.870, 0.207),
    (0.319, 0.918, 0.209), (0.286, 0.879, 0.203),
]  # fmt: skip
CTC_20_MINUTES = [(5.212, 3.189, 1.0), (2.130, 1.346, 0.418), (1.036, 1.157, 0.336)]
CTC_20_MINUTES += [(0.604, 1.172, 0.315)]
WHISPER = [
    (2.419, 1.328, 0.335), (1.188, 1.137, 0.283), (0.730, 1.116, 0.283), (0.473, 1.057, 0.267),
    (0.320, 1.084, 0.238), (0.209, 1.110, 0.220), (0.152, 1.122, 0.235), (0.119, 1.091, 0.235),
    (0.092, 1.107, 0.228), (0.066, 1.120, 0.223), (0.053, 1.107, 0.221),
]  # fmt: skip


@pytest.mark.parametrize(
    ("curve", "every", "counts"),
    [
        (CTC, 300, {"overfitting": 1}),
        (CTC_20_MINUTES, 300, {}),
        (WHISPER, 200, {"overfitting": 1}),
        # the slowest start that was seen: all blank until 480 of 1200
        ([(5.2, 3.2, 1.0)] * 4 + [(2.1, 1.3, 0.4 - 0.01 * i) for i in range(8)], 100, {}),
    ],
)
def test_runs_that_ended_well_are_left_alone(
    curve: list[tuple[float, float, float]], every: int, counts: dict[str, int]
) -> None:
    guard = evaluate(guards(total=every * len(curve)), curve, every=every)
    assert guard.counts == counts
    assert not guard.ended
    blank = guards(total=1200)
    for update in range(100, 1201, 100):
        on_plateau = 1.0 if update < 500 else 0.0
        blank.after_evaluation(
            update, train_loss=3.0, dev_loss=3.0, dev_cer=on_plateau or 0.4, blank=on_plateau
        )
    assert blank.counts == {"all_blank": 1}


def test_overfitting_that_lasts_ends_the_training() -> None:
    curve = [(2.0, 2.0, 0.5), (1.5, 1.8, 0.4), (1.0, 1.9, 0.41), (0.7, 2.1, 0.42), (0.5, 2.3, 0.43)]
    curve += [(0.4, 2.5, 0.441 + 0.01 * i) for i in range(4)]
    guard = evaluate(guards(total=2000), curve[:-1])
    assert guard.counts == {"overfitting": 1}
    assert not guard.ended
    guard.after_evaluation(900, train_loss=0.3, dev_loss=2.6, dev_cer=0.48, blank=0.0)
    assert guard.ended
    assert guard.counts == {"overfitting": 1, "ended_early": 1}
    assert "had been 40.0 % and was over 44.0 %" in guard.events[-1]["message"]
    assert Guards(**json.loads(json.dumps(guard.state()))).ended  # a resumed run stays ended
    assert not evaluate(guards(total=900), curve).ended  # the last evaluation ends it anyway
    # worse on dev for another reason: nothing is learnt by heart
    assert not evaluate(guards(total=2000), [(2.0, d, c) for _, d, c in curve]).ended


@pytest.mark.parametrize("family", ["ctc", "seq2seq"])
def test_nothing_learnt_is_stopped_late_and_not_before(family: str) -> None:
    # the training loss falls (to letters by their frequency), and dev says that it is of no use
    curve = [(5.8, 3.3, 0.98), (3.2, 3.1, 0.97), (3.1, 3.1, 0.96), (3.0, 3.1, 0.97)] * 3
    waiting = evaluate(guards(family, total=1200), curve[:8])
    assert waiting.counts == {"underfitting": 1}
    assert waiting.events[0]["update"] == 600
    assert "waiting until 75% of the updates" in waiting.events[0]["action"]
    with pytest.raises(TrainingStopped, match=r"after 900 of 1200 .*never below 90 %.*xlasr check"):
        evaluate(guards(family, total=1200), curve)
    for saved in (
        [*curve[:3], (3.0, 3.0, 0.89), *curve[3:11]],  # it was of some use once
        [(5.8, 3.3, 1.2), *curve[1:]],  # poor, but learning
    ):
        evaluate(guards(family, total=1200), saved)


def test_evaluation_without_a_training_loss() -> None:
    guard = evaluate(guards(total=400), [(math.nan, 2.0, 0.5)] * 4)
    assert guard.counts == {}
    assert json.loads(json.dumps(guard.state()))["family"] == "ctc"


def test_state_is_json_and_comes_back() -> None:
    guard = evaluate(guards(clip=2.0), [(5.0, 5.0, 1.0)] * 3, blank=1.0)
    guard.step_is_sane(1, math.nan, 1.0)
    again = Guards(**json.loads(json.dumps(guard.state())))
    assert again == guard
    evaluate(again, [(5.0, 5.0, 1.0)], blank=1.0)
    assert again.counts == guard.counts  # what was told once is not told again


def test_keep_usable_counts_reasons() -> None:
    durations = [1.0, 9.0, 2.0, 8.0, 1.0]
    texts = ["a", "b", "", "d", "e"]

    def against(text: str, duration_s: float) -> str | None:
        if duration_s > 5:
            return "long"
        return None if text else "empty"

    kept, reasons = keep_usable(list(range(5)), texts.__getitem__, durations.__getitem__, against)
    assert (kept, reasons) == ([0, 4], {"long": 2, "empty": 1})


# ---- transcripts that cannot be learnt


def ctc_model(base: Path) -> Any:
    letters = CharTokenizer(list(small.LETTERS))
    return from_base(
        find_base(str(base)), "ctc", context=Context(8, 8), language="cs", alphabet=letters
    )


def transducer_model(base: Path, *, modified: bool) -> Any:
    letters = CharTokenizer(list(small.LETTERS))
    return from_base(
        find_base(str(base)), "transducer", context=Context(8, 8), language="cs",
        alphabet=letters, shape=TransducerShape(1, 8, 8, modified),
    )  # fmt: skip


def clips(tmp_path: Path, *pairs: tuple[str, float]) -> Any:
    audio = tmp_path / "clips"
    audio.mkdir()
    rng = np.random.default_rng(0)
    made = [
        small.utterance(
            audio, f"u{i}", text, 0.1 * rng.standard_normal(int(seconds * 16_000)).astype("f4")
        )
        for i, (text, seconds) in enumerate(pairs)
    ]
    return small.write_speech(tmp_path / "corpus", train=made, dev=["abc"])


def test_symbols_and_adjacent_repeats_need_frames(whisper_dir: Path, tmp_path: Path) -> None:
    # 0.1 s are 5 frames of 20 ms; "aabb" needs 4 symbols and 2 blanks between the equal ones
    corpus = clips(
        tmp_path, ("abcde", 0.1), ("abcdef", 0.1), ("abab", 0.1), ("aabb", 0.1), ("aabb", 0.12),
        ("!?", 0.5), ("xyz", 0.5), ("abc", 3.2),
    )  # fmt: skip
    assert min_frames(CharTokenizer(list("ab")).encode("aabb")) == 6
    data = drop_unusable(open_set(corpus.split("train"), "headline"), ctc_model(whisper_dir))
    assert [data.text(i) for i in range(len(data.rows))] == ["abcde", "abab", "aabb"]
    assert data.rows.tolist() == [0, 2, 4]
    assert data.left_out == {
        "more symbols than frames (CTC has no alignment)": 2,
        "no text left after normalisation": 1,
        "no letter of the text is in the alphabet": 1,
        "longer than 3 s": 1,
    }


def test_what_a_transducer_takes_is_said_by_its_losses(whisper_dir: Path, tmp_path: Path) -> None:
    """5 frames; kept is what every loss has a way for, and only that."""
    from xlasr.config import ObjectiveSettings
    from xlasr.objectives import OBJECTIVES

    texts = ["abcde", "aabb", "abcdef", "abcdefabcdefabcdefab", "abcdefabcdefabcdefabc"]
    corpus = clips(tmp_path, *((text, 0.1) for text in texts))
    data = open_set(corpus.split("train"), "headline")
    plain, pruned, ctc = (
        ObjectiveSettings.model_validate(tree)
        for tree in (
            {"kind": "transducer", "transducer": {"kind": "fused"}},
            {"kind": "transducer", "transducer": {"kind": "pruned", "range": 5}},
            {"kind": "ctc"},
        )
    )
    for modified, objectives, wanted in (
        (False, [plain], [0, 1, 2, 3, 4]),  # the lattice has no limit
        (False, [pruned], [0, 1, 2, 3]),  # windows let four symbols be written in a frame
        (False, [pruned, ctc], [0]),  # "aabb" needs two blanks
        (True, [plain], [0, 1]),
        (True, [plain, ctc], [0]),
    ):
        model = transducer_model(whisper_dir, modified=modified)
        set_aids(model, aids_wanted(model, [o.kind for o in objectives]), None)
        found = drop_unusable(data, model, objectives=objectives)
        assert found.rows.tolist() == wanted
        states, lens = torch.randn(1, 5, 16), torch.tensor([1600])
        for row, text in enumerate(texts):
            fits = True
            for objective in objectives:
                try:
                    loss = OBJECTIVES[objective.kind](model, states, lens, [text], objective)
                except DataError:
                    fits = False
                else:
                    fits = fits and bool(torch.isfinite(loss))
            assert fits == (row in wanted), (modified, objectives, text)


def test_speed_perturbation_is_reckoned_with(whisper_dir: Path, tmp_path: Path) -> None:
    corpus = clips(tmp_path, ("abcdef", 0.105), ("abcde", 0.105), ("abc", 2.8), ("abc", 2.6))
    data = open_set(corpus.split("train"), "headline")
    used = drop_unusable(data, ctc_model(whisper_dir), (0.9, 1.0, 1.1))
    assert used.rows.tolist() == [1, 3]  # 6 frames, and 5 at speed 1.1
    assert used.left_out["longer than 2.7 s (at speed 0.9)"] == 1


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.0, 1.1, 1.25])
def test_what_is_kept_has_a_finite_loss_at_every_speed(
    whisper_dir: Path, tmp_path: Path, factor: float
) -> None:
    """The rule against torch's own loss: kept is finite, and nothing that fits is left out."""
    from xlasr.config import AugmentSettings, ObjectiveSettings
    from xlasr.data.batches import Batch
    from xlasr.objectives.ctc import ctc_loss

    pairs = [("abcdef"[:n], frames * 0.02 * factor) for n in (3, 5) for frames in (n - 1, n)]
    pairs += [("abc", 0.0401 * factor), ("abc", 0.0399 * factor)]
    pairs += [("aab", 0.08 * factor), ("aab", 0.061 * factor)]
    corpus = clips(tmp_path, *pairs)
    model = ctc_model(whisper_dir).eval()
    data = open_set(corpus.split("train"), "headline")
    kept = set(drop_unusable(data, model, (factor,)).rows.tolist())
    for row in range(len(pairs)):
        batch = Batch(0, np.array([row]), np.array([factor]), 0)
        samples, texts, _ = load_batch([data], batch, AugmentSettings(), 0, 0)
        features = model.features(samples)
        loss = ctc_loss(
            model,
            model.encoder(features),
            features.input_lens,
            texts,
            ObjectiveSettings(kind="ctc"),
        )
        assert bool(torch.isfinite(loss)) == (row in kept), pairs[row]
    assert 0 < len(kept) < len(pairs)


def test_whisper_counts_tokens_and_empty_text(whisper_dir: Path, tmp_path: Path) -> None:
    corpus = clips(tmp_path, ("...", 0.5), ("abc", 0.5), ("fade " * 12, 0.5))
    model = from_base(find_base(str(whisper_dir)), "seq2seq", context=Context(8, 8), language="cs")
    data = drop_unusable(open_set(corpus.split("train"), "headline"), model)
    assert data.rows.tolist() == [1]
    assert data.left_out == {"no text left after normalisation": 1, "more than 29 tokens": 1}


def test_a_base_with_group_norm_trains_on_batches_too(tmp_path: Path) -> None:
    base = small.write_wav2vec2(tmp_path / "base", group_norm=True)
    buckets = bucket_function(ctc_model(base))
    assert len(set(buckets(np.array([1.01, 1.2, 1.4])).tolist())) == 1
    assert buckets(np.array([1.01]))[0] < buckets(np.array([3.0]))[0]

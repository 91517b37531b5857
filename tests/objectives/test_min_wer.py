"""Expected word errors, against every text there is, finite differences and sums by hand."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny
from tests.objectives.families import FAMILIES, LETTERS, Spoken, logits, models, seq2seq, transducer
from torch import Tensor, nn

from xlasr.config import MinWerSettings, ObjectiveSettings
from xlasr.data.learnt_text import LearntText
from xlasr.decoding.hypothesis import Hypothesis
from xlasr.decoding.recognise import hypotheses
from xlasr.decoding.transducer import beam
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.run import from_base
from xlasr.objectives import OBJECTIVES
from xlasr.objectives.log_prob import ids_of
from xlasr.objectives.min_wer import (
    count_errors,
    distinct_texts,
    evaluation_mode,
    expected_errors,
    list_options,
    min_wer,
)


def how(**settings: Any) -> ObjectiveSettings:
    return ObjectiveSettings.model_validate({"kind": "min_wer", "min_wer": settings})


def listed(text: str, *hypotheses: str) -> LearntText:
    return LearntText(text, hypotheses=hypotheses)


def probability(states: Tensor, text: str) -> float:
    """Summed over every path of symbols that collapses to ``text``; states (T', V)."""
    log_probs, total = states.detach().log_softmax(-1), 0.0
    for path in itertools.product(range(states.shape[1]), repeat=len(states)):
        if [k for k, _ in itertools.groupby(path) if k] == LETTERS.encode(text):
            total += math.exp(sum(float(log_probs[t, k]) for t, k in enumerate(path)))
    return total


def by_hand(states: Tensor, hypotheses: dict[str, int]) -> float:
    """Expected errors of texts with so many each."""
    found = {text: probability(states, text) for text in hypotheses}
    mass = sum(found.values())
    return sum(p / mass * hypotheses[text] for text, p in found.items())


# ---- the value


def test_it_is_the_expected_number_of_errors_of_every_path_there_is() -> None:
    states = logits(2, 4, 4)
    model = Spoken()
    # words are counted: "a b" has two; of the second clip only three frames are heard
    texts = [listed("a b", "a b", "ab", "a", "b a"), listed("b", "", "b", "a b")]
    errors = [{"a b": 0, "ab": 2, "a": 1, "b a": 2}, {"": 1, "b": 0, "a b": 1}]
    wanted = [by_hand(states[0], errors[0]), by_hand(states[1, :3], errors[1])]
    means = [5 / 4, 2 / 3]
    lens = torch.tensor([4, 3])
    relative = min_wer(model.train(), states, lens, texts, how())
    assert relative.item() == pytest.approx((sum(wanted) - sum(means)) / 3)
    absolute = min_wer(model.eval(), states, lens, texts, how())
    assert absolute.item() == pytest.approx(sum(wanted) / 3)
    letters = {"a b": 0, "ab": 1, "a": 2, "b a": 2}
    found = min_wer(model, states[:1], lens[:1], texts[:1], how(unit="character"))
    assert found.item() == pytest.approx(by_hand(states[0], letters) / 3)
    assert OBJECTIVES["min_wer"] is min_wer


def test_lists_are_those_that_the_model_writes() -> None:
    states = logits(1, 4, 4, seed=3)
    every = {
        LETTERS.decode([k for k, _ in itertools.groupby(path) if k])
        for path in itertools.product(range(4), repeat=4)
    }
    likely = sorted(every, key=lambda text: -probability(states[0], text))
    # a beam as wide as the number of texts is exact
    settings = how(n_best=len(every))
    found = min_wer(Spoken().eval(), states, torch.tensor([4]), ["a b"], settings)
    spelt: dict[str, float] = {}
    for text in likely:  # " a" and "a " are the text "a", which is scored as it is spelt
        spelt.setdefault(" ".join(text.split()), 0.0)
    counted, _ = count_errors(["a b"], [list(spelt)], "word", "headline")
    wanted = by_hand(states[0], dict(zip(spelt, counted[0], strict=True)))
    assert found.item() == pytest.approx(wanted / 2)


def test_the_gradient_of_one_clip_is_p_times_what_it_errs_more_than_expected() -> None:
    scores = torch.tensor([-3.0, -4.0, -3.5], dtype=torch.float64, requires_grad=True)
    errors = [0, 2, 1]
    p = [math.exp(s) for s in scores.tolist()]
    p = [x / sum(p) for x in p]
    risk = sum(x * e for x, e in zip(p, errors, strict=True))
    for relative in (True, False):
        found = expected_errors(scores, [errors], relative=relative)
        assert found.item() == pytest.approx(risk - relative)  # the mean is one error
        (gradient,) = torch.autograd.grad(found.sum(), scores)
        wanted = [x * (e - risk) for x, e in zip(p, errors, strict=True)]
        assert gradient.tolist() == pytest.approx(wanted)


def test_lists_of_different_lengths_do_not_touch() -> None:
    scores = torch.randn(6, dtype=torch.float64, requires_grad=True)
    errors = [[0, 3], [1], [2, 0, 5]]
    found = expected_errors(scores, errors)
    alone = [
        expected_errors(part, [row])
        for part, row in zip(scores.split([2, 1, 3]), errors, strict=True)
    ]
    torch.testing.assert_close(found, torch.cat(alone))
    assert torch.autograd.gradcheck(lambda s: expected_errors(s, errors), (scores,))


def test_long_utterances_do_not_underflow() -> None:
    for dtype in (torch.float32, torch.float64):
        scores = torch.tensor([-5000.0, -5001.0, -9000.0], dtype=dtype, requires_grad=True)
        found = expected_errors(scores, [[0, 3, 7]], relative=False)
        assert found.item() == pytest.approx(3 / (1 + math.e), rel=1e-5)
        found.sum().backward()
        assert scores.grad is not None and torch.isfinite(scores.grad).all()
        assert scores.grad[1] > 0.1
    states = torch.zeros(1, 3000, 4, requires_grad=True)  # -log of 4 to the power of 3000
    said = ("a b " * 300).strip()
    texts = [listed(said, said, said[:-2], said + " a")]
    loss = min_wer(Spoken().train(), states, torch.tensor([3000]), texts, how(unit="character"))
    loss.backward()
    assert math.isfinite(loss.item())
    assert states.grad is not None and torch.isfinite(states.grad).all()
    assert states.grad.abs().sum() > 0


# ---- gradients through every family


@FAMILIES
def test_the_gradients_are_those_of_finite_differences(tmp_path: Path, family: str) -> None:
    model, states, lens = models(tmp_path)[family]()
    texts = [listed("a b", "ab", "a", "b a"), listed("b", "", "a b")]
    states.requires_grad_()

    def loss(x: Tensor) -> Tensor:
        return min_wer(model, x, lens, texts, how(n_best=3))

    assert loss(states).dtype == torch.float64
    assert torch.autograd.gradcheck(loss, (states,), nondet_tol=1e-10)
    gradients = {}
    for training in (False, True):  # relative or not; all dropout is off
        model.train(training)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        gradients[training] = torch.autograd.grad(loss(states), states)[0]
    torch.testing.assert_close(gradients[True], gradients[False])
    assert gradients[True].abs().sum() > 1e-3


# ---- lists that have nothing to teach


@pytest.mark.parametrize(
    "text",
    [
        listed("a b", "ab"),  # one hypothesis
        listed("a b", "a", "b"),  # equally wrong
        listed("a b", "a b", " a  b "),  # one text, spelt twice
        listed("a b"),  # none at all
        listed("", ""),  # nothing said, nothing written
        listed("", "a", "b"),
        listed("a b", "a b", "abab ab ab ab"),  # no room for the second
    ],
)
def test_nothing_to_choose_is_no_gradient(text: LearntText) -> None:
    model, states = Spoken(), logits(1, 4, 4).requires_grad_()
    loss = min_wer(model.train(), states, torch.tensor([4]), [text], how())
    assert loss.item() == 0
    loss.backward()
    assert states.grad is not None and (states.grad == 0).all()


def test_an_empty_reference_makes_silence_likelier() -> None:
    states = torch.zeros(1, 4, 4, requires_grad=True)
    loss = min_wer(Spoken().train(), states, torch.tensor([4]), [listed("", "", "a b", "a")], how())
    loss.backward()
    assert states.grad is not None and (states.grad[0, :, 0] < 0).all()


def test_a_list_without_the_reference_and_one_that_is_given_it() -> None:
    states, lens = logits(1, 4, 4), torch.tensor([4])
    model = Spoken().eval()
    text = listed("b", "a b", "a")
    left = min_wer(model, states, lens, [text], how())
    assert left.item() == 1.0  # both are one error away: none is better, and that is no problem
    added = min_wer(model, states, lens, [text], how(add_reference=True))
    assert added.item() == pytest.approx(by_hand(states[0], {"a b": 1, "a": 1, "b": 0}))
    twice = min_wer(model, states, lens, [listed("b", "a b", "a", "b")], how(add_reference=True))
    assert twice.item() == pytest.approx(added.item())
    alone = min_wer(model.train(), states, lens, [listed("b")], how(add_reference=True))
    assert alone.item() == 0


def test_no_more_hypotheses_than_were_asked_for() -> None:
    states, lens = logits(1, 4, 4), torch.tensor([4])
    long = min_wer(Spoken(), states, lens, [listed("a", "b", "a", "ab", "a b")], how(n_best=2))
    short = min_wer(Spoken(), states, lens, [listed("a", "b", "a")], how(n_best=2))
    assert long.item() == short.item()


def test_lists_of_a_transducer_are_searched_with_one_symbol_a_frame(tmp_path: Path) -> None:
    model, states, lens = transducer(tmp_path), logits(1, 2, 32), torch.tensor([2 * 320])
    options = list_options(MinWerSettings(n_best=8))
    found = hypotheses(model, states, lens, options, 8)[0]
    one_a_frame = beam(model, states[0], beam=8, n_best=8, modified=True)
    assert [h.tokens for h in found] == [h.tokens for h in one_a_frame]
    assert max(len(h.tokens) for h in found) == 2  # frames
    assert max(len(h.tokens) for h in beam(model, states[0], beam=8, n_best=8)) > 2


def test_letters_that_the_model_cannot_write_are_not_in_its_hypotheses() -> None:
    states, lens = logits(1, 4, 4), torch.tensor([4])
    found = min_wer(Spoken(), states, lens, [listed("a", "a?", "a", "ba")], how())
    wanted = min_wer(Spoken(), states, lens, [listed("a", "a", "ba")], how())
    assert found.item() == wanted.item()


def test_two_spellings_of_a_text_are_one_hypothesis(tmp_path: Path) -> None:
    model = seq2seq(tmp_path)
    tokens = model.tokenizer
    whole, spelt = tokens.encode("ahoj"), tokens.sample("ahoj", 0.5, lambda: 0.0)
    assert tokens.decode(whole) == tokens.decode(spelt) == "ahoj" and whole != spelt
    found = [Hypothesis(ids, 0.0, 0.0) for ids in (spelt, whole, [], tokens.encode("kde"))]
    assert distinct_texts(model, found) == ("ahoj", "", "kde")
    assert ids_of(model, "") == [] != tokens.encode("")


# ---- what is left behind


def test_decoding_has_no_dropout_and_the_mode_is_put_back() -> None:
    model, states = Spoken(), logits(1, 4, 4)
    for training in (True, False):
        model.train(training).seen.clear()
        min_wer(model, states, torch.tensor([4]), ["a b"], how())
        assert model.seen == [False, training]  # decoded, scored
        assert model.training == model.dropout.training == training
    model.train()
    with pytest.raises(RuntimeError), evaluation_mode(model):
        assert not model.dropout.training
        raise RuntimeError
    assert model.training and model.dropout.training


def test_nothing_is_decoded_where_a_list_is_carried_along() -> None:
    model, states = Spoken(), logits(2, 6, 4)
    lens, texts = torch.tensor([6, 2]), [listed("a", "b", "a"), "b a"]
    min_wer(model, states, lens, [texts[0], listed("b", "b", "")], how())
    assert model.seen == [True]
    mixed = min_wer(model.eval(), states, lens, texts, how())
    apart = [
        min_wer(model, states[i : i + 1, :n], lens[i : i + 1], texts[i : i + 1], how())
        for i, n in enumerate(lens.tolist())
    ]
    assert mixed.item() == pytest.approx((apart[0].item() + 2 * apart[1].item()) / 3)


@FAMILIES
def test_it_is_a_function_of_weights_and_batch(tmp_path: Path, family: str) -> None:
    model, states, lens = models(tmp_path)[family]()
    states = states.requires_grad_()
    found = []
    for _ in range(2):
        before = torch.random.get_rng_state()
        loss = min_wer(model, states, lens, ["a b", "b"], how())
        assert torch.equal(torch.random.get_rng_state(), before)
        gradient = torch.autograd.grad(loss, states, allow_unused=True)[0]
        found.append((loss.item(), gradient))
    assert found[0][0] == found[1][0]
    assert found[0][1] is not None and torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("family", ["ctc", "transducer", "seq2seq"])
def test_weights_learn_under_autocast_although_they_decode_first(
    tmp_path: Path, family: str
) -> None:
    """Autocast keeps the copies of weights that it made without a gradient, if one lets it."""
    folder = tiny.whisper_dir(tmp_path / "base", max_positions=100)
    torch.manual_seed(0)
    alphabet = None if family == "seq2seq" else LETTERS
    model = from_base(
        find_base(str(folder)), family, context=Context(8, 8), language="cs", alphabet=alphabet
    ).train()
    features = model.features([tiny.clip(0.3), tiny.clip(0.3, 1)])
    with torch.autocast("cpu", torch.bfloat16):
        states = model.encoder(features)
        loss = min_wer(model, states, features.input_lens, ["a b", "b"], how(add_reference=True))
    assert loss.dtype == torch.float32
    loss.backward()
    unused = {"simple", "encoder.hf.embed_positions"}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not name.startswith(tuple(unused)):
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_phones_are_counted_as_the_scorer_counts_them() -> None:
    for unit in ("word", "character"):
        found = count_errors(["tʃ aː"], [["tʃ a", "tʃ aː"]], unit, "phones")
        assert found == ([[1, 0]], 2)
    assert count_errors(["Ano, ne."], [["ano ne", "ano"]], "word", "raw") == ([[0, 1]], 2)
    assert count_errors(["a", ""], [[], ["a b"]], "character", "headline") == ([[], [3]], 1)


def test_going_down_leads_to_what_is_least_wrong() -> None:
    states = logits(1, 6, 4, seed=2).requires_grad_()
    lens, model = torch.tensor([6]), Spoken().eval()
    optimizer = torch.optim.Adam([states], lr=0.3)
    expected = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = min_wer(model, states, lens, ["ab a"], how(n_best=8, unit="character"))
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    assert expected[0] > 0.4 and expected[-1] < 0.02

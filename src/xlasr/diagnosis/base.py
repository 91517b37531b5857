"""What the base can hold: letters of a head, frames for the letters of a clip, pieces of text."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator

import numpy as np

from xlasr.data.audio import SAMPLE_RATE
from xlasr.data.corpus import Utterance
from xlasr.data.text import normalise
from xlasr.diagnosis.findings import Finding, Record, Severity, count, few, graded
from xlasr.diagnosis.fit import BaseFit
from xlasr.diagnosis.material import Check, Material


def base_of(material: Material) -> BaseFit:
    """The base.

    Raises:
        ValueError: None was named; the doctor leaves such checks out.
    """
    if material.base is None:
        raise ValueError("this check needs a base")
    return material.base


def unseen_letters(material: Material) -> Iterator[Finding]:
    """Letters of dev and test that no training on this corpus can teach."""
    known = set(" ")
    for utterance in material.side("train"):
        known.update(normalise(utterance.text, material.form))
    if material.base is not None and material.base.letters is not None:
        known |= material.base.letters
    found: list[Record] = []
    strange: Counter[str] = Counter()
    total = 0
    for side in ("dev", "test"):
        for utterance in material.side(side):
            text = normalise(utterance.text, material.form)
            total += len(text)
            if odd := [char for char in text if char not in known]:
                strange.update(odd)
                seen = " ".join(sorted(set(odd)))
                found.append(Record(side, utterance.id, f"{seen} in {utterance.text!r}"))
    if found:
        n = sum(strange.values())
        severity = graded(n / max(1, total), material.thresholds.unseen_share)
        if severity == "warning" and all(char.isdigit() for char in strange):
            severity = "note"  # no letter: the check of figures says what to do
        yield Finding(
            severity,
            "letters that train does not have",
            f"{count(n, 'letter')} ({n / max(1, total):.2%}) in {count(len(found), 'line')} of dev "
            "and test never occur in train; no model can write them, and each is an error: "
            f"{few((f'{c} (x{k})' for c, k in strange.most_common()), 10)}",
            found,
            "look-alikes or another language? Correct the lines; figures: write them in words",
        )


def head_letters(material: Material) -> Iterator[Finding]:
    """Letters that the head of a finished run does not have, where it is kept."""
    base = base_of(material)
    if base.letters is None:
        return
    found: list[Record] = []
    strange: Counter[str] = Counter()
    in_train: Counter[str] = Counter()
    for side, utterance in material.utterances():
        odd = [c for c in normalise(utterance.text, material.form) if c not in base.letters]
        if odd:
            strange.update(odd)
            in_train.update(odd if side == "train" else ())
            found.append(Record(side, utterance.id, " ".join(sorted(set(odd)))))
    if not found:
        return
    limit = material.thresholds.rare_letter
    severity: Severity = "blocking" if max(in_train.values(), default=0) >= limit else "warning"
    yield Finding(
        severity,
        "letters that the head does not have",
        f"{base.name} has no output for {count(len(strange), 'letter')} of the text "
        f"({few((f'{c} (x{k})' for c, k in strange.most_common()), 10)}), so they would never be "
        "learnt",
        found,
        "use a recipe with output.mode extend (keeps the letters it has) or replace",
    )


def min_frames(material: Material, utterance: Utterance) -> tuple[int, int]:
    """(Frames that CTC needs for a transcript, frames that the clip gives)."""
    from xlasr.objectives.ctc import min_frames as needed

    base = material.base
    text = normalise(utterance.text, material.form)
    if base is not None and base.letters is not None:
        text = "".join(char for char in text if char in base.letters)
    n_samples = round(utterance.duration_s / material.speeds[1] * SAMPLE_RATE)
    if base is None or "ctc" not in base.families:  # a decoder needs no frame for each letter
        return needed([*map(ord, text)]), -(-n_samples // material.thresholds.ctc_frame_samples)
    return needed([*map(ord, text)]), max(0, base.frames(n_samples))


def no_alignment(material: Material) -> Iterator[Finding]:
    """Clips with more symbols than frames: no CTC alignment exists, and nobody talks that fast."""
    found = []
    for side, utterance in material.utterances():
        needed, given = min_frames(material, utterance)
        if needed > given:
            found.append(
                Record(side, utterance.id, f"{needed} symbols, {given} frames: {utterance.text!r}")
            )
    if found:
        share = material.share(len(found))
        by_base = material.base is not None and "ctc" in material.base.families
        who = f"frames of {base_of(material).name}" if by_base else "frames of 20 ms"
        yield Finding(
            graded(share, material.thresholds.wrong_share),
            "more text than sound",
            f"{count(len(found), 'clip')} ({share:.1%}) with more symbols than {who}: nobody "
            "speaks so fast, and CTC cannot align them",
            found,
            "wrong transcript, or a clip that was cut off? Correct them or leave them out",
            fixable=True,
        )


def too_many_pieces(material: Material) -> Iterator[Finding]:
    """Transcripts that Whisper's decoder cannot write to the end."""
    base = base_of(material)
    if base.tokens is None:
        return
    found, lost_s, train_s = [], 0.0, 0.0
    for side, utterance in material.utterances():
        train_s += utterance.duration_s if side == "train" else 0.0
        n = len(base.tokens.encode(normalise(utterance.text, material.form)))
        if n > base.max_tokens:
            found.append(Record(side, utterance.id, f"{n} pieces"))
            lost_s += utterance.duration_s if side == "train" else 0.0
    if found:
        share = lost_s / max(train_s, 1e-9)
        yield Finding(
            "blocking" if share > material.thresholds.lost_share else "warning",
            "too long for the decoder",
            f"{count(len(found), 'transcript')} with more than the {base.max_tokens} pieces that "
            f"{base.name} can write; training leaves them out, {share:.1%} of the audio of train",
            found,
            "cut the clips: `xlasr align` does it by their transcript",
        )


def spelling(material: Material) -> Iterator[Finding]:
    """How well Whisper's pieces fit the language."""
    base = base_of(material)
    if base.tokens is None:
        return
    pieces = characters = 0
    counts: Counter[str] = Counter()
    for utterance in material.side("train"):
        text = normalise(utterance.text, material.form)
        pieces += len(base.tokens.encode(text))
        characters += len(text)
        counts.update(text)
    rate = pieces / max(1, characters)
    if rate < material.thresholds.token_rate:
        return
    # " ř" is one piece or two (the space and the letter) where the letter is one by itself
    spelled = [c for c, _ in counts.most_common() if len(base.tokens.encode(c)) > 2]
    letters = f"; by bytes: {few(spelled, 10)}" if spelled else ""
    yield Finding(
        "note",
        "spelled rather than written",
        f"{base.name} needs {rate:.2f} pieces a character for this text (English: 0.20){letters}. "
        "It can write everything, but slowly",
        advice="nothing is wrong; the family ctc is quicker, and output.mode cut makes it smaller",
    )


def vocabulary(material: Material) -> Iterator[Finding]:
    """A SentencePiece vocabulary that the text of train cannot fill."""
    if material.pieces is None:
        return
    import sentencepiece

    limits, wanted = material.thresholds, material.pieces
    texts = (normalise(u.text, material.form) for u in material.side("train"))
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(text for text in texts if text),
            model_writer=written,
            vocab_size=wanted,
            minloglevel=2,
        )
    except RuntimeError as error:
        most = re.search(r"value <= (\d+)", str(error))
        least = re.search(r"smaller than required_chars\D*(\d+)\D+(\d+)", str(error))
        told = (
            f"at most {most[1]}" if most else f"at least {least[2]}" if least else str(error)[-120:]
        )
        yield Finding(
            "blocking",
            "vocabulary does not fit",
            f"SentencePiece cannot make {wanted:,} pieces of the text of train: {told}",
            advice=f"choose another size ({told})",
        )
        return
    model = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    seen = np.zeros(wanted, dtype=np.int64)
    for utterance in material.side("train"):
        np.add.at(seen, model.encode(normalise(utterance.text, material.form)), 1)
    own = [i for i in range(wanted) if not (model.is_control(i) or model.is_unknown(i))]
    rare = int((seen[own] < limits.piece_count).sum())
    if rare > limits.piece_share * len(own):
        yield Finding(
            "warning",
            "vocabulary too large",
            f"{rare:,} of {wanted:,} SentencePiece pieces stand in train fewer than "
            f"{limits.piece_count} times and will not be learnt (limit: "
            f"{limits.piece_share:.0%} of them)",
            advice=f"take a smaller vocabulary, such as {max(50, wanted // 2):,}",
        )


CHECKS = (
    Check("letters that train does not have", unseen_letters),
    Check("letters that the head does not have", head_letters, "base"),
    Check("more text than sound (CTC)", no_alignment),
    Check("too long for the decoder", too_many_pieces, "base"),
    Check("pieces of the base", spelling, "base"),
    Check("SentencePiece vocabulary", vocabulary),
)

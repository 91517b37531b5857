"""A long recording and its transcript -> a corpus that refers to the recording."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from xlasr.alignment.segment import DEFAULT, Matching, Segmentation, segment
from xlasr.data import audio as sound
from xlasr.data.arrange import arrange
from xlasr.data.card import Card
from xlasr.data.clips import make_clips
from xlasr.data.corpus import Corpus, Utterance
from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, encoding_advice
from xlasr.data.splits import SPLITS
from xlasr.data.writing import check_target, staging, write_manifests
from xlasr.errors import DataError
from xlasr.models.run import SpeechModel

LEFT_OUT = "left_out.jsonl"
"""File in the corpus: text and sound that did not match."""


def read_transcript(path: Path, encoding: str = "utf-8") -> str:
    """Return the text of a transcript.

    Raises:
        DataError: It cannot be read, or is in another encoding.
    """
    try:
        content = path.read_bytes()
        return content.decode(encoding).removeprefix("\ufeff")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    except UnicodeError as error:
        raise DataError(f"{path}: {error}. {encoding_advice(content, encoding)}") from error


def cut_recording(
    model: SpeechModel,
    audio: Path,
    text: str,
    matching: Matching = DEFAULT,
    *,
    limits: sound.Limits = sound.DEFAULT_LIMITS,
    progress: Callable[[float], None] | None = None,
) -> Segmentation:
    """Cut a file by its transcript, streaming it; see ``segment``.

    Raises:
        AudioError: The file cannot be decoded.
        UsageError: The model is no CTC model.
        DataError: Nothing of the text was found in the recording.
    """
    blocks = sound.stream(audio, limits=limits)
    return segment(model, blocks, text, matching, progress=progress)


def write_recording(
    out: Path,
    audio: Path,
    found: Segmentation,
    *,
    language: str,
    licence: str = "unknown",
    overwrite: bool = False,
    limits: sound.Limits = sound.DEFAULT_LIMITS,
) -> Corpus:
    """Write the utterances as a corpus that refers to the recording, which is not copied.

    Each has the custom fields ``alignment_score``, ``alignment_worst`` and ``line``. What did not
    match is in ``left_out.jsonl``. The sides are blocks of time of the recording, as ``prepare``
    makes them of a single recording.

    Args:
        out: The corpus folder to make.
        audio: The recording.
        found: What ``cut_recording`` returned.
        language: BCP-47 tag.
        licence: For the card.
        overwrite: Replace a corpus that is there.
        limits: Those that it was cut with.

    Raises:
        UsageError: Something is there already.
        DataError: Not one utterance can be used.
    """
    out, audio = out.absolute(), audio.absolute()
    check_target(out, overwrite=overwrite)
    stem = re.sub(r"\s+", "_", audio.stem)
    records = [
        RawRecord(
            id=f"{stem}-{number:05d}",
            audio=audio,
            text=u.text,
            start_s=round(u.start_s, 3),
            duration_s=round(u.end_s, 3) - round(u.start_s, 3),
            custom={
                "alignment_score": round(u.score, 4),
                "alignment_worst": round(u.worst, 4),
                "line": u.line,
            },
        )
        for number, u in enumerate(found.utterances)
    ]
    quarantine = Quarantine()
    clips = make_clips(
        records,
        quarantine,
        copies=None,
        limits=limits,
        workers=1,
        advance=lambda n: None,
    )
    if not clips:
        raise DataError(f"{audio}: not one utterance can be cut out of it")
    arranged = arrange(clips, audio.parent, None, "recording", None, quarantine=quarantine)
    splits: dict[str, list[Utterance]] = {side: [] for side in SPLITS}
    for i in arranged.keep:
        clip, record = clips[i], clips[i].record
        splits[arranged.sides[i]].append(
            Utterance(
                id=record.id,
                audio=audio,
                start_s=clip.start_s,
                duration_s=clip.n_samples / sound.SAMPLE_RATE,
                text=record.text,
                language=language,
                speaker=None,
                group=arranged.groups[i],
                channel=-1,
                custom={**record.custom, "samples_sha256": clip.sha256},
            )
        )
    card = Card(
        language=language,
        source=f"{audio}, cut by forced alignment",
        licence=licence,
        split_rule=arranged.split_rule,
        group_rule=arranged.group_rule,
        dropped=arranged.dropped,
        warnings=arranged.warnings,
    )
    with staging(out, overwrite=overwrite) as folder:
        recordings = {audio: clips[0].recording}
        write_manifests(folder, splits, card, quarantine, recordings=recordings)
        lines = [json.dumps(asdict(item), ensure_ascii=False) for item in found.left_out]
        (folder / LEFT_OUT).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return Corpus.open(out)

"""A run on disk, opened: what it was, its model, and what it does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from xlasr import runs
from xlasr.alignment.words import word_timer
from xlasr.config import DecodeSettings, Recipe, load_recipe
from xlasr.data.annotations import TimedText
from xlasr.data.audio import Limits
from xlasr.data.corpus import Corpus
from xlasr.decoding.fusion import language_model, saved_language_model
from xlasr.decoding.ngram import NGram
from xlasr.decoding.recognise import DecodeOptions
from xlasr.decoding.streaming import EndPoints, StreamDecoder
from xlasr.decoding.transcribe import transcribe_file
from xlasr.errors import CorpusError, RunError, UsageError
from xlasr.models.ctc import CTCModel
from xlasr.models.heads import turn_to, use_language
from xlasr.models.int8 import to_int8
from xlasr.models.run import SpeechModel, load_model
from xlasr.models.transducer import Transducer
from xlasr.training.metrics import Metrics

if TYPE_CHECKING:
    from xlasr.reporting.evaluation import Evaluation


@dataclass
class Run:
    """A finished (or interrupted) run on disk.

    Args:
        folder: Of the run.
        int8: Open its model with 8-bit weights in the encoder (``models.int8``).
    """

    folder: Path
    int8: bool = False
    _n_grams: dict[str, NGram] = field(default_factory=dict, repr=False, compare=False)
    _own: str = field(default="", repr=False, compare=False)  # the language the model opens with

    @cached_property
    def facts(self) -> dict[str, Any]:
        """``run.json``: recipe, base, corpus, seed, environment, cost."""
        return runs.read(self.folder)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe, every field.

        Raises:
            RunError: It is gone or damaged.
        """
        try:
            return load_recipe(str(self.folder / "recipe.yaml"))
        except UsageError as error:
            raise RunError(f"{error}\nPut it back as it was, or start a new run") from error

    @property
    def summaries(self) -> list[dict[str, Any]]:
        """One a finished stage: updates, dev CER, guards, parameters."""
        found: list[dict[str, Any]] = self.facts.get("stages", [])
        return found

    @cached_property
    def model(self) -> SpeechModel:
        """The finished model, in evaluation mode.

        Raises:
            RunError: The run was not finished.
        """
        if not (self.folder / "model").exists():
            raise RunError(
                f"{self.folder} is not finished; go on with `xlasr adapt --resume {self.folder}`"
            )
        model = load_model(self.folder / "model")
        self._own = str(model.info["language"])
        return to_int8(model) if self.int8 else model

    @property
    def by_language(self) -> bool:
        """Whether languages have heads of their own."""
        return isinstance(self.model, CTCModel) and bool(self.model.heads)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Rows of ``metrics.jsonl``."""
        return Metrics(self.folder / "metrics.jsonl").rows()

    def options(self, decode: DecodeSettings | None = None) -> DecodeOptions:
        """How the run decodes: its recipe's settings, or those given.

        The language model of the recipe lies in the run; one of another order or of other texts is
        built from the run's corpus.

        Raises:
            UsageError: ``length_bonus`` for a Whisper run, ``one_a_frame`` for anything but a
                transducer, or a text that cannot be read.
            RunError: The run was not finished; or a language model has to be built, and the corpus
                is gone or another one.
        """
        settings = decode or self.recipe.decode
        if settings.length_bonus and self.model.family == "seq2seq":
            raise UsageError("length_bonus is for ctc runs; Whisper's beam normalises by length")
        if settings.one_a_frame and not isinstance(self.model, Transducer):
            raise UsageError("one_a_frame is for transducers; other searches have no such choice")
        return DecodeOptions(
            beam=settings.beam,
            lm=self._language_model(settings) if settings.lm_order else None,
            lm_weight=settings.lm_weight,
            length_bonus=settings.length_bonus,
            one_a_frame=settings.one_a_frame,
        )

    def _language_model(self, settings: DecodeSettings) -> NGram:
        key = json.dumps([settings.lm_order, settings.lm_text, self.model.info["language"]])
        if key not in self._n_grams:  # once, not for every recording
            found = saved_language_model(self.folder, self.model, settings)
            if found is None:
                found = language_model(self.model, self._corpus(settings), settings)
            self._n_grams[key] = found
        return self._n_grams[key]

    def _corpus(self, settings: DecodeSettings) -> Corpus:
        """The corpus of the run, from which a language model is built."""
        wanted = self.facts["corpus"]
        advice = (
            f"{self.folder} keeps no language model of order {settings.lm_order} with texts "
            f"{settings.lm_text}, so it has to be built from the run's own corpus. Say once where "
            f"that is now: `xlasr adapt CORPUS --resume {self.folder}` (it also keeps the recipe's "
            "language model in the run); or decode without one: --lm-order 0"
        )
        spoken = self.model.info["language"]
        if self.by_language and spoken != self.facts["language"]:
            raise RunError(
                f"{self.folder} keeps no such language model of {spoken!r}, and its own corpus is "
                f"of {self.facts['language']!r}; decode with the recipe's, or without: --lm-order 0"
            )
        try:
            corpus = Corpus.open(wanted["path"])
        except CorpusError as error:
            raise RunError(f"{error}\n{advice}") from error
        if corpus.sha256 != wanted["sha256"]:
            raise RunError(
                f"{corpus.path} is another corpus than the one the run was trained on (sha256 "
                f"{corpus.sha256[:12]} instead of {wanted['sha256'][:12]}): its dev or test may "
                f"have been training text.\n{advice}"
            )
        return corpus

    def transcribe(
        self,
        audio: str | Path,
        *,
        language: str | None = None,
        decode: DecodeSettings | None = None,
        words: bool = False,
        aligner: Run | str | Path | None = None,
        max_hours: float | None = None,
    ) -> Iterator[TimedText]:
        """Transcribe a recording of any length, segment by segment.

        Args:
            audio: Any file that libsndfile or FFmpeg reads.
            language: BCP-47 tag, where the run has heads of several languages; None takes that of
                its first corpus.
            decode: How to decode; default: the recipe's settings.
            words: Find the times and confidences of the words too.
            aligner: A CTC run of the same language that finds them; default: this run.
            max_hours: Longer recordings are refused; None is no limit.

        Raises:
            AudioError: It cannot be decoded (further); what could be is given before.
            RunError: A run was not finished.
            UsageError: The run has no head for the language; or words were asked for, and the run
                that is to find them is no CTC run.
        """
        if aligner is not None and not words:
            raise UsageError("an aligner is for the times of words; ask for them too (--words)")
        model = self.model  # opened, it knows its own language
        if language is not None:
            use_language(model, language)
        else:
            turn_to(model, self._own)
        timer = None
        if words:
            by = self if aligner is None else aligner
            timer = word_timer((by if isinstance(by, Run) else open_run(by)).model)
        limits = Limits.of_hours(max_hours)
        options = self.options(decode)
        found = transcribe_file(model, audio, options, limits=limits, words=timer)
        return self._in(language or self._own, found)

    def stream(
        self,
        *,
        language: str | None = None,
        decode: DecodeSettings | None = None,
        end_points: EndPoints | None = None,
    ) -> StreamDecoder:
        """Begin to listen: ``push`` samples as they come and get texts, ``flush`` at the end.

        ::

            stream = xlasr.open_run("RUN").stream()
            for samples in microphone:  # float32, 16 kHz, any number at a time
                for heard in stream.push(samples):
                    print(heard.is_final, heard.start_s, heard.text)
            print(stream.flush())

        Streams may stand beside each other (one for every connection) on the one model of a run;
        they are not to be pushed at the same moment from several threads.

        Args:
            language: As in ``transcribe``.
            decode: How to decode; default: the recipe's settings.
            end_points: When an utterance has ended.

        Raises:
            RunError: The run was not finished, or its model hears whole clips only.
            UsageError: The run has no head for the language.
        """
        model = self.model
        if language is not None:
            use_language(model, language)
        else:
            turn_to(model, self._own)
        return StreamDecoder(model, self.options(decode), end_points, language or self._own)

    def _in(self, language: str, found: Iterator[TimedText]) -> Iterator[TimedText]:
        """Pass segments on; another language may be used between two of them."""
        while True:
            turn_to(self.model, language)
            if (segment := next(found, None)) is None:
                return
            yield segment

    def evaluate(
        self,
        corpus: str | Path | None = None,
        *,
        split: str = "test",
        name: str = "",
        with_base: bool = True,
        decode: DecodeSettings | None = None,
        console: Console | None = None,
    ) -> Evaluation:
        """Score the model beside its unadapted base; see ``api.evaluate``."""
        from xlasr.api.evaluating import evaluate

        return evaluate(
            self,
            corpus,
            split=split,
            name=name,
            with_base=with_base,
            decode=decode,
            console=console,
        )


def open_run(folder: str | Path, *, int8: bool = False) -> Run:
    """Open a run folder.

    Args:
        folder: Of the run.
        int8: Open its model with 8-bit weights in the encoder (``models.int8``).

    Raises:
        RunError: It is none.
    """
    run = Run(Path(folder), int8)
    _ = run.facts
    return run

"""A run on disk, opened: what it was, its model, and what it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from xlasr import runs
from xlasr.config import DecodeSettings, Recipe, load_recipe
from xlasr.data.annotations import TimedText
from xlasr.data.corpus import Corpus
from xlasr.decoding.recognise import DecodeOptions
from xlasr.decoding.transcribe import transcribe_file
from xlasr.errors import RunError, UsageError
from xlasr.models.run import SpeechModel, load_model
from xlasr.training.metrics import Metrics

if TYPE_CHECKING:
    from xlasr.reporting.evaluation import Evaluation


@dataclass
class Run:
    """A finished (or interrupted) run on disk.

    Args:
        folder: Of the run.
    """

    folder: Path
    _options: dict[str, DecodeOptions] = field(default_factory=dict, repr=False, compare=False)

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
        return load_model(self.folder / "model")

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Rows of ``metrics.jsonl``."""
        return Metrics(self.folder / "metrics.jsonl").rows()

    def options(self, decode: DecodeSettings | None = None) -> DecodeOptions:
        """How the run decodes: its recipe's settings, or those given."""
        from xlasr.decoding.fusion import language_model

        settings = decode or self.recipe.decode
        if settings.length_bonus and self.model.family == "seq2seq":
            raise UsageError("length_bonus is for ctc runs; Whisper's beam normalises by length")
        key = settings.model_dump_json()
        if key not in self._options:  # a language model is built once, not for every recording
            lm = None
            if settings.lm_order:
                corpus = Corpus.open(self.facts["corpus"]["path"])
                lm = language_model(self.model, corpus, settings)
            self._options[key] = DecodeOptions(
                beam=settings.beam,
                lm=lm,
                lm_weight=settings.lm_weight,
                length_bonus=settings.length_bonus,
            )
        return self._options[key]

    def transcribe(
        self, audio: str | Path, *, decode: DecodeSettings | None = None
    ) -> Iterator[TimedText]:
        """Transcribe a recording of any length, segment by segment.

        Raises:
            AudioError: It cannot be decoded.
            RunError: The run was not finished.
        """
        return transcribe_file(self.model, audio, self.options(decode))

    def evaluate(
        self,
        corpus: str | Path | None = None,
        *,
        split: str = "test",
        with_base: bool = True,
        decode: DecodeSettings | None = None,
        console: Console | None = None,
    ) -> Evaluation:
        """Score the model beside its unadapted base; see ``api.evaluate``."""
        from xlasr.api.evaluating import evaluate

        return evaluate(
            self, corpus, split=split, with_base=with_base, decode=decode, console=console
        )


def open_run(folder: str | Path) -> Run:
    """Open a run folder.

    Raises:
        RunError: It is none.
    """
    run = Run(Path(folder))
    _ = run.facts
    return run

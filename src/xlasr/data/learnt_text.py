"""A transcript that carries what is known of its clip, through a loop that does not look."""

from __future__ import annotations


class LearntText(str):
    """A string, and what an objective may want to know beside it.

    Args:
        text: The transcript.
        ends_s: For each character the seconds from the start of the clip, never falling; None where
            it was not aligned.
        hypotheses: What a model wrote for the clip, the best first; None where nothing was decoded
            ahead.
    """

    ends_s: tuple[float, ...] | None
    hypotheses: tuple[str, ...] | None

    def __new__(
        cls,
        text: str,
        ends_s: tuple[float, ...] | None = None,
        hypotheses: tuple[str, ...] | None = None,
    ) -> LearntText:
        """Make one; a string is made by ``__new__``."""
        made = super().__new__(cls, text)
        made.ends_s, made.hypotheses = ends_s, hypotheses
        return made

    def faster(self, factor: float) -> LearntText:
        """The same for the clip at another speed: it ends sooner, and the texts stay."""
        ends = self.ends_s and tuple(end / factor for end in self.ends_s)
        return LearntText(self, ends, self.hypotheses)

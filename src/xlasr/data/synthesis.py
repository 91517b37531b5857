"""espeak-ng: text read out by rules in a hundred languages, as sound or as phones.

The sound is no measure of anything and never enters dev or test; as training text with sound it
teaches spelling and words that the recordings lack. Everything made from it is called synthetic.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from xlasr.errors import DataError

SAMPLE_RATE = 16_000
VOICES = tuple("m1 m2 m3 m4 m5 m6 m7 f1 f2 f3 f4 f5 klatt klatt2 croak".split())
"""Variants of espeak-ng that differ in formants, breath and pitch range."""
_SYNCHRONOUS = 2
_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_USUAL_RATE = 175  # words a minute
_LEAST_S_A_LETTER = 0.03
"""At the usual rate. The fastest of 2,953 sentences in six languages took 0.044 s a letter; what is
spoken without a dictionary takes 0.02."""
_IPA_APART = 0x02 | ord("_") << 8  # IPA, with a low line between phones
_SWITCH = re.compile(r"\([a-z-]+\)")  # "(en)": what follows is spoken by another language's rules
_NO_PHONE = str.maketrans("", "", "ˈˌ-0123456789")  # stress, links, and tones as figures
_lock = threading.Lock()  # the library has one state for the whole process


@dataclass(frozen=True)
class Voice:
    """How a sentence is spoken.

    Args:
        variant: One of ``VOICES``.
        words_per_minute: 80 to 450.
        pitch: 0 to 99; 50 is usual.
        pitch_range: 0 (monotone) to 99.
    """

    variant: str
    words_per_minute: int = _USUAL_RATE
    pitch: int = 50
    pitch_range: int = 50


def draw_voice(rng: np.random.Generator) -> Voice:
    """A voice, rate and intonation within what sounds like a person."""
    return Voice(
        VOICES[int(rng.integers(len(VOICES)))],
        int(rng.integers(135, 216)),
        int(rng.integers(20, 81)),
        int(rng.integers(30, 81)),
    )


class Synthesiser:
    """espeak-ng in this process.

    It keeps a state: the same sentence lasts a few milliseconds more or less the next time.
    A corpus made of it is repeatable only as files; its sha256 says which.

    Args:
        language: BCP-47 tag; espeak-ng's own voice names are these tags in lower case.

    Raises:
        DataError: The extra is not installed, or espeak-ng has no such language.
    """

    def __init__(self, language: str) -> None:
        self._library, self._native_rate = _load()
        self.language = language.lower()
        with _lock:
            found = self._library.espeak_SetVoiceByName(self.language.encode())
        if found != 0:
            raise DataError(
                f"espeak-ng has no voice for {language!r}; its documentation lists the languages, "
                "and a close one may do"
            )

    def say(self, text: str, voice: Voice) -> NDArray[np.float32]:
        """Speak a sentence: float32, mono, 16 kHz.

        Raises:
            DataError: Nothing was spoken (the text has no word in it), or twice far less than the
                text has letters for: espeak-ng lists a few languages without their dictionaries,
                and training on half a sentence would teach to skip the other half.
        """
        letters = sum(c.isalnum() for c in text)
        if not letters:
            raise DataError(f"espeak-ng would speak nothing for {text!r}: no word is in it")
        least_s = letters * _LEAST_S_A_LETTER * _USUAL_RATE / voice.words_per_minute
        for _ in range(2):
            samples = self._spoken(text, voice)
            if len(samples) >= least_s * self._native_rate:
                resampled: NDArray[np.float32] = soxr.resample(
                    samples, self._native_rate, SAMPLE_RATE
                )
                return resampled
        spoken_s = len(samples) / self._native_rate
        raise DataError(
            f"espeak-ng spoke {spoken_s:.2f} s for the {letters} letters of {text!r}; at least "
            f"{least_s:.2f} s were expected. Its voice {self.language!r} may lack its dictionary"
        )

    def _spoken(self, text: str, voice: Voice) -> NDArray[np.float32]:
        """What espeak-ng says, at its own rate; may be empty."""
        blocks = [np.zeros(0, np.int16)]

        def receive(samples: Any, count: int, events: Any) -> int:
            if samples and count > 0:  # a last call without samples says that it is over
                blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
            return 0

        name = f"{self.language}+{voice.variant}"
        content = text.encode() + b"\0"
        with _lock:
            library, callback = self._library, _CALLBACK(receive)
            library.espeak_SetSynthCallback(callback)
            found = library.espeak_SetVoiceByName(name.encode())
            library.espeak_SetParameter(_RATE, voice.words_per_minute, 0)
            library.espeak_SetParameter(_PITCH, voice.pitch, 0)
            library.espeak_SetParameter(_RANGE, voice.pitch_range, 0)
            status = library.espeak_Synth(content, len(content), 0, 0, 0, _UTF8, None, None)
            library.espeak_SetSynthCallback(_CALLBACK(0))
        if found != 0 or status != 0:
            raise DataError(
                f"espeak-ng could not speak {text!r} as {name} (codes {found} and {status})"
            )
        return np.concatenate(blocks).astype(np.float32) / 32768.0


def spoken_as(language: str) -> str | None:
    """The voice of espeak-ng for a BCP-47 tag: its own, or that of the language alone; or None.

    Raises:
        DataError: The extra is not installed.
    """
    library, _ = _load()
    tag = language.lower()
    with _lock:
        for name in dict.fromkeys((tag, tag.partition("-")[0].replace("zh", "cmn"))):
            if library.espeak_SetVoiceByName(name.encode()) == 0:
                return name
    return None


def phones(texts: Iterable[str], language: str) -> Counter[str]:
    """Count the phones of texts, in IPA without stress and tone.

    They are those of espeak-ng's rules, not of anybody's mouth. Words that it reads by the rules
    of another language (English ones, mostly) are left out.

    Raises:
        DataError: The extra is not installed, or espeak-ng has no such language.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        for clause in clauses(text, language):
            counts.update(_own_phones(clause))
    return counts


def clauses(text: str, language: str) -> list[str]:
    """Read a text in IPA, clause by clause: low lines between phones, spaces between words.

    Stress, tone, links and changes of language are in it: "h_ə_t (en)_w_ˈiː_(nl)_ m_ɛ_t".

    Raises:
        DataError: The extra is not installed, or espeak-ng has no such language.
    """
    voice = spoken_as(language)
    if voice is None:
        raise DataError(f"espeak-ng has no voice for {language!r}")
    library, _ = _load()
    content = ctypes.create_string_buffer(text.encode() + b"\0")
    rest = ctypes.c_void_p(ctypes.addressof(content))
    found: list[str] = []
    with _lock:
        library.espeak_SetVoiceByName(voice.encode())
        while rest.value:  # it goes on behind the clause that was read
            read = library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA_APART)
            found.append((read or b"").decode())
    return found


def espeak_version() -> str:
    """Version of espeak-ng; its phones may change with it.

    Raises:
        DataError: The extra is not installed.
    """
    library, _ = _load()
    with _lock:
        return str(library.espeak_Info(None).decode()).split(" ")[0]


def _own_phones(clause: str) -> list[str]:
    """Phones of "h_ə_t (en)_w_iː_(nl)_ m_ɛ_t", without those between the languages' names."""
    own = "".join(_SWITCH.split(clause)[::2])
    bare = (phone.translate(_NO_PHONE) for phone in own.replace("_", " ").split())
    return [phone for phone in bare if phone]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)
_loaded: tuple[Any, int] | None = None


def _load() -> tuple[Any, int]:
    """The library and its sample rate; initialised once a process."""
    global _loaded
    with _lock:
        if _loaded is None:
            try:
                import espeakng_loader  # type: ignore[import-untyped]
            except ImportError as error:
                raise DataError("this needs espeak-ng: pip install 'xlasr[synthesis]'") from error
            library = ctypes.CDLL(espeakng_loader.get_library_path())
            folder = espeakng_loader.get_data_path().encode()
            library.espeak_TextToPhonemes.restype = ctypes.c_char_p
            library.espeak_Info.restype = ctypes.c_char_p
            rate = int(library.espeak_Initialize(_SYNCHRONOUS, 0, folder, 0))
            if rate <= 0:
                raise DataError(
                    f"espeak-ng could not start (code {rate}); reinstall espeakng-loader"
                )
            _loaded = library, rate
        return _loaded

"""The bases that xlasr fetches by itself. No torch here: the command line lists them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BuiltIn:
    """A base that xlasr fetches by itself.

    Args:
        name: What ``--base`` takes.
        languages: Languages it knows.
        n_parameters: All of them.
        download_mb: Size of the download.
        licence: Its licence.
        note: One line for ``xlasr bases``.
    """

    name: str
    languages: str
    n_parameters: int
    download_mb: int
    licence: str
    note: str


BUILT_IN = {
    "whisper-tiny.en": BuiltIn(
        "whisper-tiny.en",
        "en",
        37_760_256,
        76,
        "MIT (OpenAI)",
        "real Whisper, English only; families seq2seq and ctc",
    ),
    "multimodal-tiny": BuiltIn(
        "multimodal-tiny",
        "en",
        45_445_248,
        76,
        "MIT (OpenAI)",
        "whisper-tiny.en with a length adapter and a text encoder still to be trained, as "
        "SeamlessM4T has them (recipe multimodal-pretrain); family seq2seq",
    ),
    "emformer-20": BuiltIn(
        "emformer-20", "none", 63_605_760, 0, "", "random weights, streaming; 20 layers, for GPUs"
    ),
    "emformer-small": BuiltIn(
        "emformer-small", "none", 6_393_600, 0, "", "random weights, streaming; for two CPU cores"
    ),
    "audiovisual-base": BuiltIn(
        "audiovisual-base",
        "none",
        24_621_568,
        0,
        "",
        "random weights; learns from clips first, beside a ViT of 86 M; for GPUs",
    ),
    "audiovisual-small": BuiltIn(
        "audiovisual-small",
        "none",
        2_996_640,
        0,
        "",
        "random weights; learns from clips first, beside a ViT of 2 M; for CPUs",
    ),
}


def bases() -> list[BuiltIn]:
    """The bases that xlasr fetches by itself; ``adapt`` also takes directories and hub ids."""
    return list(BUILT_IN.values())

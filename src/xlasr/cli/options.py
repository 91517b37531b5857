"""Options that several commands share, and how their values are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xlasr.errors import UsageError

if TYPE_CHECKING:
    from xlasr.config import DecodeSettings

RunFolder = Annotated[Path, typer.Argument(help="a finished run", show_default=False)]
Beam = Annotated[int | None, typer.Option(min=1, help="beam width; choose it on dev")]
LmOrder = Annotated[int | None, typer.Option(min=0, help="n-gram order; 0: no language model")]
LmWeight = Annotated[float | None, typer.Option(min=0, help="weight of the language model")]
MaxHours = Annotated[
    float | None,
    typer.Option(min=0.01, help="refuse longer recordings, counted while they are decoded"),
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all")]
Int8 = Annotated[
    bool, typer.Option("--int8", help="8-bit weights in the encoder: smaller, faster on CPUs")
]
LengthBonus = Annotated[
    float | None, typer.Option(help="added for each letter (ctc); choose it on dev")
]
OneAFrame = Annotated[
    bool | None,
    typer.Option(
        "--one-a-frame/--any-a-frame", help="symbols that a transducer's beam may write in a frame"
    ),
]
LmText = Annotated[list[str] | None, typer.Option(help="text file for the language model")]


def decode_settings(
    settings: DecodeSettings,
    beam: int | None,
    lm_order: int | None,
    lm_weight: float | None,
    lm_text: list[str] | None,
    length_bonus: float | None,
    one_a_frame: bool | None = None,
) -> DecodeSettings:
    """The recipe's decoding with the options that were given."""
    if lm_order == 0 and length_bonus is None:
        length_bonus = 0.0  # it makes up for what the language model takes from each letter
    given: dict[str, Any] = {
        "beam": beam,
        "lm_order": lm_order,
        "lm_weight": lm_weight,
        "lm_text": lm_text,
    }
    given |= {"length_bonus": length_bonus, "one_a_frame": one_a_frame}
    decode = settings.model_copy(update={k: v for k, v in given.items() if v is not None})
    if not decode.lm_order and (lm_weight is not None or lm_text):
        raise UsageError(
            "--lm-weight and --lm-text are for a language model and there is none; add --lm-order 4"
        )
    if length_bonus and decode.beam == 1 and not decode.lm_order:
        raise UsageError("--length-bonus is for a beam and this is greedy; add --beam 8")
    return decode


def fields(option: str, pairs: list[str] | None) -> dict[str, str]:
    """``field=column`` options as a dictionary."""
    found = dict(pair.partition("=")[::2] for pair in pairs or [] if "=" in pair)
    if wrong := [pair for pair in pairs or [] if "=" not in pair]:
        raise UsageError(f"{option} takes field=column; found {wrong[0]!r}")
    return found


def channels(pairs: list[str] | None) -> dict[str, int]:
    """``tier-or-speaker=channel`` options as a dictionary."""
    found = {}
    for name, equals, number in (pair.rpartition("=") for pair in pairs or []):
        if not equals or not number.isdecimal():
            raise UsageError(f"--channel takes NAME=NUMBER; found {name + equals + number!r}")
        found[name] = int(number)
    return found


def shares(pairs: list[str] | None) -> dict[str, float] | None:
    """``side=share`` options as a dictionary; None when there are none."""
    found = {}
    for side, equals, share in (pair.partition("=") for pair in pairs or []):
        try:
            found[side] = float(share)
        except ValueError:
            raise UsageError(
                f"--share takes SIDE=SHARE, such as train=8; found {side + equals + share!r}"
            ) from None
    return found or None


def was_given(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line (and is not its default)."""
    return getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"

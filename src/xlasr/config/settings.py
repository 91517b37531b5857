"""A recipe as typed objects: a list of stages. Every field is documented once, here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from xlasr.config.base import Settings
from xlasr.config.corpora import CorpusSettings
from xlasr.config.decoder import DecoderSettings, Family
from xlasr.config.min_wer import MinWerSettings
from xlasr.config.misfits import misfits
from xlasr.config.steering import EvaluateSettings, StopSettings
from xlasr.config.transducer import TransducerLossSettings, TransducerSettings
from xlasr.config.unlabelled import (
    WITH_VIDEO,
    WITHOUT_TEXT,
    AutoencoderSettings,
    ContrastiveSettings,
    CropSettings,
    PairSettings,
)


class ChunkSettings(Settings):
    """Whisper's encoder chunk by chunk, for streaming; see ``models.whisper_chunks.Chunks``."""

    positions: int = Field(32, ge=1, description="of 20 ms, in one chunk: the latency")
    left: int = Field(128, ge=0, description="positions that every layer looks back at")


class ContextSettings(Settings):
    """How much audio Whisper's encoder is given; see ``models.encoders.Context``."""

    slack: int = Field(64, ge=0, description="encoder positions (20 ms) behind the speech")
    multiple: int = Field(32, ge=1, description="context is rounded up to a multiple of this")
    full_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of training batches whose context is drawn between need and 30 s, so "
        "that runtimes that always pad to 30 s can use the model too",
    )
    chunk: ChunkSettings | None = Field(
        None, description="not seq2seq: hear speech as it comes; the fields above have no part"
    )


class LoraSettings(Settings):
    """Low-rank adaptation, through peft."""

    r: int = Field(48, ge=1, description="rank")
    alpha: float = Field(96.0, gt=0, description="scale; the update is multiplied by alpha / r")
    dropout: float = Field(0.05, ge=0, lt=1)
    targets: list[str] = Field(
        ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
        min_length=1,
        description="names of linear layers; nothing matched is an error",
    )
    layers: list[Annotated[int, Field(ge=0)]] | None = Field(
        None, min_length=1, description="numbers of the layers, from 0; None: all"
    )
    dora: bool = Field(False, description="magnitude and direction apart (arXiv 2402.09353)")
    rslora: bool = Field(False, description="scale alpha / sqrt(r) (arXiv 2312.03732)")


class AdapterSettings(Settings):
    """Bottleneck adapters: norm, down, non-linearity, up, residual; the base stays as it is."""

    kind: Literal["bottleneck", "mms"] = Field(
        "bottleneck", description="mms: the language adapters that an MMS base has itself"
    )
    width: int = Field(
        64, ge=1, description="of the bottleneck; one layer has 2 * D * width weights"
    )
    where: Literal["encoder", "decoder", "both", "length"] = Field(
        "encoder",
        description="behind which layers; ctc has no decoder; length: of SeamlessM4T's length "
        "adapter",
    )
    activation: Literal["relu", "gelu"] = "relu"


class LayerNumbers(Settings):
    """Transformer layers by number, from 0 at the bottom."""

    encoder: list[Annotated[int, Field(ge=0)]] = Field([])
    decoder: list[Annotated[int, Field(ge=0)]] = Field([])


class FreezeSettings(LayerNumbers):
    """What is not trained, whatever ``part`` says."""

    feature_encoder: bool = Field(
        False, description="the convolutions of a self-supervised base, below its layers"
    )


class TrainSettings(Settings):
    """Which part of the model is trained."""

    part: Literal["full", "head", "layers", "lora", "adapter", "length_adapter"] = Field(
        "full",
        description="head: CTC head, or the decoder; layers: head and the top encoder layers; "
        "lora, adapter: these alone, and a CTC head; length_adapter: what shortens the sequence "
        "behind the encoder of SeamlessM4T (46 M weights) or multimodal-tiny (4 M), alone",
    )
    top_layers: int = Field(0, ge=0, description="encoder layers trained under `layers`")
    lora: LoraSettings = LoraSettings()
    adapter: AdapterSettings = AdapterSettings()
    dropout: float | None = Field(
        None, ge=0, lt=1, description="in the layers of the base; None keeps what the base has"
    )
    freeze: FreezeSettings = FreezeSettings()
    recompute: bool = Field(
        False,
        description="gradient checkpointing: less memory for about a third more time",
    )
    unfreeze_at: float = Field(
        0.0, ge=0, lt=1, description="share of the updates in which only the head is trained"
    )
    text_input: Literal["none", "mean"] = Field(
        "mean",
        description="what Whisper's decoder attends to where a text has no speech: one encoder "
        "state of zeros, or the mean one of the command's corpus; see training/text_input.py",
    )


class OutputSettings(Settings):
    """What happens to the vocabulary."""

    mode: Literal["keep", "cut", "replace", "extend"] = Field(
        "keep",
        description="keep; cut Whisper's pieces to those the text uses; replace: a new alphabet "
        "(of a transducer: new predictor and joiner; seq2seq: a new attention decoder on the "
        "encoder, `decoder`); extend: new letters behind those there are",
    )
    text: Literal["headline", "raw", "phones"] = Field(
        "headline",
        description="the form of text that is learnt: without case and punctuation, as written, or "
        "(ctc) the phones that espeak-ng gives for it, which languages share",
    )
    heads: Literal["shared", "by_language"] = Field(
        "shared",
        description="ctc: one head for all corpora; by_language: one for each language, with "
        "its own adapters under train.part adapter; the mean of the languages' dev CER chooses the "
        "weights",
    )
    start: Literal["random", "phones"] = Field(
        "random",
        description="of new heads; phones: letters begin as the phones that the model of `init` "
        "hears where they are written (mode replace, from a stage or run of text phones)",
    )
    extra_text: list[str] = Field([], description="text files whose pieces are kept under `cut`")
    pieces: int | None = Field(
        None,
        ge=3,
        description="transducer, new decoder: so many SentencePiece unigrams; None: single letters",
    )


class SpecAugmentSettings(Settings):
    """SpecAugment (arXiv 1904.08779) on log-mel frames.

    Self-supervised bases have none: there the positions and channels behind their convolutions are
    masked, by two 10 ms frames a position and a channel for every 80th of them.
    """

    time_masks: int = Field(2, ge=0)
    time_width: int = Field(40, ge=0, description="widest mask, in 10 ms frames")
    time_share: float = Field(0.15, ge=0, le=1, description="widest mask as a share of the clip")
    freq_masks: int = Field(2, ge=0)
    freq_width: int = Field(20, ge=0, description="widest mask, in mel bins")


class NoiseSettings(Settings):
    """Additive pink noise."""

    probability: float = Field(0.3, ge=0, le=1)
    snr_db: tuple[float, float] = Field((5.0, 25.0), description="lowest and highest ratio")

    @model_validator(mode="after")
    def _ascending(self) -> NoiseSettings:
        if self.snr_db[0] > self.snr_db[1]:
            raise ValueError(f"snr_db is {self.snr_db}; the lowest ratio stands first")
        return self


class CodecSettings(Settings):
    """Clips as a telephone or a low bit rate would have carried them."""

    probability: float = Field(0.3, ge=0, le=1)
    kinds: list[str] = Field(
        ["gsm", "opus:6"], min_length=1, description="drawn from; as `xlasr evaluate --condition`"
    )


class AugmentSettings(Settings):
    """Augmentation of training audio."""

    speed: list[Annotated[float, Field(gt=0.5, lt=2.0)]] = Field(
        [1.0], min_length=1, description="factors drawn for each clip and epoch"
    )
    noise: NoiseSettings | None = None
    codec: CodecSettings | None = None
    spec: SpecAugmentSettings | None = None
    crop: CropSettings | None = Field(None, description="of the pictures of clips")


class ObjectiveSettings(Settings):
    """One term of the loss."""

    kind: str = Field(
        description="ctc (for a transducer or a decoder: a head beside it), cross_entropy, "
        "transducer; min_wer; ewc beside one of these; without text: masked_contrastive, and on "
        "audio-visual clips masked_autoencoder, contrastive"
    )
    weight: float = Field(1.0, gt=0, description="of this term; about 0.1 is right for ewc")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="cross_entropy only")
    bpe_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="cross_entropy only: probability that a merge of the BPE is passed over in "
        "training (arXiv 1910.13267)",
    )
    corpus: str | None = Field(
        None, description="ewc only: a corpus folder of what should stay known (its train split)"
    )
    clips: int = Field(64, ge=1, description="ewc only: of that corpus, for the importances")
    contrastive: ContrastiveSettings = Field(
        ContrastiveSettings(), description="masked_contrastive only"
    )
    autoencoder: AutoencoderSettings = Field(
        AutoencoderSettings(), description="masked_autoencoder only"
    )
    pairs: PairSettings = Field(PairSettings(), description="contrastive only")
    transducer: TransducerLossSettings | None = Field(
        None, description="transducer only: which of its losses; None: all defaults"
    )
    min_wer: MinWerSettings | None = Field(
        None, description="min_wer only: its lists and errors; None: all defaults"
    )


class OptimSettings(Settings):
    """AdamW and its schedule."""

    lr: float = Field(1e-4, gt=0, description="peak learning rate")
    head_lr: float | None = Field(None, gt=0, description="for the head; None: same as lr")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="rate is multiplied by this for each encoder layer downwards"
    )
    warmup: int = Field(50, ge=0, description="updates of linear warm-up")
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    final: float = Field(0.0, ge=0, le=1, description="rate at the end, relative to the peak")
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0, description="gradient norm")
    average: int = Field(
        1, ge=1, description="the result is the mean of the last this many evaluation points"
    )
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        "auto", description="of matrix products; auto: bfloat16 where the processor has it"
    )


class Stage(Settings):
    """One stage: start from these weights, train this part, on this data, with this objective."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    kind: Literal["train"] = "train"
    family: Family | None = Field(
        None, description="None: the recipe's; from a stage of another one comes its encoder"
    )
    init: str = Field("base", description="`base`, or the name of an earlier stage")
    reset: LayerNumbers = Field(
        LayerNumbers(), description="layers whose weights are drawn anew instead of carried over"
    )
    output: OutputSettings = OutputSettings()
    train: TrainSettings = TrainSettings()
    data: list[CorpusSettings] = Field([CorpusSettings()], min_length=1)
    objectives: list[ObjectiveSettings] = Field(min_length=1)
    augment: AugmentSettings = AugmentSettings()
    batch_s: float = Field(40.0, gt=0, description="seconds of padded audio in a batch")
    batch_clips: int | None = Field(None, ge=1, description="no more clips in a batch than this")
    optim: OptimSettings = OptimSettings()
    stop: StopSettings
    evaluate: EvaluateSettings = EvaluateSettings()

    @property
    def needs_text(self) -> bool:
        """Whether an objective learns transcripts; else nothing is decoded."""
        return any(o.kind not in WITHOUT_TEXT for o in self.objectives)

    @property
    def steered_by(self) -> Literal["dev_cer", "dev_loss"]:
        """What the best weights are chosen by."""
        return "dev_cer" if self.needs_text and self.evaluate.best == "cer" else "dev_loss"

    @property
    def needs_video(self) -> bool:
        """Whether an objective looks at pictures."""
        looking = (o for o in self.objectives if o.kind in WITH_VIDEO)
        return any(o.kind != "masked_autoencoder" or o.autoencoder.video_weight for o in looking)

    @property
    def min_wer(self) -> MinWerSettings | None:
        """How it minimises word errors, if it does."""
        found = (o for o in self.objectives if o.kind == "min_wer")
        return next((o.min_wer or MinWerSettings() for o in found), None)

    def positions_wanted(self) -> int:
        """Encoder positions a clip must have where its text does not say: room for two masks."""
        kinds = [o for o in self.objectives if o.kind in WITHOUT_TEXT]
        lengths = [o.contrastive.mask_length for o in kinds if o.kind not in WITH_VIDEO]
        return 2 * max(lengths, default=1)


class DecodeSettings(Settings):
    """How the finished model is decoded; chosen on dev."""

    beam: int = Field(1, ge=1)
    lm_order: int = Field(
        0, ge=0, description="0: no language model; else the order of its n-grams"
    )
    lm_weight: float = Field(0.3, ge=0)
    length_bonus: float = Field(
        0.0, description="added for each symbol; not seq2seq: its beam normalises by length"
    )
    lm_text: list[str] = Field([], description="text files or corpora besides the training texts")
    one_a_frame: bool = Field(
        False, description="transducers: a beam writes at most one symbol a frame, quicker"
    )


class Recipe(Settings):
    """A transfer method, as data."""

    name: str
    description: str = ""
    cost: str = Field(
        "", description="what a run has cost, measured, for `xlasr recipes`: on what, time, memory"
    )
    family: Family = Field(description="of the result; earlier stages may have their own")
    prompt_language: str | None = Field(
        None,
        description="seq2seq only: the language under whose token the decoder writes, where the "
        "base has none for the corpus's: a BCP-47 tag or the base's own code (hin)",
    )
    context: ContextSettings = ContextSettings()
    transducer: TransducerSettings | None = Field(
        None, description="family transducer only: sizes; None: all defaults"
    )
    decoder: DecoderSettings | None = Field(
        None, description="seq2seq: sizes of the decoder that output.mode replace makes"
    )
    stages: list[Stage] = Field(min_length=1)
    decode: DecodeSettings = DecodeSettings()

    def family_of(self, stage: Stage) -> Family:
        """The family of a stage."""
        return stage.family or self.family

    @model_validator(mode="after")
    def _stages_fit(self) -> Recipe:
        problems = misfits(self.model_dump())
        if problems:
            raise ValueError("; ".join(problems))
        return self

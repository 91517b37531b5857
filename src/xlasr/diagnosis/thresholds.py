"""Every limit of the doctor, in one place, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """When something is worth a line.

    "Real corpora" below are those of ``docs/RESULTS.md``: Czech and Dutch game dialogues, English
    telephone prompts, 47 to 97 minutes of transcribed speech that models were trained on.

    Attributes:
        wrong_share: Share of train, or of all clips, above which a defect is blocking instead of a
            warning. One clip in a hundred is what careful transcription leaves behind, and models
            stand it; more means that a whole step of the preparation went wrong.
        unseen_share: Share of the letters of dev or test that train does not have, above which
            the error rates are not those of the model any more. Error rates are read to a tenth
            of a per cent, and no model can write such a letter.
        rare_letter: Letters of train that occur less often cannot be learnt. In the real corpora
            these are two in Dutch (a foreign q and the rare ï), and none in Czech and English.
        lookalike_ratio: A foreign letter inside a word is a slip of the keyboard layout where the
            letter it looks like is at least this many times as frequent; where it is not, it may
            be the orthography (Greek letters in Latin alphabets), and only a person can say.
        digit_share: Share of lines with figures above which they are a warning. A figure is read
            out as a word that the text does not spell; below one line in a hundred the effect on
            an error rate is smaller than its interval.
        language_characters: Characters of a split below which its language is not judged. 300
            characters of the real corpora are always recognised with a probability over 0.96.
        language_probability: Probability below which another language is not claimed.
        peak_dbfs: A clip that never gets louder is silent: 60 dB below full scale is the noise of
            a quiet room at usual gain, and 30 dB below the quietest speech of the real corpora.
        quiet_dbfs: Speech level (95th percentile of 20 ms frames) below which 16 bits get coarse
            and room noise takes over. The quietest clip of the real corpora lies at -27 dBFS.
        clip_runs: Runs of three or more successive samples at the clip's own peak that make it a
            clipped one. Speech touches its peak with one sample: no clip of the real corpora has
            two such runs; ten decibels too much gain give dozens a second.
        snr_db: Estimated ratio of speech to noise below which a clip is noisy. Recognisers begin
            to fail at 10 dB and the estimate errs towards low in clips without pauses, so this is
            10 dB less a margin: the lowest hundredth of the real corpora.
        noisy_share: Share of noisy clips from which they are a warning instead of a note.
        edge_silence_s: Silence at one end of a clip from which it is a note: cutting was loose.
            The real corpora have at most 1.9 s.
        longest_s: Length in seconds above which a clip is too long, where no base says better:
            Whisper's window.
        shortest_s: Length in seconds below which no word fits: the shortest prompts ("e", "o")
            of the real corpora have 0.44 s.
        rate_deviations: Robust standard deviations of the logarithm of symbols per second from
            which a clip is spoken too fast or too slowly for its text. With four, chance alone
            would give one false alarm in 16,000 clips.
        rate_spread: Smallest standard deviation of that logarithm that is believed: read speech
            can be very even, and then a lively sentence is no error.
        rate_symbols: Clips with fewer symbols are not judged by their rate: in "Hey, player!" one
            pause is half of the clip. Below 16, good clips of the real corpora come out.
        ctc_frame_samples: Samples of one encoder position where no base is given: 20 ms, as in
            Whisper, wav2vec 2.0 and their relatives.
        test_minutes: Test speech below which an error rate says little: with 20 minutes and 16
            groups its 95 % interval is about a tenth of it to both sides.
        test_groups: The same for independent groups (scenes, speakers, recordings).
        train_minutes: Speech for training below which even the best recipes stay poor.
        lost_share: Share of the audio of train that the model cannot take (too long, too many
            tokens) above which training on the rest is no longer training on this corpus.
        piece_count: A piece of a vocabulary that train has less often is not learnt.
        piece_share: Share of such pieces from which a vocabulary is too large for the corpus.
        token_rate: Tokens per character from which Whisper's pieces spell rather than write.
            English has 0.2, Dutch 0.38, Czech 0.56, letters alone have 1.
    """

    wrong_share: float = 0.01
    unseen_share: float = 0.01
    rare_letter: int = 5
    lookalike_ratio: float = 20.0
    digit_share: float = 0.01
    language_characters: int = 300
    language_probability: float = 0.9
    peak_dbfs: float = -60.0
    quiet_dbfs: float = -45.0
    clip_runs: int = 2
    snr_db: float = 8.0
    noisy_share: float = 0.05
    edge_silence_s: float = 3.0
    longest_s: float = 30.0
    shortest_s: float = 0.3
    rate_deviations: float = 4.0
    rate_spread: float = 0.25
    rate_symbols: int = 16
    ctc_frame_samples: int = 320
    test_minutes: float = 20.0
    test_groups: int = 16
    train_minutes: float = 10.0
    lost_share: float = 0.2
    piece_count: int = 10
    piece_share: float = 0.25
    token_rate: float = 0.5

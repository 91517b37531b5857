"""Features: Whisper's log-mel, and augmentation of waveforms and spectrograms."""

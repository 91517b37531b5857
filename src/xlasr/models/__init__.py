"""Models: bases from a hub or a directory, encoders, tokenizers, two families, models on disk."""

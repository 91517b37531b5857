"""Adaptation: which part of a model a stage trains, and what happens to its vocabulary."""

"""Runnable companion of "EEG-Based Sleep Stage Classification via Differentiable Architecture Search and Multi-Level
Pruning"."""

__version__ = "0.1.0"

"""Detectors. `base.py` is the contract that training, evaluation and prediction rely on; `build.py` makes
a detector from a configuration; each family has a folder of its own."""

"""The configuration file as types: `Config` and, through its attributes, every section, key and default."""

from __future__ import annotations

from luminoth.config.fields import Section, section
from luminoth.config.schema_dataset import DatasetConfig
from luminoth.config.schema_model import ModelConfig
from luminoth.config.schema_train import EvalConfig, TrainConfig


class Config(Section):
    """A resolved configuration; its attributes mirror the keys of the file."""

    train: TrainConfig = section(TrainConfig, "How to train.")
    eval: EvalConfig = section(EvalConfig, "How to evaluate.")
    dataset: DatasetConfig = section(DatasetConfig, "Which records to read, and what is done to their pictures.")
    model: ModelConfig = section(ModelConfig, "The detector.")

"""The configuration: `schema` says what there is, `load` reads files into it and writes them back.

Imports neither TensorFlow nor NumPy, so that `lumi config` answers at once.
"""

from luminoth.config.load import ResolvedConfig, config_from_dict, dump_config, load_config, resolve_config
from luminoth.config.schema import Config

__all__ = ["Config", "ResolvedConfig", "config_from_dict", "dump_config", "load_config", "resolve_config"]

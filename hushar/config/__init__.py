"""Service and vectorization configuration: from bytes and mappings to checked records.

Sans-IO: nothing here opens a file. Every mistake that the texts alone can show is found, and all of them
are reported in one ConfigurationError.
"""

from hushar.config.loading import Examined, Loaded, examine_service
from hushar.config.plugin_settings import validate_plugin_settings
from hushar.config.service import ServiceConfiguration, service_schema
from hushar.config.vectorization import ExaminedVectorization, examine_vectorization, parse_vectorization

__all__ = [
    "Examined",
    "ExaminedVectorization",
    "Loaded",
    "ServiceConfiguration",
    "examine_service",
    "examine_vectorization",
    "parse_vectorization",
    "service_schema",
    "validate_plugin_settings",
]

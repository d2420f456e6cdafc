"""Errors that a user can mend. The command line prints them as one paragraph; anything else is a bug of ours.

Each is also the built-in that Python would raise, so that library users may catch either.
"""


class ClinlmError(Exception):
    """An error whose message says what must hold, what was found, and what to do."""

    exit_status = 1


class ConfigError(ClinlmError, ValueError):
    """A setting, or a combination of settings, that cannot work."""


class DataError(ClinlmError, ValueError):
    """A file or record that cannot be read as what it should be."""


class MissingFileError(DataError, FileNotFoundError):
    """A file or folder that does not exist."""


class ModelError(ClinlmError, RuntimeError):
    """A model, artifact or export that breaks its promise, or a method that cannot act on it."""


class TrainingError(ClinlmError, ArithmeticError):
    """A training that diverged: its loss or its predictions are no finite numbers."""


class ServerError(ClinlmError, RuntimeError):
    """A server that refuses, fails or answers nonsense."""


class MissingExtraError(ClinlmError, ImportError):
    """An optional package that the chosen settings need."""

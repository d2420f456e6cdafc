"""clinlm: compress clinical language models, and prove what it cost."""

__version__ = "0.1.0"

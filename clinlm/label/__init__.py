"""The command `clinlm-label`: any labeler over a file or a corpus of notes."""

"""Teachers, and how the logits of several are combined."""

"""Words, sentences, sections, normalization, negation, tags, tokens, long notes."""

"""Methods that store and compute weights in fewer bits: one final class per file."""

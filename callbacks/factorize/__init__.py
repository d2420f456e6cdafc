"""Methods that replace a weight by a product of smaller ones: one final class per file."""

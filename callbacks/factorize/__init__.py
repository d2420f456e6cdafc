"""Methods that replace a weight by a product of smaller matrices: one final class per file."""

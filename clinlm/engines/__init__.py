"""What runs a model where it is deployed: one final class per file, named as its option."""

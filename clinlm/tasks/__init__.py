"""What to predict from a corpus: examples, split, loss, batches, inference configuration."""

"""Where a model's first weights come from: a checkpoint, chance, or a teacher's layers. One final class per file."""

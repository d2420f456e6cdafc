"""LightningModules: teacher, student, general distillation."""

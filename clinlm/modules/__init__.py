"""LightningModules: teacher, student."""

"""Transfer sets: unlabelled texts for distillation."""

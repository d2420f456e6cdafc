"""Augmentation sets: unlabelled texts for distillation."""

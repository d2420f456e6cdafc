"""Transfer sets: texts without labels that a student learns from, besides the training documents."""

"""Plan, stages, gates: from configuration to artifacts."""

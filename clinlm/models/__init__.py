"""Networks: specification, structure, surgery, layers, artifacts on disk."""

"""Ways to make one teacher of several: a rule that combines their logits."""

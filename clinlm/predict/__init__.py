"""`clinlm-predict`: a model's answers to a file of notes, as a stream that survives being killed."""

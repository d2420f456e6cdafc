"""One stream over files of notes: answer them, label them, compare two models on them."""

"""One final class per kind of prediction: multilabel."""

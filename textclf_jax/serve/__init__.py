"""`textclf serve`: a trained classifier behind HTTP. See docs/serving.md."""

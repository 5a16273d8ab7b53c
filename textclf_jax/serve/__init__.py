"""`textclf serve`: a trained classifier behind HTTP. See docs/how-to/serving.md."""

"""`textclf_jax.TextClassifier`: from texts in memory to a trained classifier, as a scikit-learn estimator."""

"""Training, folds, scores."""

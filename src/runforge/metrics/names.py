"""The names of metrics: which are the main ones, what each is, and which way is better."""

from __future__ import annotations

MAIN_OF_CLASSES = (
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "roc_auc",
    "average_precision",
    "log_loss",
    "calibration_error",
)

ABOUT_CLASSES = {
    "accuracy": "share of the samples that are right",
    "balanced_accuracy": "share of a class that is found, averaged over the classes",
    "f1_macro": "harmonic mean of precision and recall, averaged over the classes",
    "roc_auc": "chance that a sample of a class gets more probability of it than another sample",
    "average_precision": "area under the precision–recall curve, averaged over the classes",
    "log_loss": "mean of −ln(probability of the true class)",
    "calibration_error": "how far confidence is from the share that is right",
    "precision_macro": "share right of what is predicted as a class, averaged over the classes",
    "precision_weighted": "the same, weighted by the samples of each class",
    "recall_macro": "share of a class that is found, averaged over the classes",
    "recall_weighted": "the same, weighted by the samples of each class",
    "f1_weighted": "F1, weighted by the samples of each class",
}

ABOUT_VALUES = {
    "r2": "share of the targets' variance that is explained; 0 is as good as their mean",
    "rmse": "root of the mean squared error, in the unit of the target",
    "mae": "mean absolute error, in the unit of the target",
    "mse": "mean squared error",
}

MAIN_OF_VALUES = tuple(ABOUT_VALUES)

LOWER = ("log_loss", "calibration_error", "rmse", "mae", "mse")
"""Metrics that are better when lower."""

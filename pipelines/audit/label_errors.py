"""Finds likely label errors: images whose label is confidently contradicted by a simple model trained on other parts.

Based on confident learning (Northcutt, Jiang & Chuang, Journal of Artificial Intelligence Research 70, 2021): a label is
suspicious if the image's out-of-fold probability of another class is at least the average of that class's own images, and
much higher than the probability of its label.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.audit.finding import Case, Finding, Severity, finding

FOLDS = 5
AXES = 64
MIN_IMAGES = 10  # per class
MARGIN = 0.6  # minimum difference of the probabilities; high, so that most suspects are real errors


def findings(images: Sequence[str], truths: Sequence[str], parts: Sequence[str], features: np.ndarray) -> list[Finding]:
    """`features` is float32 [n, d]. Classes with few images are left out."""
    truth = np.asarray(truths)
    names, counts = np.unique(truth, return_counts=True)
    usable = np.isin(truth, names[counts >= MIN_IMAGES])
    names = np.unique(truth[usable])
    if len(names) < 2:
        return []
    image, group, truth = np.asarray(images)[usable], np.asarray(parts)[usable], truth[usable]
    if len(np.unique(group)) < FOLDS * 2:
        return []
    probabilities = out_of_fold(features[usable], np.searchsorted(names, truth), group, len(names))
    suspects = suspicious(probabilities, np.searchsorted(names, truth))
    if not len(suspects):
        return []
    agreed = float((probabilities.argmax(axis=1) == np.searchsorted(names, truth)).mean())
    cases = [
        Case(
            (str(image[row]),),
            f"labelled {truth[row]}, looks like {names[probabilities[row].argmax()]} ({probabilities[row].max():.2f})",
        )
        for row in suspects
    ]
    return [
        finding(
            "label-errors",
            Severity.WARNING,
            f"{len(cases)} of {len(truth)} labels look wrong",
            f"A model trained on the other parts confidently predicts another class. It agrees with {agreed:.0%} of all "
            "labels. The most confident predictions come first.",
            "Look at them, correct the delivery, and ingest it again.",
            cases,
        )
    ]


def out_of_fold(features: np.ndarray, classes: np.ndarray, groups: np.ndarray, n_classes: int) -> np.ndarray:
    """Return probabilities float [n, n_classes] of a logistic regression that was not trained on the same part."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probabilities = np.zeros((len(features), n_classes))
    for learn, ask in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(features, classes, groups):
        axes = min(AXES, len(learn) - 1, features.shape[1])
        model = make_pipeline(
            StandardScaler(),
            PCA(axes, random_state=0),
            LogisticRegression(C=0.1, max_iter=500),
        )
        model.fit(features[learn], classes[learn])
        probabilities[np.ix_(ask, model[-1].classes_)] = model.predict_proba(features[ask])
    return probabilities


def suspicious(probabilities: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the rows with a contradicted label, least plausible first."""
    n = probabilities.shape[1]
    class_average = np.array([probabilities[classes == number, number].mean() for number in range(n)])
    confident = np.where(probabilities >= class_average, probabilities, 0)
    other = confident.argmax(axis=1)
    own = probabilities[np.arange(len(classes)), classes]
    wrong = np.flatnonzero((confident.max(axis=1) - own >= MARGIN) & (other != classes))
    return wrong[np.argsort(own[wrong] - probabilities[wrong, other[wrong]], kind="stable")]

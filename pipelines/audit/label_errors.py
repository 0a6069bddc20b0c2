"""Likely label errors: images whose label a simple model, trained on other parts, contradicts with confidence.

After confident learning (Northcutt, Jiang & Chuang, Journal of Artificial Intelligence Research 70, 2021): an image is
suspect when its out-of-fold probability of another class reaches what images of that class reach on average, and is far
above that of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.audit.finding import Case, Finding, Severity, finding

FOLDS = 5
AXES = 64
MIN_IMAGES = 10  # of a class, to speak about it
MARGIN = 0.6  # how much more probable the other class must be: fewer suspects, most of them right


def findings(images: Sequence[str], truths: Sequence[str], parts: Sequence[str], features: np.ndarray) -> list[Finding]:
    """`features` float32 [n, d]. Classes with few images are left out."""
    truth = np.asarray(truths)
    names, counts = np.unique(truth, return_counts=True)
    speakable = np.isin(truth, names[counts >= MIN_IMAGES])
    names = np.unique(truth[speakable])
    if len(names) < 2:
        return []
    image, group, truth = np.asarray(images)[speakable], np.asarray(parts)[speakable], truth[speakable]
    if len(np.unique(group)) < FOLDS * 2:
        return []
    probabilities = out_of_fold(features[speakable], np.searchsorted(names, truth), group, len(names))
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
            f"A model trained on the other parts is sure of another class; it agrees with {agreed:.0%} of all labels. "
            "The surest come first.",
            "Look at them; correct the delivery and ingest it again.",
            cases,
        )
    ]


def out_of_fold(features: np.ndarray, classes: np.ndarray, groups: np.ndarray, n_classes: int) -> np.ndarray:
    """float [n, n_classes]: probabilities from a logistic regression that saw no image of the same part."""
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
    """Rows whose label is contradicted, least plausible label first."""
    n = probabilities.shape[1]
    usual = np.array([probabilities[classes == number, number].mean() for number in range(n)])
    confident = np.where(probabilities >= usual, probabilities, 0)
    other = confident.argmax(axis=1)
    own = probabilities[np.arange(len(classes)), classes]
    wrong = np.flatnonzero((confident.max(axis=1) - own >= MARGIN) & (other != classes))
    return wrong[np.argsort(own[wrong] - probabilities[wrong, other[wrong]], kind="stable")]

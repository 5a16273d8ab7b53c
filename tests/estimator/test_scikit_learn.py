"""scikit-learn's own checks of estimators, and its tools around ours.

For an estimator of texts they check little; `OnNumbers` writes the numbers that they have as words.
"""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from tests.estimator.numbers import OnNumbers
from tests.estimator.stand_in import train_in_no_time
from tests.estimator.texts import TINY, texts_and_labels
from textclf_jax import TextClassifier

# checks that skip themselves, and why; none is expected to fail
SKIPPED = {
    "check_array_api_input": "is for arrays of other libraries, where SCIPY_ARRAY_API is set",
    "check_classifiers_multilabel_output_format_decision_function": "there is no decision_function",
}
# those that depend on the trained model, and not only on the code around it; pickling is tested below
OF_THE_MODEL = ("check_fit_idempotent", "check_methods_subset_invariance")


def not_passed(estimator) -> dict[str, str]:
    """The checks that failed or skipped themselves, with what they said."""
    found = check_estimator(estimator, on_fail=None, on_skip=None)
    assert len(found) > 5 or not estimator.__sklearn_tags__().input_tags.two_d_array
    return {each["check_name"]: repr(each["exception"]) for each in found if each["status"] != "passed"}


def test_check_estimator_passes(monkeypatch):
    """All of it, with naive Bayes in the place of the model, so that it takes seconds."""
    fits = train_in_no_time(monkeypatch)
    assert not_passed(OnNumbers(random_state=0)).keys() <= SKIPPED.keys()
    assert len(fits) > 50


def test_check_estimator_has_little_for_estimators_of_texts():
    with pytest.warns(SkipTestWarning, match="Can't test estimator TextClassifier which requires input"):
        assert not_passed(TextClassifier()) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_THE_MODEL)
def test_checks_that_depend_on_the_model_pass(name):
    estimator = OnNumbers(pretrain=False, max_length=32, vocab_size=500, finetuning_settings=TINY, random_state=0)
    checks = [check for _, check in estimator_checks_generator(estimator) if name in repr(check)]
    checks[0](clone(estimator))


def test_an_estimator_that_was_not_fitted_says_so():
    for method in (TextClassifier().predict, TextClassifier().predict_proba):
        with pytest.raises(NotFittedError):
            method(["a text"])
    with pytest.raises(NotFittedError):
        TextClassifier().score(["a text"], ["a"])


def test_a_clone_has_the_arguments_and_nothing_else():
    settings = {"training.batch_size": 8}
    estimator = TextClassifier("bert-mini", minutes=3, pretraining_settings=settings, random_state=7)
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params()
    assert copy.pretraining_settings is not settings
    assert not hasattr(copy, "classes_")


def test_a_grid_search_reaches_the_settings(monkeypatch):
    fits = train_in_no_time(monkeypatch)
    texts, labels = texts_and_labels(24)
    grid = {
        "max_length": [16, np.int64(32)],
        "finetuning_settings": [{"training.learning_rate": rate} for rate in np.array([1e-4, 1e-3])],
    }
    search = GridSearchCV(TextClassifier(pretrain=False, random_state=0), grid, cv=2, error_score="raise")
    assert search.fit(texts, labels).best_score_ > 0.9
    tried = {(recipe.max_length, recipe.finetuning) for recipe in fits}
    rates = ("training.learning_rate=0.0001",), ("training.learning_rate=0.001",)
    assert tried == {(length, rate) for length in (16, 32) for rate in rates}
    assert len(fits) == 4 * 2 + 1


def test_folds_see_texts_of_a_column_with_any_index(monkeypatch):
    pandas = pytest.importorskip("pandas")
    train_in_no_time(monkeypatch)
    texts, labels = texts_and_labels(24)
    frame = pandas.DataFrame({"text": texts, "label": labels}, index=range(100, 124)).sample(frac=1, random_state=1)
    estimator = TextClassifier(random_state=0)
    scores = cross_val_score(estimator, frame["text"], frame["label"], cv=StratifiedKFold(3), error_score="raise")
    assert scores.mean() > 0.9
    fitted = estimator.fit(frame["text"].astype("string"), frame["label"].astype("category"))
    assert fitted.classes_.tolist() == ["money", "sport"]
    assert fitted.predict(frame[["text"]]).tolist() == frame["label"].tolist()


def test_it_is_the_end_of_a_pipeline(monkeypatch):
    train_in_no_time(monkeypatch)
    texts, labels = texts_and_labels(24)
    shout = FunctionTransformer(lambda texts: [text.upper() for text in texts])
    pipeline = make_pipeline(shout, TextClassifier(random_state=0)).fit(texts, labels)
    assert pipeline.score(texts, labels) > 0.9


def test_trained_models_are_cross_validated_and_pickled():
    """Really trained, in two threads at once: nothing of it belongs to the process, such as signals or the output.

    As names, the classes 9 and 10 would have another order.
    """
    texts, names = texts_and_labels(24)
    labels = [{"money": 9, "sport": 10}[name] for name in names]
    estimator = TextClassifier(pretrain=False, max_length=16, vocab_size=200, finetuning_settings=TINY, random_state=0)
    from joblib import parallel_config

    with parallel_config("threading"):
        scores = cross_val_score(estimator, texts, labels, cv=2, n_jobs=2, error_score="raise")
    assert scores.tolist() == [1.0, 1.0]
    fitted = estimator.fit(texts, labels)
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(restored.predict_proba(texts), fitted.predict_proba(texts))
    assert restored.predict(texts).tolist() == labels

"""scikit-learn's own checks of an estimator, as far as they apply to one that takes images.

`check_estimator` leaves out all checks that feed matrices of numbers, since the tags say that X is
no two-dimensional array. The checks below need no data. Two others do not hold:

- `check_no_attributes_set_in_init`: options of the strategy are keyword arguments (`rank=4`), kept
  in `options`.
- `check_estimators_unfitted`: the error is FewTune's own `RunError`, not `NotFittedError`.
"""

import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_estimator

from fewtune import Classifier

WITHOUT_DATA = (
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_valid_tag_types",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_set_params",
    "check_parameters_default_constructible",
    "check_mixin_order",
)


@pytest.mark.filterwarnings("ignore:Can't test estimator")
def test_it_passes_what_scikit_learn_asks_of_it() -> None:
    found = check_estimator(Classifier(), on_fail=None)
    assert {result["status"] for result in found} == {"passed"}


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_it_passes_the_checks_that_need_no_data(name: str) -> None:
    getattr(estimator_checks, name)("Classifier", Classifier("clip-lora", "picto", rank=4))

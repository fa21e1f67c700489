"""A state is taken up by another process, or the check says that it is not."""

from process_mutants import NumberedInASetsOrder

from attent import Backend
from attent.reference import NumpyLearner
from attent_conformance import Subject, examine

CHECK = "a_state_is_taken_up_by_another_process"


def examined(reference):
    backend = Backend("mine", "unused:unused", (), reference=f"{reference.__module__}:{reference.__qualname__}")
    (result,) = examine(Subject("mine", reference, backend=backend), CHECK)
    return result


def test_numpys_learner_passes():
    assert examined(NumpyLearner).status == "pass"


def test_a_state_in_a_sets_order_fails():
    result = examined(NumberedInASetsOrder)
    assert result.status == "fail"
    assert result.reason.startswith("P6: got ")


def test_a_function_is_skipped():
    (result,) = examine(Subject("mine", NumpyLearner), CHECK)
    assert result.reason == "given as a function, not as a plugin"

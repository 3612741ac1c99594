from __future__ import annotations

from raytt.pricing.step_key import StepKey, arguments_of, by_size, in_words, keyed, size_of, step_key
from raytt.task.candidate import Candidate


def test_a_key_is_the_batch_size_unless_the_model_has_arguments() -> None:
    plain = Candidate(lr=0.1, batch_size=16, accumulation_steps=2)
    adapted = Candidate(lr=0.1, batch_size=16, model_arguments={"rank": 8, "modules": ["q", "v"]})
    assert step_key(plain) == 16
    assert step_key(adapted) == (16, (("modules", ("q", "v")), ("rank", 8)))
    for candidate in (plain, adapted):
        key = step_key(candidate)
        assert (size_of(key), arguments_of(key)) == (candidate.batch_size, candidate.model_arguments)
        assert keyed(size_of(key), arguments_of(key)) == key


def test_keys_are_told_and_ordered() -> None:
    keys: list[StepKey] = [(32, ()), 64, (32, (("rank", 8),)), 4]
    assert [in_words(key) for key in sorted(keys, key=by_size)] == ["4", "32", "32 with rank 8", "64"]

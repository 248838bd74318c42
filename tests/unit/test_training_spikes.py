"""A gradient that leaps is left out; one that is merely large beside small ones is not."""

from loop.settings import TrainingSettings
from loop.training.spikes import is_spike

SETTINGS = TrainingSettings(max_grad_norm=1.0)


def test_a_gradient_is_a_spike_only_beside_what_is_usual_and_what_is_clipped():
    steps = [{"grad_norm": norm} for norm in (0.5, 0.7, 0.6)]
    assert not is_spike(9.0, steps, SETTINGS)
    assert is_spike(11.0, steps, SETTINGS)
    assert not is_spike(11.0, [{"grad_norm": 2.0}], SETTINGS)
    assert not is_spike(1_000.0, [], SETTINGS)

"""A gradient that leaps is left out; one that is merely large beside small ones is not."""

from loop.settings.constants import MAX_GRAD_NORM
from loop.training.spikes import is_spike


def test_a_gradient_is_a_spike_only_beside_what_is_usual_and_what_is_clipped():
    assert MAX_GRAD_NORM == 1.0
    steps = [{"grad_norm": norm} for norm in (0.5, 0.7, 0.6)]
    assert not is_spike(9.0, steps)
    assert is_spike(11.0, steps)
    assert not is_spike(11.0, [{"grad_norm": 2.0}])
    assert not is_spike(1_000.0, [])

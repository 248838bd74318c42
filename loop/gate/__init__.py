"""The gate: evidence to decision, as a pure function that fails closed and gives its reasons.

paired     the paired tests of a candidate against the champion and the anchor, a result for each suite
verdict    faults of the evidence, and the verdict on the results of its tests
reasons    the decision in words: its reasons and its figures
"""

from loop.gate.reasons import explain, figures
from loop.gate.verdict import decide

__all__ = ["decide", "explain", "figures"]

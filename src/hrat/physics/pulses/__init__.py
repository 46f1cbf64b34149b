"""Models of programming pulses."""

from __future__ import annotations

from hrat.physics.pulses.response import Amplitudes, PulseResponse, either, pulse_response, varied_S

__all__ = ["Amplitudes", "PulseResponse", "either", "pulse_response", "varied_S"]

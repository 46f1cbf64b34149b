"""The wires of a tile.

```text
            +--r_driver--r_word--(0,0)--r_word--(0,1)-- ... --(0,cols-1) [--r_word--r_driver-- v_0]
     v_0 ---+                      |G            |G                        only with both_ends
                                 (0,0)         (0,1)
                                   |             |
                                 r_bit         r_bit
                                   |             |
                                  ...           ...
                                   |             |
                                (m-1,0)       (m-1,1)
                                   |             |
                            r_bit + r_sense   r_bit + r_sense
                                   |             |
                                  0 V           0 V      what flows into here is the output
```

Word line i is driven in front of its first device, bit line j read behind its last one, and every device has one
segment of each wire to itself. With both_ends the same source drives the far end as well, through a segment and a
driver more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from hrat.errors import SpecError
from hrat.spec import Array

__all__ = ["Wires"]


@dataclass(frozen=True, kw_only=True)
class Wires:
    """Resistances around the devices of a tile; any of them may be zero."""

    word_ohm: float = 0.0
    """Resistance of one segment of a word line, ohm."""
    bit_ohm: float = 0.0
    """Resistance of one segment of a bit line, ohm."""
    driver_ohm: float = 0.0
    """Resistance between a source and the word line's first segment, ohm."""
    sense_ohm: float = 0.0
    """Resistance between the bit line's last segment and virtual ground, ohm."""
    both_ends: bool = False
    """Whether word lines are driven at their far ends too."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "both_ends" and not (math.isfinite(value) and value >= 0):
                raise SpecError(
                    f"wires: expected {field.name} to be zero or a positive number of ohms, got {value!r}; "
                    "name a broken line in open_word_lines or open_bit_lines"
                )

    @classmethod
    def of(cls, array: Array) -> Wires:
        """The wires of a spec's tiles: ideal ones where the restriction `wires` is off."""
        if not array.limit_wires:
            return cls()
        return cls(
            word_ohm=array.r_word_ohm,
            bit_ohm=array.r_bit_ohm,
            driver_ohm=array.r_driver_ohm,
            sense_ohm=array.r_sense_ohm,
            both_ends=array.drive == "both_ends",
        )

    @property
    def is_ideal(self) -> bool:
        """Whether no voltage is lost anywhere."""
        return self.word_ohm == self.bit_ohm == self.driver_ohm == self.sense_ohm == 0

    @property
    def far_end_ohm(self) -> float | None:
        """Resistance from the last device of a word line to its second source, ohm; None without one.

        Without any resistance in word lines the second source changes nothing, and is left out.
        """
        ohm = self.word_ohm + self.driver_ohm
        return ohm if self.both_ends and ohm > 0 else None

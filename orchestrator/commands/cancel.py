"""segsweep cancel"""

from __future__ import annotations

from segsweep.orchestrator.commands._requests import request_command

command = request_command(
    "cancel",
    "End a running sweep now.",
    "Start nothing new, and end every running trial now; what it has trained since its last epoch is lost.",
)

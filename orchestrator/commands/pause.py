"""segsweep pause"""

from __future__ import annotations

from segsweep.orchestrator.commands._requests import request_command

command = request_command(
    "pause",
    "Save what runs and give the machine back.",
    "Start nothing new, and end every running trial when its epoch is saved.",
)

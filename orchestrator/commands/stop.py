"""segsweep stop"""

from __future__ import annotations

from segsweep.orchestrator.commands._requests import request_command

command = request_command(
    "stop",
    "Let running trials finish, start no others.",
    "Start nothing new; running trials go on until they finish or the scheduler stops them.",
)

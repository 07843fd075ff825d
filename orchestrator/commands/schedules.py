"""segsweep schedules"""

from __future__ import annotations

from segsweep.orchestrator.commands._catalog import catalog_command

command = catalog_command("schedules", "LR_SCHEDULES", "LR schedule")

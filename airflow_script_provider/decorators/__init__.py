"""TaskFlow: functions that return the script of a task."""

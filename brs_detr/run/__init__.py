"""What every command shares: the folder, record and locks of a run, its processes, and the console."""

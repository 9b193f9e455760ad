"""What faces pytest: markers read, drills selected and run, verdicts raised, evidence merged."""

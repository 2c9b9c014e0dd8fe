"""The student–teacher detector: settings, training of the students, ensemble, scorers, calibration."""

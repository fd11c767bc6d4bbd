"""The job side's training: data in, weights and numbers out. Import its modules by name; importing them loads torch."""

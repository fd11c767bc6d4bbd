"""Runs: inspect, plan, launch, observe; and the store that finds them again."""

"""Several processes that train one network: who they are, what they tell one another, how they share the work."""

"""Memory: its limits, and how a training goes on in smaller batches when it does not suffice."""

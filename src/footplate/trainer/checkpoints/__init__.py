"""What a training that goes on must know: gathered between two steps, written beside the training, brought back."""

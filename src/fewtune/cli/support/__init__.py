"""What the verbs share: options, the console, progress, results."""

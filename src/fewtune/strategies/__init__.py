"""Fine-tuning methods, a file each: the file name is the strategy's name."""

"""What is made of several runs: for now the web page of a comparison."""

"""Many runs: grids, searches and protocols, in this process or on Ray."""

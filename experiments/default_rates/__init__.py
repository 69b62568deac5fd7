"""How the default recipes that are FewTune's own were chosen."""

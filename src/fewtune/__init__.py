"""FewTune: tune CLIP on a handful of labelled images."""

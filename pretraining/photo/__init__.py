"""Recipe of photo, the small CLIP of photographs that comes with FewTune."""

"""Reading images and labels in the layouts people have, and checking them."""

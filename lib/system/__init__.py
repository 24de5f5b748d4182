"""What the operating system and the libraries give, in the form that the rest uses."""

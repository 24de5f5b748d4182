"""The workers that train a run together: who they are, how they meet, and the one exchange."""

"""The page "Now" of the admin: what this worker does at this moment."""

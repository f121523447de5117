"""An hour under a steady load: nothing is lost, and nothing grows that should not."""

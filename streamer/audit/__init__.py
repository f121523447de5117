"""A record of a model's time in production, for whoever has to be shown one."""

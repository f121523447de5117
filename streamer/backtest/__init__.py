"""Objectives tried on history, before they page anybody."""

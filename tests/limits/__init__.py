"""Disk and memory: what a worker does where there is too little, too much, or too unequal a share.

memory    a hard limit of the operating system: kept by ``limits:``, or too small
models    ten thousand models, against the same records over 64
hot       one model with a hundred times the traffic of the others, and its neighbours' alerts
disk      the brokers' disk is full
scenes    all of them by name (``stage``: what they share; ``footprint``: the memory of a process)
results   what was measured and what held, one entry for each scene
report    the section of docs/reliability.md that is made of the results
"""
